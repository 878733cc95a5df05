"""Scalp: a rejection wick in a fast trend, near the volume-weighted price, while volatility is awake."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from domain.candle import timeframe_ms
from domain.order import Side
from domain.signal import Signal
from strategies import indicators as ta
from strategies import strategy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from domain.candle import Bars
    from strategies.strategy import Columns


@dataclass(slots=True)
class State:
    """Bars left until the symbol may give another signal."""

    symbol: str
    cooldown: int = 0


class Scalp:
    """Trades short moves with the order of two fast averages."""

    class Parameters(strategy.Parameters, frozen=True, forbid_unknown_fields=True):
        """Parameters of the scalp; lengths in bars.

        Attributes:
            timeframe: bars that are traded on.
            fast, slow: EMA spans whose order is the trend.
            vwap_span: span of the exponentially weighted volume-weighted price.
            atr_length: length of the average true range.
            band_length: length of the Bollinger bands whose width tells volatility.
            band_rank_min: lowest rank (0 to 1) of that width among the last 100 bars.
            volume_min: lowest volume as a multiple of the mean of 20 bars.
            wick_min: shortest rejection wick as a fraction of the bar's range.
            body_min: smallest body as a fraction of the bar's range.
            distance_atr_max: farthest distance from the volume-weighted price.
            stop_atr: distance of the stop beyond the slow average and volume-weighted price.
            stop_min: smallest distance of the stop as a fraction of the price.
            stop_min_atr: smallest distance of the stop in ATR.
            reward_r: distance of the target in R.
            cooldown_bars: bars without a further signal.
        """

        timeframe: str = "3m"
        fast: int = 8
        slow: int = 21
        vwap_span: int = 60
        atr_length: int = 7
        band_length: int = 20
        band_rank_min: float = 0.45
        volume_min: float = 0.8
        wick_min: float = 0.25
        body_min: float = 0.25
        distance_atr_max: float = 1.5
        stop_atr: float = 0.8
        stop_min: float = 0.004
        stop_min_atr: float = 0.6
        reward_r: float = 2.0
        cooldown_bars: int = 4

    name: str = "scalp"
    warmup_bars: Mapping[str, int]

    def __init__(self, parameters: Parameters) -> None:
        self._p = parameters
        self.timeframes: tuple[str, ...] = (parameters.timeframe,)
        needed = max(ta.memory(parameters.vwap_span), ta.memory(2 * parameters.atr_length), 130)
        self.warmup_bars = {parameters.timeframe: needed}

    def start(self, symbol: str) -> State:
        """Return the state of a symbol that may give signals at once."""
        return State(symbol)

    def columns(self, bars: Mapping[str, Bars]) -> Columns:
        """Return the bars with averages, ATR, volatility rank and volume ratio beside them."""
        p, own = self._p, bars[self._p.timeframe]
        # a bar of one price has neither body nor wicks
        reach = np.where(own.high > own.low, own.high - own.low, np.inf)
        usual = ta.mean(own.volume, 20)
        with np.errstate(divide="ignore", invalid="ignore"):
            volume = np.where(usual > 0, own.volume / usual, np.nan)
        return {
            "open_time": own.open_time, "close": own.close, "fast": ta.ema(own.close, p.fast),
            "slow": ta.ema(own.close, p.slow), "vwap": ta.volume_weighted_price(own, p.vwap_span),
            "atr": ta.atr(own, p.atr_length), "rank": ta.percentile_rank(ta.band_width(own.close, p.band_length), 100),
            "volume": volume, "body": (own.close - own.open) / reach,
            "lower_wick": (np.minimum(own.open, own.close) - own.low) / reach,
            "upper_wick": (own.high - np.maximum(own.open, own.close)) / reach,
        }  # fmt: skip

    def step(self, i: int, columns: Columns, state: State) -> Signal | None:
        """Decide on one bar."""
        if state.cooldown:
            state.cooldown -= 1
            return None
        p = self._p
        awake = columns["rank"][i] >= p.band_rank_min and columns["volume"][i] >= p.volume_min - ta.NOISE
        if not awake or np.isnan(columns["vwap"][i]):
            return None
        for side in (Side.LONG, Side.SHORT):
            if self._agrees(i, columns, side):
                state.cooldown = p.cooldown_bars
                return self._signal(i, columns, state.symbol, side)
        return None

    def _agrees(self, i: int, columns: Columns, side: Side) -> bool:
        p, sign = self._p, side.sign
        close, fast, slow = (columns[name][i] for name in ("close", "fast", "slow"))
        wick, other = ("lower_wick", "upper_wick") if side is Side.LONG else ("upper_wick", "lower_wick")
        same = ta.NOISE * close
        near = abs(close - columns["vwap"][i]) <= p.distance_atr_max * columns["atr"][i] + same
        ordered = sign * (close - fast) > same and sign * (fast - slow) > same
        rejected = columns[wick][i] >= p.wick_min - ta.NOISE and columns[wick][i] > columns[other][i] + ta.NOISE
        return bool(near and ordered and rejected and sign * columns["body"][i] >= p.body_min - ta.NOISE)

    def _signal(self, i: int, columns: Columns, symbol: str, side: Side) -> Signal:
        p, sign = self._p, side.sign
        close, slow, vwap, atr = (float(columns[name][i]) for name in ("close", "slow", "vwap", "atr"))
        behind = sign * min(sign * slow, sign * vwap)
        distance = max(sign * (close - behind) + p.stop_atr * atr, p.stop_min * close, p.stop_min_atr * atr)
        start = int(columns["open_time"][i])
        return Signal(
            self.name, symbol, p.timeframe, start, start + timeframe_ms(p.timeframe), side, close,
            close - sign * distance, close + sign * p.reward_r * distance,
            {"vwap": vwap, "atr": atr, "band_rank": float(columns["rank"][i])},
        )  # fmt: skip

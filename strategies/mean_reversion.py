"""Mean reversion: a touch of a range's edge and a bar that turns back from it."""

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


class MeanReversion:
    """Trades from the edges of a range towards its other side."""

    class Parameters(strategy.Parameters, frozen=True, forbid_unknown_fields=True):
        """Parameters of the mean reversion; lengths in bars, distances in ATR.

        Attributes:
            timeframe: bars that the range is seen on.
            pivot_left, pivot_right: bars before and after a pivot; the edges are the means of the last two.
            width_min, width_max: size of a range as a fraction of its lower edge.
            atr_length: length of the average true range.
            touch_atr: how near to the edge a bar's extreme must come.
            stop_buffer_atr: distance of the stop beyond edge and bar.
            stop_min: smallest distance of the stop as a fraction of the price.
            reward_r: distance of the target in R; never beyond the other edge.
            reward_r_min: signals whose target is nearer than this are not given.
            cooldown_bars: bars without a further signal.
        """

        timeframe: str = "15m"
        pivot_left: int = 5
        pivot_right: int = 5
        width_min: float = 0.02
        width_max: float = 0.06
        atr_length: int = 14
        touch_atr: float = 0.5
        stop_buffer_atr: float = 0.5
        stop_min: float = 0.005
        reward_r: float = 2.5
        reward_r_min: float = 1.2
        cooldown_bars: int = 5

    name: str = "mean_reversion"
    warmup_bars: Mapping[str, int]

    def __init__(self, parameters: Parameters) -> None:
        self._p = parameters
        self.timeframes: tuple[str, ...] = (parameters.timeframe,)
        self.warmup_bars = {parameters.timeframe: max(150, ta.memory(2 * parameters.atr_length))}

    def start(self, symbol: str) -> State:
        """Return the state of a symbol that may give signals at once."""
        return State(symbol)

    def columns(self, bars: Mapping[str, Bars]) -> Columns:
        """Return the bars with the range's edges and ATR beside them."""
        p, own = self._p, bars[self._p.timeframe]
        edges = {}
        for name, values, high in (("upper", own.high, True), ("lower", own.low, False)):
            known, found = ta.pivots(values, p.pivot_left, p.pivot_right, high=high)
            newest, _ = ta.latest(known, found, len(own))
            before, _ = ta.latest(known, found, len(own), back=1)
            edges[name] = (newest + before) / 2
        return {
            "open_time": own.open_time, "open": own.open, "high": own.high, "low": own.low, "close": own.close,
            "atr": ta.atr(own, p.atr_length), **edges,
        }  # fmt: skip

    def step(self, i: int, columns: Columns, state: State) -> Signal | None:
        """Decide on one bar."""
        if state.cooldown:
            state.cooldown -= 1
            return None
        upper, lower, atr = (float(columns[name][i]) for name in ("upper", "lower", "atr"))
        if np.isnan(upper + lower + atr):
            return None
        if not self._p.width_min - ta.NOISE <= upper / lower - 1 <= self._p.width_max + ta.NOISE:
            return None
        for side, edge, far in ((Side.LONG, lower, upper), (Side.SHORT, upper, lower)):
            signal = self._at_edge(i, columns, state.symbol, side, edge, far, atr)
            if signal is not None:
                state.cooldown = self._p.cooldown_bars
                return signal
        return None

    def _at_edge(
        self, i: int, columns: Columns, symbol: str, side: Side, edge: float, far: float, atr: float
    ) -> Signal | None:
        p, sign = self._p, side.sign
        opened, close = float(columns["open"][i]), float(columns["close"][i])
        extreme = float(columns["low" if side is Side.LONG else "high"][i])
        same = ta.NOISE * close
        touched = abs(extreme - edge) <= p.touch_atr * atr + same
        turned = min(sign * (close - opened), sign * (close - edge), sign * (far - close)) > same
        if not (touched and turned):
            return None
        outermost = sign * min(sign * edge, sign * extreme)
        distance = max(sign * (close - outermost) + p.stop_buffer_atr * atr, p.stop_min * close)
        reach = min(p.reward_r * distance, sign * (far - close))
        if reach < p.reward_r_min * distance * (1 - ta.NOISE):
            return None
        start = int(columns["open_time"][i])
        return Signal(
            self.name, symbol, p.timeframe, start, start + timeframe_ms(p.timeframe), side, close,
            close - sign * distance, close + sign * reach, {"edge": edge, "far_edge": far, "atr": atr},
        )  # fmt: skip

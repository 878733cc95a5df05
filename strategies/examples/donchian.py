"""Donchian breakout: a close beyond the highest high or lowest low of many bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from domain.candle import timeframe_ms
from domain.order import Side
from domain.signal import Leave, Signal
from domain.technical import talib
from strategies import indicators as ta
from strategies import strategy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from domain.candle import Bars
    from strategies.strategy import Columns


class Donchian:
    """Trades breaks of a channel, with a stop of some ATR; gives up where price is back beyond the middle."""

    class Parameters(strategy.Parameters, frozen=True, forbid_unknown_fields=True):
        """Channel length in bars; stop in ATR; target in R."""

        timeframe: str = "15m"
        length: int = 40
        stop_atr: float = 2.0
        reward_r: float = 2.0

    name: str = "donchian"
    warmup_bars: Mapping[str, int]

    def __init__(self, parameters: Parameters) -> None:
        self._p = parameters
        self.timeframes: tuple[str, ...] = (parameters.timeframe,)
        self.warmup_bars = {parameters.timeframe: max(parameters.length + 1, ta.memory(28))}

    def start(self, symbol: str) -> str:
        """Return the symbol: nothing else is remembered from bar to bar."""
        return symbol

    def columns(self, bars: Mapping[str, Bars]) -> Columns:
        """Return the channel of the bars before each bar, and the ATR."""
        own, length = bars[self._p.timeframe], self._p.length
        if len(own) <= length:
            highest = lowest = np.full(len(own), np.nan)
        else:
            highest, lowest = talib.MAX(own.high, length), talib.MIN(own.low, length)
        before = {"top": np.r_[np.nan, highest[:-1]], "bottom": np.r_[np.nan, lowest[:-1]]}
        return {"open_time": own.open_time, "close": own.close, "atr": ta.atr(own, 14), **before}

    def step(self, i: int, columns: Columns, state: str) -> Signal | Leave | None:
        """Decide on one bar."""
        close, atr = float(columns["close"][i]), float(columns["atr"][i])
        top, bottom = float(columns["top"][i]), float(columns["bottom"][i])
        if np.isnan(atr + top):
            return None
        side = Side.LONG if close > top else Side.SHORT if close < bottom else None
        if side is None:
            return Leave(Side.LONG if 2 * close < top + bottom else Side.SHORT)
        start, risk = int(columns["open_time"][i]), self._p.stop_atr * atr
        return Signal(
            self.name,
            state,
            self._p.timeframe,
            start,
            start + timeframe_ms(self._p.timeframe),
            side,
            close,
            close - side.sign * risk,
            close + side.sign * self._p.reward_r * risk,
        )

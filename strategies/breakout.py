"""Breakout: time-series momentum in its plainest form, a close beyond the range of the bars before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from domain.candle import timeframe_ms
from domain.errors import ConfigError
from domain.order import Side
from domain.signal import Signal
from strategies import indicators as ta
from strategies import strategy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from domain.candle import Bars
    from strategies.strategy import Columns


class Breakout:
    """Enters where a bar closes beyond the channel of the bars before it, and stays until a trailing stop is hit.

    Source: the entry of Donchian's channel rule; Moskowitz, Ooi and Pedersen, "Time series momentum", Journal of
    Financial Economics 104 (2012), on why a move tends to go on.
    """

    class Parameters(strategy.Parameters, frozen=True, forbid_unknown_fields=True):
        """Parameters of the breakout.

        Attributes:
            timeframe: whose bars are looked at.
            length: bars of the channel, the one that closes beyond it not among them.
            atr_length: length of the average true range.
            stop_atr: distance of the first stop in ATR; it is the R of the trade.
        """

        timeframe: str = "4h"
        length: int = 20
        atr_length: int = 20
        stop_atr: float = 5.0

    name: str = "breakout"
    markets: ClassVar[str] = "real"
    warmup_bars: Mapping[str, int]
    exits: ClassVar[Mapping[str, float]] = {"trail_start_r": 0.01, "trail_distance_r": 1.0}
    """No target and no timeout: the stop trails at the distance of the first one from the first gain on."""

    def __init__(self, parameters: Parameters) -> None:
        p = self._p = parameters
        if p.length < 1 or p.atr_length < 1 or p.stop_atr <= 0:
            raise ConfigError("strategies.breakout: length and atr_length begin at 1, stop_atr above 0")
        self.timeframes = (p.timeframe,)
        # Wilder's smoothing forgets half as fast as an EMA of that span
        self.warmup_bars = {p.timeframe: max(p.length + 1, ta.memory(2 * p.atr_length))}

    def start(self, symbol: str) -> str:
        """Return the symbol: nothing else is remembered from bar to bar."""
        return symbol

    def columns(self, bars: Mapping[str, Bars]) -> Columns:
        """Return the bars with the channel of those before each, and the ATR."""
        own = bars[self._p.timeframe]
        top, bottom = ta.channel(own, self._p.length)
        return {
            "open_time": own.open_time, "close": own.close, "atr": ta.atr(own, self._p.atr_length),
            "top": top, "bottom": bottom,
        }  # fmt: skip

    def step(self, i: int, columns: Columns, state: str) -> Signal | None:
        """Enter where the bar closes beyond the channel."""
        p, close, atr = self._p, float(columns["close"][i]), float(columns["atr"][i])
        top, bottom = float(columns["top"][i]), float(columns["bottom"][i])
        if np.isnan(atr + top + bottom) or not atr > 0:
            return None
        noise = ta.NOISE * close
        side = Side.LONG if close - top > noise else Side.SHORT if bottom - close > noise else None
        distance = p.stop_atr * atr
        if side is None or distance >= close:
            return None
        start = int(columns["open_time"][i])
        return Signal(
            self.name, state, p.timeframe, start, start + timeframe_ms(p.timeframe), side, close,
            close - side.sign * distance, notes={"top": top, "bottom": bottom, "atr": atr},
        )  # fmt: skip

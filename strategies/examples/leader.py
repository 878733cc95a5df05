"""Leader: the Donchian breakout, taken only in the direction in which another market moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain.candle import timeframe_ms
from domain.signal import Signal
from strategies import indicators as ta
from strategies.examples.donchian import Donchian

if TYPE_CHECKING:
    from collections.abc import Mapping

    from domain.candle import Bars
    from domain.signal import Leave
    from strategies.strategy import Columns


class Leader(Donchian):
    """Trades breaks of a channel that go with bitcoin's trend: its close and an exponential average of it."""

    class Parameters(Donchian.Parameters, frozen=True, forbid_unknown_fields=True):
        """Span of the average in bars."""

        trend: int = 15

    name: str = "leader"
    informative: tuple[str, ...] = ("BTC",)

    def __init__(self, parameters: Parameters) -> None:
        super().__init__(parameters)
        self._trend = parameters.trend
        bars = max(self.warmup_bars[parameters.timeframe], ta.memory(parameters.trend))
        self.warmup_bars = {parameters.timeframe: bars}

    def columns(self, bars: Mapping[str, Bars]) -> Columns:
        """Return those of the channel, and how far bitcoin had closed above its average by the close of each bar."""
        timeframe, step = self._p.timeframe, timeframe_ms(self._p.timeframe)
        own, leader = bars[timeframe], bars[f"BTC {timeframe}"]
        lead = {"lead": leader.close / ta.ema(leader.close, self._trend) - 1}
        return {**super().columns(bars), **ta.align(own.open_time + step, leader.open_time + step, lead)}

    def step(self, i: int, columns: Columns, state: str) -> Signal | Leave | None:
        """Decide on one bar."""
        found = super().step(i, columns, state)
        against = isinstance(found, Signal) and not found.side.sign * float(columns["lead"][i]) > 0
        return None if against else found

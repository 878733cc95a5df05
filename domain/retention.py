"""Which stored bars are old enough to go."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from domain.candle import FAST_TIMEFRAME, MAIN_TIMEFRAME, timeframe_ms
from domain.coverage import Span, without
from domain.durations import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from domain.candle import Series
    from domain.source import Source

BOT_TIMEFRAMES = (FAST_TIMEFRAME, MAIN_TIMEFRAME)
"""What a bot always collects; bars of all other timeframes are history that somebody has fetched."""


class Pin(NamedTuple):
    """A span that is never pruned; an empty name and None mean all."""

    source: Source | None
    symbol: str
    timeframe: str
    span: Span

    def holds(self, source: Source, series: Series) -> bool:
        """Say whether it is about a series."""
        return (
            self.source in {None, source}
            and self.symbol in {"", series.symbol}
            and self.timeframe in {"", series.timeframe}
        )


def due(
    source: Source, series: Series, stored: Span, keep_days: Mapping[str, int], pins: Sequence[Pin], now: int
) -> list[Span]:
    """Return the spans of stored bars that may go: older than kept, and not pinned."""
    days = keep_days.get(series.timeframe)
    if days is None:
        return []
    step = timeframe_ms(series.timeframe)
    before = (now - days * DAY_MS) // step * step
    old = Span(stored.start, min(stored.end, before))
    return without([old] if old.end > old.start else [], [pin.span for pin in pins if pin.holds(source, series)])

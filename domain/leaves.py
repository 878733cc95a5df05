"""What strategies have said of leaving, bar by bar: positions and phantoms are left on the same bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain.candle import timeframe_ms

if TYPE_CHECKING:
    from domain.candle import Series
    from domain.order import Side
    from domain.signal import Leave

KEPT = 2_000
"""Bars of a strategy and symbol on which it said so that are remembered; a start looks back on fewer."""


class Leaves:
    """Remembers what was said by strategy and series; of each the newest ``kept``."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._said: dict[tuple[str, Series], dict[int, Leave]] = {}

    def note(self, strategy: str, series: Series, bar_start: int, leave: Leave) -> None:
        """Take that a strategy said leave on the bar that opened at ``bar_start`` (UTC ms)."""
        said = self._said.setdefault((strategy, series), {})
        said[bar_start] = leave
        if len(said) > self._kept:
            del said[next(iter(said))]

    def on_bar(self, strategy: str, series: Series, bar_start: int, side: Side) -> bool:
        """Return whether a strategy said on a bar that a position on a side is to be left."""
        said = self._said.get((strategy, series), {}).get(bar_start)
        return said is not None and said.means(side)

    def since(self, strategy: str, series: Series, opened_at: int, side: Side) -> bool:
        """Return whether it has said so on a bar that closed after ``opened_at`` (UTC ms)."""
        step = timeframe_ms(series.timeframe)
        said = self._said.get((strategy, series), {}).items()
        return any(start + step > opened_at and leave.means(side) for start, leave in said)

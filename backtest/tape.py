"""Stored bars as they were known at a moment of the past."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain.candle import Bars, timeframe_ms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from domain.candle import Floats, Series

FIRST_LOOK, LAST_LOOK = 64, 65_536
"""Bars looked through in one go: what happens soon is found soon."""


class Tape:
    """The bars of every series; ``now`` says up to when they have closed, and nobody is shown more.

    ``capacity`` gives how many bars a live bot would have at hand of each series: a window shows as many.
    """

    def __init__(self, bars: Mapping[Series, Bars], capacity: Mapping[Series, int]) -> None:
        self._bars, self._capacity = bars, capacity
        self._steps = {series: timeframe_ms(series.timeframe) for series in bars}
        self._grids = {series: _grid(held, self._steps[series]) for series, held in bars.items()}
        self._windows: dict[Series, tuple[int, Bars]] = {}
        self.now = 0

    @property
    def series(self) -> list[Series]:
        """Every series there is."""
        return list(self._bars)

    def step(self, series: Series) -> int:
        """Return the length of a series' bars in ms."""
        return self._steps[series]

    def whole(self, series: Series) -> Bars:
        """Return all bars of a series, those to come too."""
        return self._bars[series]

    def bars(self, series: Series) -> Bars:
        """Return the window of a series: its newest bars that have closed by now."""
        if series not in self._bars:
            return Bars.empty()
        end = self.closed(series, self.now)
        seen = self._windows.get(series)
        if seen is None or seen[0] != end:
            seen = self._windows[series] = end, self._bars[series][max(0, end - self._capacity[series]) : end]
        return seen[1]

    def closed(self, series: Series, time: int) -> int:
        """Return how many bars of a series have closed by a time."""
        grid = self._grids[series]
        if grid is not None:
            first, step, count = grid
            return min(max(0, (time - first) // step), count)
        return int(self._bars[series].open_time.searchsorted(time - self._steps[series], side="right"))

    def closing(self, series: Series, time: int) -> int | None:
        """Return the row of the bar that closes at a time, None when there is none."""
        grid = self._grids[series]
        if grid is not None:
            first, step, count = grid
            row, beside = divmod(time - first, step)
            return row - 1 if not beside and 1 <= row <= count else None
        row = self.closed(series, time) - 1
        held = self._bars[series].open_time
        return row if row >= 0 and int(held[row]) + self._steps[series] == time else None


def _grid(bars: Bars, step: int) -> tuple[int, int, int] | None:
    """Return first open time, step and count of bars without a hole, in which places can be computed; else None."""
    if not len(bars) or int(bars.open_time[-1]) - int(bars.open_time[0]) != (len(bars) - 1) * step:
        return None
    return int(bars.open_time[0]), step, len(bars)


def first_touch(high: Floats, low: Floats, start: int, above: float, below: float) -> int:
    """Return the first row from ``start`` on whose bar reaches ``above`` or ``below``, the number of rows if none."""
    size = FIRST_LOOK
    while start < len(high):
        part = slice(start, start + size)
        touched = (high[part] >= above) | (low[part] <= below)
        if touched.any():
            return start + int(touched.argmax())
        start, size = start + size, min(2 * size, LAST_LOOK)
    return len(high)

"""Stored bars as they were known at a moment of the past."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain.candle import Bars, timeframe_ms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from domain.candle import Floats, Series

FIRST_LOOK, LAST_LOOK = 64, 65_536
"""Bars looked through in one go: what happens soon is found soon."""
FEW = 32
"""So many numbers are compared sooner one by one than by numpy."""


class Track:
    """All bars of one series, and which of them have closed by a time.

    Attributes:
        series: whose bars they are.
        bars: all of them, those to come too.
        step: their length in ms.
    """

    __slots__ = ("_capacity", "_count", "_first", "_regular", "_window", "_window_end", "bars", "series", "step")

    def __init__(self, series: Series, bars: Bars, capacity: int) -> None:
        self.series, self.bars, self.step = series, bars, timeframe_ms(series.timeframe)
        self._capacity, self._count = capacity, len(bars)
        self._first = int(bars.open_time[0]) if self._count else 0
        # where there is no hole, places can be computed
        self._regular = self._count > 0 and int(bars.open_time[-1]) - self._first == (self._count - 1) * self.step
        self._window, self._window_end = bars[:0], 0

    def __len__(self) -> int:
        return self._count

    def closed(self, time: int) -> int:
        """Return how many bars have closed by a time."""
        if self._regular:
            passed = (time - self._first) // self.step
            return 0 if passed < 0 else min(self._count, passed)
        return int(self.bars.open_time.searchsorted(time - self.step, side="right"))

    def closing(self, time: int) -> int | None:
        """Return the row of the bar that closes at a time, None when there is none."""
        if self._regular:
            row, beside = divmod(time - self._first, self.step)
            return row - 1 if not beside and 1 <= row <= self._count else None
        row = self.closed(time) - 1
        return row if row >= 0 and int(self.bars.open_time[row]) + self.step == time else None

    def opening(self, time: int) -> int:
        """Return the row of the first bar that opens at a time or later, the number of rows when there is none."""
        if self._regular:
            row = -((self._first - time) // self.step)
            return 0 if row < 0 else min(self._count, row)
        return int(self.bars.open_time.searchsorted(time))

    def close_time(self, row: int) -> int:
        """Return when a bar closes (UTC ms)."""
        return self.bars.open_time.item(row) + self.step

    def window(self, now: int) -> Bars:
        """Return what a live bot would have at hand: the newest bars that have closed by now."""
        end = self.closed(now)
        if end != self._window_end:
            self._window, self._window_end = self.bars[max(0, end - self._capacity) : end], end
        return self._window

    def extremes(self, first: int, last: int) -> tuple[float, float]:
        """Return the highest and the lowest price of rows [first, last), at least one."""
        high, low = self.bars.high[first:last], self.bars.low[first:last]
        if last - first <= FEW:
            return max(high.tolist()), min(low.tolist())
        return float(high.max()), float(low.min())


class Tape:
    """The bars of every series; ``now`` says up to when they have closed, and nobody is shown more.

    ``capacity`` gives how many bars a live bot would have at hand of each series: a window shows as many. ``others``
    is what the symbols are called here that strategies look at and do not trade, by the names that they write.
    """

    def __init__(
        self, bars: Mapping[Series, Bars], capacity: Mapping[Series, int], others: Mapping[str, str] | None = None
    ) -> None:
        self.others = dict(others or {})
        self._tracks = {series: Track(series, held, capacity[series]) for series, held in bars.items()}
        self.now = 0

    @property
    def series(self) -> list[Series]:
        """Every series there is."""
        return list(self._tracks)

    def track(self, series: Series) -> Track:
        """Return the bars of a series."""
        return self._tracks[series]

    def bars(self, series: Series) -> Bars:
        """Return the window of a series: its newest bars that have closed by now; none when there is no such series."""
        track = self._tracks.get(series)
        return track.window(self.now) if track is not None else Bars.empty()


def first_touch(high: Floats, low: Floats, start: int, above: float, below: float) -> int:
    """Return the first row from ``start`` on whose bar reaches ``above`` or ``below``, the number of rows if none."""
    size = FIRST_LOOK
    while start < len(high):
        part = slice(start, start + size)
        touched = (high[part] >= above) | (low[part] <= below)
        place = int(touched.argmax())
        if touched[place]:
            return start + place
        start, size = start + size, min(2 * size, LAST_LOOK)
    return len(high)

"""What was saved of whole windows last, so that of the next only what differs is saved."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from domain.candle import Bars, ascends, ordered

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from domain.candle import Series

LEAST = 20
"""To save fewer bars costs less than to look which of them are there."""

WIDTH = 8
"""Bytes of a value."""


class Mark(NamedTuple):
    """What no write to a series' bars leaves as it is: how many there are, and when somebody last wrote to them."""

    rows: int
    last_synced: datetime | None


NEVER = Mark(-1, None)
"""The mark of a series that there is not."""


class Window:
    """Bars that are stored, each column as bytes: nobody else writes to those.

    Fifty windows are more than the processor keeps at hand. They are compared in place and go on where they end, so
    that what was saved before is read once and never copied.
    """

    def __init__(self, bars: Bars) -> None:
        self._columns = [bytearray(np.ascontiguousarray(column)) for column in bars.columns()]

    def bars(self) -> Bars:
        """Return the bars again."""
        times, *values = map(bytes, self._columns)
        return Bars(np.frombuffer(times, np.int64), *(np.frombuffer(column) for column in values))

    def follow(self, bars: Bars) -> int:
        """Go on with what comes after its last bars, when the first ones are those, as windows roll.

        Returns:
            how many of the bars it had; 0 when it stays as it was, as they are others or do not ascend.
        """
        size, end = len(bars) * WIDTH, len(self._columns[0])
        place = self._columns[0].find(bars.open_time[:1].tobytes(), max(0, end - size))
        known = (end - place) // WIDTH
        if place < 0 or place % WIDTH or not _ascends_from(known, bars):
            return 0
        for own, column in zip(self._columns, bars.columns(), strict=True):
            whole = np.ascontiguousarray(column)
            own.extend(whole[known:])
            if not own.endswith(whole.data):
                self._cut(slice(end, None))
                return 0
        if len(self._columns[0]) > 2 * size:
            self._cut(slice(0, -size))
        return known

    def _cut(self, part: slice) -> None:
        for own in self._columns:
            del own[part]


class SavedBars:
    """The window of each series that was saved last, and the mark that its series had then."""

    def __init__(self) -> None:
        self._windows: dict[Series, Window] = {}
        self._marks: dict[Series, Mark] = {}

    def knows(self, frames: Mapping[Series, Bars]) -> bool:
        """Say whether a window of each of these series was saved."""
        return all(series in self._windows for series in frames)

    def lacking(self, frames: Mapping[Series, Bars]) -> dict[Series, Bars]:
        """Return those bars, ascending, of windows in any order that are not stored as they are.

        That is said of series of which a window was saved, as though nobody else had written to them since: look at
        ``others``. All windows count as saved from now on: ``forget`` them when they could not be.
        """
        missing = {}
        for series, bars in frames.items():
            window = self._windows.get(series)
            fresh = self._take(series, bars, window)
            if window is None:
                # whatever its mark says: nothing is known of its bars
                self._marks.pop(series, None)
            elif len(fresh):
                missing[series] = fresh
        return missing

    def _take(self, series: Series, bars: Bars, held: Window | None) -> Bars:
        if held is not None and len(bars) >= LEAST and (known := held.follow(bars)):
            return bars[known:]
        bars = ordered(bars)
        if len(bars) < LEAST:
            self._windows.pop(series, None)
        else:
            self._windows[series] = Window(bars)
        return bars if held is None else differing(bars, held.bars())

    def others(self, frames: Mapping[Series, Bars], marks: Mapping[Series, Mark]) -> dict[Series, Bars]:
        """Return the whole windows, ascending, of series that are not known or, as marks say, were written to."""
        changed = (series for series in frames if self._marks.get(series) != marks.get(series, NEVER))
        return {series: ordered(frames[series]) for series in changed}

    def mark(self, marks: Mapping[Series, Mark]) -> None:
        """Remember the marks that saving them has given to series."""
        self._marks |= marks

    def forget(self) -> None:
        """Know nothing."""
        self._windows.clear()
        self._marks.clear()


def _ascends_from(known: int, bars: Bars) -> bool:
    """Say whether the bars after the first ``known`` go on where those end."""
    times = bars.open_time
    if known == len(bars):
        return True
    return times.item(known) > times.item(known - 1) and ascends(bars[known:])


def differing(bars: Bars, held: Bars) -> Bars:
    """Return those of ``bars`` that are not among ``held`` with the same values; both ascend in time."""
    if not len(held):
        return bars
    place = np.minimum(np.searchsorted(held.open_time, bars.open_time), len(held) - 1)
    same = np.ones(len(bars), bool)
    for own, old in zip(bars.columns(), held.columns(), strict=True):
        same &= own == old[place]
    if not same.any():
        return bars
    return bars.where(~same)

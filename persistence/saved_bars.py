"""What was saved of whole windows last, so that of the next only what differs is saved."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from domain.candle import Bars

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


class Window(NamedTuple):
    """Bars as they were handed in, each column as bytes: nobody goes on writing to those, and they compare quickly."""

    columns: tuple[bytes, ...]

    @classmethod
    def of(cls, bars: Bars) -> Window:
        """Take a copy of bars."""
        return cls(tuple([column.tobytes() for column in bars.columns()]))

    def __len__(self) -> int:
        return len(self.columns[0]) // WIDTH

    def bars(self) -> Bars:
        """Return the bars again."""
        times, *values = self.columns
        return Bars(np.frombuffer(times, np.int64), *(np.frombuffer(column) for column in values))

    def goes_on_in(self, other: Window) -> int:
        """Return how many of its last bars are the first ones of another window, as windows roll; 0 for none."""
        place = self.columns[0].find(other.columns[0][:WIDTH])
        size = len(self.columns[0]) - place
        if place < 0 or place % WIDTH or size > len(other.columns[0]):
            return 0
        same = all(own.endswith(its[:size]) for own, its in zip(self.columns, other.columns, strict=True))
        return size // WIDTH if same else 0


class Compared(NamedTuple):
    """Windows to be saved, and those of their bars that are not stored as they are."""

    windows: dict[Series, Window]
    lacking: dict[Series, Bars]


class SavedBars:
    """The window of each series that was saved last, and the mark that its series had then."""

    def __init__(self) -> None:
        self._windows: dict[Series, tuple[Mark | None, Window]] = {}

    def knows(self, frames: Mapping[Series, Bars]) -> bool:
        """Say whether a window of each of these series was saved."""
        return all(series in self._windows for series in frames)

    def compared(self, frames: Mapping[Series, Bars], marks: Mapping[Series, Mark]) -> Compared:
        """Compare windows with those that were saved last; ``marks`` are those of now.

        A series that somebody else has written to since is taken for unknown.
        """
        windows, lacking = {}, {}
        for series, bars in frames.items():
            window = windows[series] = Window.of(bars)
            mark, held = self._windows.get(series, (None, None))
            fresh = bars if held is None or marks.get(series) != mark else _differing(bars, window, held)
            if len(fresh):
                lacking[series] = fresh
        return Compared(windows, lacking)

    def keep(self, windows: Mapping[Series, Window], marks: Mapping[Series, Mark]) -> None:
        """Remember windows that are stored now, and the marks that this has given to those that were written to."""
        for series, window in windows.items():
            if len(window) < LEAST:
                self._windows.pop(series, None)
            else:
                self._windows[series] = (marks.get(series, self._windows.get(series, (None,))[0]), window)

    def forget(self) -> None:
        """Know nothing."""
        self._windows.clear()


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


def _differing(bars: Bars, window: Window, held: Window) -> Bars:
    return bars[known:] if (known := held.goes_on_in(window)) else differing(bars, held.bars())

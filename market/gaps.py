"""Asks REST for what a stream has not told: bars missing between others, and the newest ones of a silent stream."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Protocol

import structlog

from domain.candle import Bars, Series, timeframe_ms
from domain.errors import RevenantError, Unavailable
from domain.ports import Klines

if TYPE_CHECKING:
    from collections.abc import Callable

    from domain.candle import ClosedBar
    from market.frames import Frames

log = structlog.get_logger(__name__)

NEWEST_BARS = 6
HOLE_BARS = 1_000
"""A hole of more bars is cut to what REST has before it is asked for."""
HOLE_BARS_MAX = 20_000
"""No outage leaves a hole of more bars: whoever claims one is not believed."""
NEWEST = -1
"""In place of an open time: whatever is newest is to be looked at."""

PAUSE_S, DOUBLINGS = (0.2, 1.0), 4
"""Between a question that failed and the next one of the same worker; the actual one is drawn between. It doubles with
each failure in a row, so many times."""


class NewestKlines(Klines, Protocol):
    """Fetches bars, the one that is still forming included."""

    async def newest(self, series: Series, count: int) -> Bars:
        """Return the newest bars, oldest first, the unfinished one included as the last."""
        ...


class Gaps:
    """Fills holes over REST, so many requests at a time; every series waits at most once.

    ``release`` takes bars that became contiguous. ``look`` takes the newest bars of a series that was asked about and
    returns the market time (UTC ms) up to which bars are known to have closed.
    """

    def __init__(
        self, frames: Frames, klines: NewestKlines, confirm_s: float, release: Callable[[list[ClosedBar]], None],
        look: Callable[[Series, Bars], int],
    ) -> None:  # fmt: skip
        self._frames, self._klines, self._confirm_s = frames, klines, confirm_s
        self._release, self._look = release, look
        self._jitter = random.Random()  # noqa: S311  spreads requests, guards nothing
        self._wanted: dict[Series, int | None] = {}
        self._asking: set[Series] = set()
        self._dropped: set[Series] = set()
        self._arrived = asyncio.Semaphore(0)
        self._failures = 0
        self.holes = 0

    def fill(self, series: Series, seen_open: int | None = None) -> None:
        """Have the bars fetched that are missing before a held bar, or before one seen forming at ``seen_open``."""
        if self._free(series):
            self.holes += 1
            self._want(series, seen_open)

    def ask(self, series: Series) -> bool:
        """Have the newest bars of a series looked at; return False when it is being asked about already."""
        if not self._free(series):
            return False
        self._want(series, NEWEST)
        return True

    def drop(self, series: Series) -> None:
        """Ask for nothing of a series any more."""
        self._dropped.add(series)

    def _free(self, series: Series) -> bool:
        # each series waits at most once: the queue is as long as there are series
        return series not in self._wanted and series not in self._asking and series not in self._dropped

    def _want(self, series: Series, seen_open: int | None) -> None:
        self._wanted[series] = seen_open
        self._arrived.release()

    async def run(self) -> None:
        """Fill one hole after the other until cancelled; several may run beside each other."""
        while True:
            await self._arrived.acquire()
            series = next(iter(self._wanted))
            seen_open = self._wanted.pop(series)
            if series in self._dropped:
                continue
            self._asking.add(series)
            try:
                await (self._ask(series) if seen_open == NEWEST else self._fill(series, seen_open))
                self._failures = 0
            except RevenantError as error:
                log.warning("bars not fetched yet", series=series, reason=str(error))
                await asyncio.sleep(self._pause())
            finally:
                self._asking.discard(series)
            if self._frames.hole(series):
                self.fill(series)

    def _pause(self) -> float:
        pause: float = self._jitter.uniform(*PAUSE_S) * 2 ** min(self._failures, DOUBLINGS)
        self._failures += 1
        return pause

    async def _ask(self, series: Series) -> None:
        newest = await self._klines.newest(series, NEWEST_BARS)
        if not len(newest):
            return
        closed_until, last = self._look(series, newest), int(newest.open_time[-1])
        # a bar is closed when a later one exists, or when other symbols have shown that its time is over
        following = last + timeframe_ms(series.timeframe)
        hole = self._frames.hole(series, following if following <= closed_until else last)
        if hole is None:
            return
        had = _inside(newest, hole)
        if len(had) < _bars_in(series, hole):
            await self._fill(series, hole[1])
        else:
            self._close(series, hole, had)

    async def _fill(self, series: Series, seen_open: int | None) -> None:
        hole = self._frames.hole(series, seen_open)
        if hole is not None and _bars_in(series, hole) > HOLE_BARS:
            hole = await self._cut(series, hole)
        if hole is None:
            return
        bars = await self._klines.closed(series, *hole)
        if len(bars) < _bars_in(series, hole):
            # REST may lag a moment: only what is absent twice was never there
            await asyncio.sleep(self._confirm_s)
            bars = await self._klines.closed(series, *hole)
        self._close(series, hole, bars)

    async def _cut(self, series: Series, hole: tuple[int, int]) -> tuple[int, int] | None:
        # a frame may claim any time: nothing is asked for beyond what REST has
        newest = await self._klines.newest(series, 1)
        end = min(hole[1], int(newest.open_time[-1])) if len(newest) else hole[0]
        if _bars_in(series, (hole[0], end)) > HOLE_BARS_MAX:
            raise Unavailable(f"a hole of {_bars_in(series, (hole[0], end))} bars is not believed")
        return (hole[0], end) if hole[0] < end else None

    def _close(self, series: Series, hole: tuple[int, int], bars: Bars) -> None:
        log.info("hole filled", series=series, bars=len(bars), start=hole[0], end=hole[1])
        self._release(self._frames.confirm_absent(series, *hole, bars))


def _bars_in(series: Series, hole: tuple[int, int]) -> int:
    return (hole[1] - hole[0]) // timeframe_ms(series.timeframe)


def _inside(bars: Bars, hole: tuple[int, int]) -> Bars:
    inside = (bars.open_time >= hole[0]) & (bars.open_time < hole[1])
    return Bars(*(column[inside] for column in bars.columns()))

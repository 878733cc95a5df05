"""Closed bars of many series by asking for them when they are due, for sources that have no stream here."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from domain.candle import timeframe_ms
from domain.coverage import Span, bars_in, without
from domain.durations import DAY_MS
from domain.errors import RevenantError
from market.frames import Batches

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from domain.candle import Bars, ClosedBar, Series
    from domain.ports import Klines
    from market.frames import Frames

log = structlog.get_logger(__name__)

AT_ONCE = 8
RETRY_S = 5.0
FORESEEN_MS = 10 * DAY_MS
"""Longer than any market closes."""
BELIEVED_AFTER = 3
"""A bar that is not told so many times, while later ones are, was never there."""


@dataclass(frozen=True, slots=True)
class PollLimits:
    """Limits of a polled feed, in seconds.

    Attributes:
        settle_s: how long after its end a bar is asked for.
        stale_s: how much later a series counts as silent.
        grace_s: how long a batch waits for its last bar.
    """

    settle_s: float = 3.0
    stale_s: float = 75.0
    grace_s: float = 1.5


@dataclass(slots=True)
class PollCounters:
    """How often was asked, how often nothing came, and bars that were believed never to have been."""

    asked: int = 0
    failures: int = 0
    absent: int = 0


class PollingFeed:
    """Implements the live feed by polling. ``now`` returns the host's time in UTC ms."""

    def __init__(
        self,
        frames: Frames,
        klines: Klines,
        limits: PollLimits,
        now: Callable[[], int] = lambda: int(time.time() * 1000),
    ) -> None:
        self._frames, self._klines, self._limits, self._now = frames, klines, limits, now
        self._batches = Batches(frames.series, limits.grace_s)
        self._added = asyncio.Event()
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._not_before: dict[Series, int] = {}
        self._misses: dict[Series, int] = {}
        self._answered: set[Series] = set()
        self._empty: dict[Series, int] = {}
        self._jitter = random.Random()  # noqa: S311  spreads requests, guards nothing
        self.counters = PollCounters()
        self.prices: dict[str, tuple[float, int]] = {}

    async def run(self, deliver: Callable[[list[ClosedBar]], Awaitable[None]]) -> None:
        """Poll until cancelled, passing each batch of bars to ``deliver``."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._poll(), name="feed polls")
            group.create_task(self._hand_out(deliver), name="feed batches")

    def follow(self, series: Sequence[Series]) -> None:
        """Poll more series, whose windows are there already."""
        self._batches.follow(series)

    def stale(self) -> list[Series]:
        """Return the series whose next bar is overdue, unless nothing was traded meanwhile."""
        late = int((self._limits.settle_s + self._limits.stale_s) * 1000)
        return [
            series for series in self._frames.series
            if self._now() - self._closes(series) > late and not self._quiet(series)
        ]  # fmt: skip

    def _quiet(self, series: Series) -> bool:
        """Return whether the source has just answered that there is no newer bar, while it has newer ones of others.

        Many sources have no bars of times in which nothing was traded. A source that tells of nobody any more is dead.
        """
        last = self._frames.last_time(series)
        recent = int((self._limits.settle_s + self._limits.stale_s) * 1000)
        if last is None or self._now() - self._empty.get(series, -recent) > recent:
            return False
        others = (self._frames.last_time(other) for other in self._frames.series
                  if other.timeframe == series.timeframe and other.symbol != series.symbol)  # fmt: skip
        newest = max((time for time in others if time is not None), default=last)
        return newest > last and self._now() - newest - timeframe_ms(series.timeframe) <= (
            recent + timeframe_ms(series.timeframe)
        )

    def ages(self) -> dict[Series, float]:
        """Return of each series how many seconds ago its newest bar closed."""
        now = self._now()
        last_times = {series: self._frames.last_time(series) for series in self._frames.series}
        return {
            series: round((now - last - timeframe_ms(series.timeframe)) / 1000, 1)
            for series, last in last_times.items() if last is not None
        }  # fmt: skip

    def connected(self) -> bool:
        """Say whether every series has been answered for once."""
        return len(self._answered) >= len(self._frames.series)

    def refused(self) -> dict[Series, str]:
        """Return nothing: what cannot be polled fails when it is asked for."""
        return {}

    async def _poll(self) -> None:
        while True:
            due = [series for series in self._frames.series if self._due(series) <= self._now()]
            async with asyncio.TaskGroup() as group:
                for series in due:
                    group.create_task(self._ask(series))
            wait = min((self._due(series) for series in self._frames.series), default=self._now() + 1000) - self._now()
            await asyncio.sleep(min(1.0, max(0.05, wait / 1000)))

    def _closes(self, series: Series) -> int:
        """Return when the next bar of a series ends."""
        last, step = self._frames.last_time(series), timeframe_ms(series.timeframe)
        following = self._now() // step * step - step if last is None else last + step
        for rest in self._klines.resting(series, Span(following, following + FORESEEN_MS)):
            if rest.start <= following < rest.end:
                following = rest.end
        return following + step

    def _due(self, series: Series) -> int:
        if series not in self._answered:
            return self._not_before.get(series, 0)
        return max(self._closes(series) + int(self._limits.settle_s * 1000), self._not_before.get(series, 0))

    async def _ask(self, series: Series) -> None:
        step, now = timeframe_ms(series.timeframe), self._now()
        end = (now - int(self._limits.settle_s * 1000)) // step * step
        last = self._frames.last_time(series)
        start = end - step if last is None else last + step
        # whoever gets no answer, or not the whole one, asks again in a while, not all at once
        self._not_before[series] = now + int(1000 * RETRY_S * self._jitter.uniform(0.8, 1.2))
        if start >= end:
            self._answered.add(series)
            return
        self.counters.asked += 1
        try:
            async with self._gate:
                bars = await self._klines.closed(series, start, end)
        except RevenantError as error:
            self.counters.failures += 1
            log.warning("bars not had", series=series, reason=str(error))
            return
        self._answered.add(series)
        if not len(bars):
            self._empty[series] = self._now()
        self._take(series, start, end, bars)

    def _take(self, series: Series, start: int, end: int, bars: Bars) -> None:
        step = timeframe_ms(series.timeframe)
        if len(bars):
            self._release([closed for bar in bars.rows() for closed in self._frames.offer(series, bar)])
            self.prices[series.symbol] = (float(bars.close[-1]), int(bars.open_time[-1]) + step)
        resting = self._klines.resting(series, Span(start, end))
        whole = len(bars) >= bars_in(without([Span(start, end)], resting), step)
        self._misses[series] = 0 if whole else self._misses.get(series, 0) + 1
        hole = self._frames.hole(series)
        if hole is not None and (self._misses[series] >= BELIEVED_AFTER or not without([Span(*hole)], resting)):
            self.counters.absent += (hole[1] - hole[0]) // step
            inside = (bars.open_time >= hole[0]) & (bars.open_time < hole[1])
            had = type(bars)(*(column[inside] for column in bars.columns()))
            self._release(self._frames.confirm_absent(series, *hole, had))

    def _release(self, closed: list[ClosedBar]) -> None:
        if closed:
            self._batches.add(closed, asyncio.get_running_loop().time())
            self._added.set()

    async def _hand_out(self, deliver: Callable[[list[ClosedBar]], Awaitable[None]]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                async with asyncio.timeout(self._batches.wait_s(loop.time())):
                    await self._added.wait()
            except TimeoutError:
                pass
            self._added.clear()
            for batch in self._batches.due(loop.time()):
                await deliver(batch)

"""A market that is polled gives every closed bar once, in order, and says when it falls silent."""

from __future__ import annotations

import asyncio

import pytest

from domain.candle import Bars, Series
from domain.coverage import Span
from domain.errors import Unavailable
from market.frames import Frames
from market.polling import PollingFeed, PollLimits
from tests.venues import walk

STEP, START = 60_000, 1_704_067_200_000
BTC, ETH, SLOW = Series("BTC/USDT", "1m"), Series("ETH/USDT", "1m"), Series("BTC/USDT", "3m")
LIMITS = PollLimits(settle_s=3.0, stale_s=75.0, grace_s=0.0)


class Klines:
    """Tells what has closed by the clock, as a source does; ``late`` bars come only after a while, ``lost`` never."""

    def __init__(self, clock: list[int]) -> None:
        self.clock, self.away, self.lost, self.late = clock, False, set(), {}
        self.asked: list[tuple[Series, int, int]] = []
        self.nights: list[Span] = []

    def resting(self, series: Series, span: Span) -> list[Span]:
        return [
            Span(max(span.start, one.start), min(span.end, one.end))
            for one in self.nights
            if one.start < span.end and one.end > span.start
        ]

    async def closed(self, series: Series, start: int, end: int) -> Bars:
        self.asked.append((series, start, end))
        if self.away:
            raise Unavailable("no answer")
        step = 3 * STEP if series.timeframe == "3m" else STEP
        bars = walk((end - START) // step, START, step)
        rows = [
            row for row in bars.rows()
            if row.open_time >= start and row.open_time not in self.lost
            and self.clock[0] >= self.late.get(row.open_time, 0)
        ]  # fmt: skip
        return Bars.of(rows)


class World:
    def __init__(self, *series: Series) -> None:
        self.clock = [START + 10 * STEP]
        self.klines, self.frames = Klines(self.clock), Frames(dict.fromkeys(series, 100))
        for one in series:
            self.frames.seed(one, walk(9 if one is not SLOW else 3, START, STEP if one is not SLOW else 3 * STEP))
        self.feed = PollingFeed(self.frames, self.klines, LIMITS, lambda: self.clock[0])
        self.batches: list[list] = []

    async def look(self, seconds: float = 0.0) -> None:
        """Let the clock pass, and have everything done that is due."""
        self.clock[0] += int(seconds * 1000)
        due = [series for series in self.frames.series if self.feed._due(series) <= self.clock[0]]
        await asyncio.gather(*(self.feed._ask(series) for series in due))
        self.batches += self.feed._batches.due(asyncio.get_running_loop().time() + 10)

    @property
    def times(self) -> list[int]:
        return [(closed.bar.open_time - START) // STEP for batch in self.batches for closed in batch]


async def test_each_closed_bar_comes_once_and_none_before_it_has_settled():
    world = World(BTC)
    await world.look()
    assert world.times == []
    assert world.feed.connected()
    await world.look(2)
    assert world.times == []
    await world.look(4)
    assert world.times == [9]
    for _ in range(20):
        await world.look(10)
    assert world.times == [9, 10, 11, 12]


async def test_bars_that_close_together_make_one_batch_the_longer_first():
    world = World(BTC, ETH, SLOW)
    world.clock[0] = START + 12 * STEP + 4_000
    await world.look()
    assert [(closed.series, closed.close_time) for closed in world.batches[-1]] == [
        (SLOW, START + 12 * STEP), (BTC, START + 12 * STEP), (ETH, START + 12 * STEP)
    ]  # fmt: skip
    assert world.feed.prices["BTC/USDT"][1] == START + 12 * STEP


async def test_a_source_that_is_late_is_asked_again_after_a_while():
    world = World(BTC)
    world.klines.late = {START + 9 * STEP: START + 10 * STEP + 20_000}
    await world.look(4)
    asked = len(world.klines.asked)
    await world.look(1)
    assert len(world.klines.asked) == asked
    for _ in range(4):
        await world.look(6)
    assert world.times == [9]


async def test_a_bar_that_never_was_is_believed_to_be_absent_once_later_ones_are_told():
    world = World(BTC)
    world.klines.lost = {START + 9 * STEP}
    for _ in range(30):
        await world.look(6)
    assert world.times == [10, 11]
    assert world.feed.counters.absent == 1


async def test_silence_is_told_and_ends_with_everything_that_was_missed():
    world = World(BTC)
    await world.look(4)
    world.klines.away = True
    for _ in range(30):
        await world.look(6)
    assert world.feed.stale() == [BTC]
    assert world.feed.counters.failures > 3
    world.klines.away = False
    await world.look(10)
    assert world.feed.stale() == []
    assert world.times == [9, 10, 11, 12]


async def test_a_market_without_trades_is_not_silent_while_the_source_has_newer_bars_of_others():
    """Many sources leave out bars in which nothing was traded; one that has nothing of anybody is dead."""
    world = World(BTC, ETH)
    closed, rests = world.klines.closed, True

    async def without_eth(series, start, end):
        bars = await closed(series, start, end)
        return Bars.empty() if rests and series == ETH else bars

    world.klines.closed = without_eth
    for _ in range(40):
        await world.look(10)
        assert world.feed.stale() == []
    rests = False
    for _ in range(9):
        await world.look(10)
    # what was traded since comes with everything before it
    assert world.frames.last_time(ETH) == world.frames.last_time(BTC)

    async def nothing(series, start, end):
        return Bars.empty()

    world.klines.closed = nothing
    for _ in range(40):
        await world.look(10)
    assert world.feed.stale() == [BTC, ETH]


async def test_while_the_market_is_closed_nobody_is_silent_and_nothing_is_missing():
    world = World(BTC)
    night = Span(START + 12 * STEP, START + 60 * STEP)
    world.klines.nights = [night]
    world.klines.lost = set(range(*night, STEP))
    for _ in range(18):
        await world.look(10)
    assert world.times == [9, 10, 11]
    asked = len(world.klines.asked)
    while world.clock[0] < night.end:
        await world.look(30)
        assert world.feed.stale() == []
    assert len(world.klines.asked) == asked
    # the first bar of the day comes at once: nobody waits to believe that the night was dark
    for _ in range(7):
        await world.look(10)
    assert world.times == [9, 10, 11, 60]
    world.klines.away = True
    for _ in range(20):
        await world.look(10)
    assert world.feed.stale() == [BTC]


async def test_it_runs_by_itself_until_it_is_ended():
    world, got = World(BTC), asyncio.Event()
    world.clock[0] += 4_000

    async def deliver(batch):
        world.batches.append(batch)
        got.set()

    task = asyncio.create_task(world.feed.run(deliver))
    await asyncio.wait_for(got.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.times == [9]

"""What is asked of REST: each series once at a time, the newest bars judged, and nothing believed absent too early."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from domain.candle import Bar, Bars, Series
from domain.errors import Unavailable
from market.frames import Frames
from market.gaps import DOUBLINGS, PAUSE_S, Gaps
from tests.practice import until

STEP = 180_000
A, B = Series("A/USDT:USDT", "3m"), Series("B/USDT:USDT", "3m")


def row(number: int, volume: float = 1.0) -> Bar:
    return Bar(number * STEP, 5.0, 5.0, 5.0, 5.0, volume, volume)


class Klines:
    """REST of a market of which the bars up to ``last`` exist, the newest still forming."""

    def __init__(self, last: int) -> None:
        self.last, self.asked, self.away = last, [], False
        self.lost: set[int] = set()

    def rows(self, first: int, last: int) -> Bars:
        return Bars.of([row(i) for i in range(first, last + 1) if i not in self.lost])

    async def newest(self, series: Series, count: int) -> Bars:
        self.asked.append(("newest", series, count))
        if self.away:
            raise Unavailable("no answer")
        return self.rows(max(0, self.last - count + 1), self.last)

    async def closed(self, series: Series, start: int, end: int) -> Bars:
        self.asked.append(("closed", start // STEP, end // STEP))
        return self.rows(start // STEP, min(self.last, end // STEP - 1))

    async def latest(self, series: Series, count: int) -> Bars:
        raise AssertionError

    def resting(self, series, span):
        return ()


class World:
    def __init__(self, last: int, closed_until: int = 0) -> None:
        self.klines, self.frames, self.got = Klines(last), Frames({A: 100, B: 100}), []
        for one in (A, B):
            self.frames.seed(one, Bars.of([row(i) for i in range(4)]))
        self.looked: list[Bars] = []
        self.gaps = Gaps(self.frames, self.klines, 0.0, self.got.extend, lambda _, bars: self.look(bars, closed_until))

    def look(self, bars: Bars, closed_until: int) -> int:
        self.looked.append(bars)
        return closed_until

    @property
    def numbers(self) -> list[int]:
        return [closed.bar.open_time // STEP for closed in self.got]

    @contextlib.asynccontextmanager
    async def working(self):
        task = asyncio.create_task(self.gaps.run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


@pytest.mark.parametrize(("closed_until", "expected"), [(0, [4, 5]), (6 * STEP, [4, 5]), (7 * STEP, [4, 5, 6])])
async def test_one_question_brings_all_that_has_closed(closed_until, expected):
    """The newest bar is closed only when other symbols have shown that its time is over."""
    world = World(6, closed_until)
    async with world.working():
        assert world.gaps.ask(A)
        await until(lambda: len(world.got) == len(expected), "the bars")
    assert world.numbers == expected
    assert world.klines.asked == [("newest", A, 6)]
    assert world.looked[0].open_time.tolist()[-1] == 6 * STEP


async def test_a_longer_silence_is_filled_page_by_page():
    world = World(20)
    async with world.working():
        world.gaps.ask(A)
        await until(lambda: len(world.got) == 16, "the bars")
    assert world.numbers == list(range(4, 20))
    assert world.klines.asked[1:] == [("closed", 4, 20)]


async def test_what_rest_does_not_have_yet_is_not_believed_absent():
    """Others have shown that the time of bar 4 is over, and REST has nothing newer than bar 3: nothing is concluded."""
    world = World(3, 5 * STEP)
    async with world.working():
        world.gaps.ask(A)
        await until(lambda: world.looked, "the answer")
        assert (world.got, world.frames.hole(A, 5 * STEP)) == ([], (4 * STEP, 5 * STEP))
        world.klines.last = 5
        assert await until(lambda: world.gaps.ask(A), "the worker")
        await until(lambda: world.got, "the bar")
    assert (world.numbers, world.frames.counters.absent) == ([4], 0)


async def test_a_claim_beyond_what_rest_has_is_cut_down_to_it():
    world = World(6)
    async with world.working():
        world.gaps.fill(A, 10**9 * STEP)
        await until(lambda: len(world.got) == 2, "the bars")
    assert world.klines.asked == [("newest", A, 1), ("closed", 4, 6)]


async def test_a_series_waits_once_and_one_that_was_dropped_is_asked_for_no_more():
    world = World(6)
    assert world.gaps.ask(A)
    assert not world.gaps.ask(A)
    world.gaps.fill(A, 6 * STEP)
    assert world.gaps.holes == 0
    world.gaps.ask(B)
    world.gaps.drop(A)
    async with world.working():
        await until(lambda: world.looked, "the other one")
    assert [asked[1] for asked in world.klines.asked] == [B]
    assert not world.gaps.ask(A)


async def test_while_rest_is_away_the_pauses_grow_and_end_with_the_first_answer():
    world = World(6)
    pauses = [world.gaps._pause() for _ in range(10)]
    for number, pause in enumerate(pauses):
        factor = 2 ** min(number, DOUBLINGS)
        assert PAUSE_S[0] * factor <= pause <= PAUSE_S[1] * factor
    async with world.working():
        world.gaps.ask(A)
        await until(lambda: world.got, "an answer")
    assert world.gaps._pause() <= PAUSE_S[1]

"""The candle writer goes on whatever its storage says."""

import asyncio

import pytest

from domain.candle import Bar, Bars, ClosedBar, Series
from domain.errors import ConfigError, Rejected, Unavailable
from engine import writer
from engine.threads import Tier
from engine.writer import CandleWriter


class Storage:
    waiting = True

    def __init__(self, errors):
        self.errors = errors

    def drain(self):
        if self.errors:
            raise self.errors.pop()
        self.waiting = False
        return 5


@pytest.mark.parametrize("error", [Unavailable("away"), ConfigError("refused us"), Rejected("no")])
async def test_spilled_bars_come_home_after_any_refusal(monkeypatch, error):
    monkeypatch.setattr(writer, "DRAIN_S", 0.001)
    storage, tier = Storage([error, error]), Tier("candles", 5)
    held = CandleWriter(storage, tier, lambda _: Bars.empty(), pending_max=10, summary_s=1e9)
    draining = asyncio.create_task(held.drain())
    async with asyncio.timeout(10):
        while storage.waiting and not draining.done():
            await asyncio.sleep(0)
    assert not storage.waiting
    draining.cancel()
    tier.close()


class Notebook:
    waiting = False

    def __init__(self):
        self.saved = []

    def save_all_frames(self, frames):
        self.saved += [time for bars in frames.values() for time in bars.open_time.tolist()]
        return sum(map(len, frames.values()))


async def test_bars_wait_until_their_moment_has_been_decided_on_and_a_stop_saves_them_all_the_same():
    storage, tier = Notebook(), Tier("candles", 5)
    held = CandleWriter(storage, tier, lambda _: Bars.empty(), pending_max=10, summary_s=1e9)
    running = asyncio.create_task(held.run())
    first, second, third = (
        [ClosedBar(Series("A/USDT:USDT", "3m"), Bar(180_000 * n, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0))] for n in range(3)
    )
    async with asyncio.timeout(10):
        with held.waiting():
            held.add(first)
            await tier.call(lambda: None)
            assert (storage.saved, held.pending) == ([], 1)
            await held.flush()
            assert storage.saved == [0]
            held.add(second)
        while len(storage.saved) < 2:
            await asyncio.sleep(0)
        held.add(third)
        while len(storage.saved) < 3:
            await asyncio.sleep(0)
    assert storage.saved == [0, 180_000, 360_000]
    running.cancel()
    tier.close()


@pytest.mark.parametrize("refused", [2, 5])
async def test_bars_wait_until_they_are_saved_also_those_of_a_window_that_was_refused(refused):
    class Refusing(Notebook):
        def save_all_frames(self, frames):
            waited.append(held.pending)
            if sum(map(len, frames.values())) in refusals:
                refusals.clear()
                raise Unavailable("away")
            return super().save_all_frames(frames)

    series, refusals, waited = Series("A/USDT:USDT", "3m"), [refused], []
    bars = [Bar(180_000 * n, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0) for n in range(5)]
    storage, tier = Refusing(), Tier("candles", 5)
    held = CandleWriter(storage, tier, lambda _: Bars.of(bars), pending_max=2, summary_s=1e9)
    held.add([ClosedBar(series, bar) for bar in bars])
    assert held.pending == 2 + 5
    with pytest.raises(Unavailable):
        await held.flush()
    assert held.pending == (7 if refused == 2 else 5)
    await held.flush()
    assert (storage.saved, held.pending) == ([0, 180_000, *(bar.open_time for bar in bars)], 0)
    assert waited == ([7, 7, 5] if refused == 2 else [7, 5, 5])
    tier.close()

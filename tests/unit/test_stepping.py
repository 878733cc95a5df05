"""In step mode the market moves on only when everything has happened that its last bars led to; how a bot leaves one."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

from domain.candle import Bar, Bars, ClosedBar, Series
from engine.parts import Progress
from engine.runtime import Runtime
from engine.threads import Tier
from engine.writer import CandleWriter


class Orders:
    """Carries out what it was given when somebody waits for it."""

    def __init__(self, happened: list[str]) -> None:
        self.happened, self.waiting = happened, ["move the stop"]

    async def settled(self) -> None:
        self.happened += self.waiting
        self.waiting = []


async def test_what_an_answer_led_to_is_carried_out_before_the_market_moves_on():
    happened: list[str] = []
    runtime = Runtime.__new__(Runtime)
    runtime.orders, runtime._events = Orders(happened), asyncio.Queue()

    async def handle(event):
        happened.append(event)
        runtime.orders.waiting.append("exit at the market")

    async def acknowledge(_time):
        happened.append("the market moves on")

    runtime._handle, runtime._p = handle, SimpleNamespace(acknowledge=acknowledge)
    runtime._events.put_nowait("stop refused")
    await runtime._acknowledge(0)
    assert happened == ["move the stop", "stop refused", "exit at the market", "the market moves on"]


async def test_executions_that_were_asked_for_and_there_are_none_of_are_no_bars():
    told: list[object] = []
    runtime = Runtime.__new__(Runtime)
    runtime.progress, runtime._leaving = Progress(), False
    runtime._p = SimpleNamespace(
        writer=CandleWriter(Notebook(), None, lambda _: Bars.empty(), pending_max=10, summary_s=1e9), trader=None,
        told=lambda *what: told.append(what), acknowledge=None,
    )  # fmt: skip

    async def decide(batch):
        told.append(batch)

    runtime._decide = decide
    await runtime._handle([])
    # a stepping market would wait for the answer to bars that it has not sent
    assert (told, runtime.progress.batches) == ([], 0)


class Notebook:
    """A storage that knows which bars it was given."""

    def __init__(self) -> None:
        self.saved: list[int] = []

    def save_all_frames(self, frames):
        self.saved += [time for bars in frames.values() for time in bars.open_time.tolist()]
        return sum(map(len, frames.values()))


class Nothing:
    """Takes every call and does nothing."""

    async def call(self, *_):
        pass

    async def flush(self, _):
        pass


async def test_a_stop_lets_the_moment_end_that_is_decided_on_and_keeps_the_bars_of_the_next():
    decided, storage, tier = [], Notebook(), Tier("candles", 5)
    writer = CandleWriter(storage, tier, lambda _: Bars.empty(), pending_max=10, summary_s=1e9)
    first, second = (
        [ClosedBar(Series("A/USDT:USDT", "3m"), Bar(180_000 * n, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0))] for n in range(2)
    )
    go_on = asyncio.Event()
    runtime = Runtime.__new__(Runtime)
    runtime.progress, runtime._leaving = Progress(), False
    runtime._p = SimpleNamespace(
        writer=writer, told=lambda *_: None, acknowledge=None, trades=SimpleNamespace(close=None),
        phantoms=SimpleNamespace(flush=Nothing().flush, trail=SimpleNamespace(close=None)),
        tiers=SimpleNamespace(trades=Nothing(), phantoms=Nothing()),
    )  # fmt: skip

    async def decide(batch):
        await go_on.wait()
        decided.extend(batch)

    runtime._decide = decide
    async with asyncio.timeout(10):
        deciding = asyncio.create_task(runtime._take_bars(first))
        await asyncio.sleep(0)
        stopping = asyncio.create_task(runtime.stop(30))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not stopping.done()
        taking = asyncio.create_task(runtime._take_bars(second))
        await taking
        go_on.set()
        await asyncio.gather(stopping, deciding)
    assert decided == first
    assert storage.saved == [0, 180_000]
    tier.close()

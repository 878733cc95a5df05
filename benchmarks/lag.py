"""The event loop while 500 symbols close both timeframes at once, are judged and saved, and a model is retrained."""

from __future__ import annotations

import asyncio
import gc
import tempfile
from decimal import Decimal
from pathlib import Path

import numpy as np

from benchmarks.learning import learning_of
from benchmarks.measured import Measured, compared
from domain.candle import Bar, Bars, Series
from domain.exits import ExitPlan
from domain.ids import Identity
from domain.source import Source
from engine.learning import Learning
from engine.risk import RiskLimits
from engine.threads import Tier
from engine.trader import Plan, Trader, TraderTerms
from engine.writer import CandleWriter
from market.connection import FRAMES_AT_ONCE
from market.frames import Frames
from persistence.candles import PostgresCandleStorage
from persistence.database import Database
from persistence.healing_candles import HealingCandleStorage
from sandbox.tape import GeneratedTape
from strategies.table import TABLE
from tests.servers import Postgres
from tests.unit.test_learning import teach

SYMBOLS, HISTORY, ROUNDS = 500, 700, 12
STEPS = {"15m": 900_000, "3m": 180_000}
PROBE_S = 0.002
IDLE_S, LESSONS, P99_MS = 5.0, 3_000, 5.0


def measure() -> list[Measured]:
    """Measure the lag of the loop under load beside that of the same loop idle."""
    server = Postgres()
    server.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            return asyncio.run(_measure(server.dsn("postgres"), Path(folder)))
    finally:
        server.close()


async def _measure(url: str, folder: Path) -> list[Measured]:
    tape = GeneratedTape(1, SYMBOLS, 1_763_000_000_000)
    series = [Series(symbol, timeframe) for timeframe in STEPS for symbol in tape.instruments]
    frames = Frames(dict.fromkeys(series, HISTORY))
    rng = np.random.default_rng(1)
    for key in series:
        frames.seed(key, _history(STEPS[key.timeframe], rng))
    trader, rounds = _trader(tape, frames), _rows(frames, series)
    database = Database(url)
    spill = PostgresCandleStorage(Database(f"sqlite:///{folder / 'spill.sqlite'}"), Source.SYNTHETIC)
    storage = HealingCandleStorage(PostgresCandleStorage(database, Source.SYNTHETIC), spill)
    tier = Tier("candles", 60)
    writer = CandleWriter(storage, tier, frames.bars, pending_max=100_000, summary_s=900)
    database.check()
    quiet_lags = await idle()
    lags: list[float] = []
    learning = await _Training.begin(folder)
    # as the daemon does once everything is loaded
    gc.collect()
    gc.freeze()
    tasks = [asyncio.create_task(writer.run()), asyncio.create_task(probe(lags)), asyncio.create_task(learning.run())]
    for closing in rounds:
        await _close_all(frames, trader, writer, closing)
        while writer.counters.saved < writer.counters.queued:
            await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for one in (tier, database, learning):
        one.close()
    gc.unfreeze()
    p99, quiet = (float(np.percentile(one, 99)) for one in (lags, quiet_lags))
    told = f"{ROUNDS} x {len(series)} bars, {trader.counts['signals']} signals, max {max(lags):.1f} ms"
    what = "loop lag p99 while 500 symbols close both timeframes, are scored and saved, and a model trains; idle"
    line = compared("loop_lag", what, "ms", [(p99, quiet)], P99_MS, absolute=True, details=told)
    return [line]


async def idle() -> list[float]:
    """Return the lags of a loop that has nothing to do (ms)."""
    lags: list[float] = []
    probing = asyncio.create_task(probe(lags))
    await asyncio.sleep(IDLE_S)
    probing.cancel()
    await asyncio.gather(probing, return_exceptions=True)
    return lags


class _Training:
    """Trains a model again and again, as the daemon does."""

    def __init__(self, learning: Learning, tier: Tier, database: Database) -> None:
        self._learning, self._tier, self._database = learning, tier, database

    @classmethod
    async def begin(cls, folder: Path) -> _Training:
        database = await asyncio.to_thread(teach, folder / "audit", LESSONS, 0.5)
        tier = Tier("learning", 60)
        return cls(learning_of(database, tier, LESSONS), tier, database)

    async def run(self) -> None:
        while True:
            await self._learning.train("scalp")

    def close(self) -> None:
        self._tier.close()
        self._database.close()


def _rows(frames: Frames, series: list[Series]) -> list[dict[Series, Bar]]:
    """Return what closes in each round."""
    rounds, last = [], {key: frames.bars(key).row(-1) for key in series}
    for number in range(ROUNDS):
        closing = {}
        for key in series:
            old = last[key]
            price = old.close * (1.001 if (number + len(key.symbol)) % 2 else 0.999)
            ends = max(old.close, price), min(old.close, price)
            closing[key] = Bar(old.open_time + STEPS[key.timeframe], old.close, *ends, price, 1.0, price)
        rounds.append(closing)
        last = closing
    return rounds


async def _close_all(frames: Frames, trader: Trader, writer: CandleWriter, closing: dict[Series, Bar]) -> None:
    batch = []
    for key, row in closing.items():
        batch += frames.offer(key, row)
        if len(batch) % FRAMES_AT_ONCE == 0:
            await asyncio.sleep(0)
    with writer.waiting():
        writer.add(batch)
        for closed in batch:
            trader.on_bar(closed)
            await asyncio.sleep(0)


async def probe(lags: list[float]) -> None:
    """Note again and again how late the loop is (ms)."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + PROBE_S
        await asyncio.sleep(PROBE_S)
        lags.append((loop.time() - due) * 1000)


def _history(step: int, rng: np.random.Generator) -> Bars:
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.003, HISTORY)))
    opened = np.r_[100.0, close[:-1]]
    high, low = np.maximum(opened, close) * 1.001, np.minimum(opened, close) * 0.999
    times = np.arange(HISTORY) * step
    return Bars(times, opened, high, low, close, rng.random(HISTORY) + 1, close)


def _trader(tape: GeneratedTape, frames: Frames) -> Trader:
    plans = {name: Plan(kind(kind.Parameters()), ExitPlan()) for name, kind in TABLE.items()}
    limits = RiskLimits(
        Decimal(1), 8, Decimal(4), Decimal(1), Decimal(6), Decimal(5), Decimal("0.00055"), Decimal("0.0003")
    )
    terms = TraderTerms(Identity("synthetic", "synthetic", "1"), limits, plans, paper=False, unfilled_timeout_ms=10**6)
    trader = Trader(terms, tape.instruments, frames.bars)
    trader.situation.equity = Decimal(10_000)
    for symbol in tape.instruments:
        trader.warm_up(symbol, 2**62)
    return trader

"""The event loop while 500 symbols close a bar at once: decided on and saved, without anybody waiting."""

from __future__ import annotations

import asyncio
import tempfile
from decimal import Decimal
from pathlib import Path

import numpy as np

from domain.candle import Bar, Bars, Series
from domain.exits import ExitPlan
from domain.ids import Identity
from domain.source import Source
from engine.risk import RiskLimits
from engine.threads import Tier
from engine.trader import Plan, Trader, TraderTerms
from engine.writer import CandleWriter
from market.frames import Frames
from persistence.candles import HealingCandleStorage, PostgresCandleStorage
from persistence.database import Database
from sandbox.tape import GeneratedTape
from strategies.table import TABLE
from tests.servers import Postgres

SYMBOLS, HISTORY, ROUNDS = 500, 700, 12
STEPS = {"15m": 900_000, "3m": 180_000}
PROBE_S = 0.002
FRAMES_PER_READ = 200
"""A socket hands over about so many frames before the loop goes on."""


def measure() -> tuple[float, str]:
    """Return the 99th percentile of the loop's lag in ms, and what was done meanwhile."""
    server = Postgres()
    server.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            return asyncio.run(_measure(server.dsn("postgres"), Path(folder)))
    finally:
        server.close()


async def _measure(url: str, folder: Path) -> tuple[float, str]:
    tape = GeneratedTape(1, SYMBOLS, 1_763_000_000_000)
    series = [Series(symbol, timeframe) for timeframe in STEPS for symbol in tape.instruments]
    frames = Frames(dict.fromkeys(series, HISTORY))
    rng = np.random.default_rng(1)
    for key in series:
        frames.seed(key, _history(STEPS[key.timeframe], rng))
    trader = _trader(tape, frames)
    database = Database(url)
    spill = PostgresCandleStorage(Database(f"sqlite:///{folder / 'spill.sqlite'}"), Source.SYNTHETIC)
    storage = HealingCandleStorage(PostgresCandleStorage(database, Source.SYNTHETIC), spill)
    tier = Tier("candles", 60)
    writer = CandleWriter(storage, tier, frames.bars, pending_max=100_000, summary_s=900)
    database.check()
    lags: list[float] = []
    tasks = [asyncio.create_task(writer.run()), asyncio.create_task(_probe(lags))]
    for number in range(ROUNDS):
        await _close_all(frames, trader, writer, series, number)
        while writer.pending:
            await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    tier.close()
    database.close()
    p99 = float(np.percentile(lags, 99))
    return p99, f"{ROUNDS} x {len(series)} bars, max {max(lags):.1f} ms, {len(lags)} probes"


async def _close_all(frames: Frames, trader: Trader, writer: CandleWriter, series: list[Series], number: int) -> None:
    batch = []
    for key in series:
        step = STEPS[key.timeframe]
        last = frames.bars(key).row(-1)
        price = last.close * (1.001 if (number + len(key.symbol)) % 2 else 0.999)
        row = Bar(last.open_time + step, last.close, max(last.close, price), min(last.close, price), price, 1.0, price)
        batch += frames.offer(key, row)
        if len(batch) % FRAMES_PER_READ == 0:
            await asyncio.sleep(0)
    writer.add(batch)
    for closed in batch:
        trader.on_bar(closed)
        await asyncio.sleep(0)


async def _probe(lags: list[float]) -> None:
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

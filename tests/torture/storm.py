"""The database and Redis killed, frozen and emptied again and again under a steady load; nothing lost, nobody waits."""

from __future__ import annotations

import asyncio
import random
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace

from domain.candle import Bar, Bars, ClosedBar, Series
from domain.source import Source
from engine.threads import Tier
from engine.writer import CandleWriter
from persistence.candles import PostgresCandleStorage
from persistence.database import Database
from persistence.files import AtomicFile
from persistence.healing_candles import HealingCandleStorage
from persistence.journal import Journal
from persistence.keyvalue import Redis
from persistence.ledger import DatabaseRefuge, LayeredLedger, RedisRefuge
from persistence.mirror import MIRROR_MAX
from persistence.trades import TradeTrackerPostgres
from tests import servers
from tests.torture import writer

STEP = 180_000
TRADES_A_SECOND = 20
FAULTS = ("kill", "freeze", "redis kill", "redis freeze", "redis full", "redis flush")


class Load:
    """Candles and trades, handed in as the bot does, with what they cost measured."""

    def __init__(self, folder: Path, postgres: servers.Postgres, redis: servers.Redis, symbols: int) -> None:
        self.postgres, self.redis = postgres, redis
        self.database = Database(postgres.dsn("postgres"))
        spill = Database(f"sqlite:///{folder / 'spill.sqlite'}")
        self.store = HealingCandleStorage(
            PostgresCandleStorage(self.database, Source.SYNTHETIC), PostgresCandleStorage(spill, Source.SYNTHETIC)
        )
        self.tiers = {name: Tier(name, 60) for name in ("candles", "journal")}
        self.series = [Series(f"S{i}/USDT:USDT", "3m") for i in range(symbols)]
        self.candles = CandleWriter(
            self.store, self.tiers["candles"], lambda _: Bars.empty(), pending_max=1_000_000, summary_s=1e9
        )
        self.keyvalue = Redis(redis.url)
        self.journal = Journal(folder / "journal", writer.WHO)
        refuges = [DatabaseRefuge(self.database, writer.WHO), RedisRefuge(self.keyvalue, writer.WHO)]
        self.trades = TradeTrackerPostgres(
            self.database, LayeredLedger(self.journal, refuges), writer.WHO, lambda: datetime(2026, 4, 1, tzinfo=UTC),
            redis=self.keyvalue, snapshot=AtomicFile(folder / "trade_history.json"),
        )  # fmt: skip
        self.sent = self.added = 0
        self.waits: list[float] = []
        self.lags: list[float] = []

    async def feed(self, rate: int, until: float) -> None:
        """Hand in closed bars at a steady rate, each series contiguous."""
        loop, began, number = asyncio.get_running_loop(), asyncio.get_running_loop().time(), 0
        while loop.time() < until:
            while self.sent < (loop.time() - began) * rate:
                row = Bar(number * STEP, 10.0, 11.0, 9.0, 10.5, 1.0, 1.0)
                self.candles.add([ClosedBar(series, row) for series in self.series])
                self.sent += len(self.series)
                number += 1
                await asyncio.sleep(0)
            await asyncio.sleep(0.01)

    async def trade(self, until: float) -> None:
        """Hand in trades and measure how long each acknowledgement takes."""
        loop = asyncio.get_running_loop()
        while loop.time() < until:
            base = writer.trade(self.added)
            end = base.exit_time + timedelta(seconds=self.added)
            began = time.perf_counter()
            await self.tiers["journal"].call(self.trades.add_trade, replace(base, exit_time=end))
            self.waits.append(time.perf_counter() - began)
            self.added += 1
            await asyncio.sleep(1 / TRADES_A_SECOND)

    async def probe(self) -> None:
        """Measure how late the event loop is, every 5 ms."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + 0.005
            await asyncio.sleep(0.005)
            self.lags.append(loop.time() - due)

    def close(self) -> None:
        self.trades.close()
        for tier in self.tiers.values():
            tier.close()
        self.journal.close()
        self.keyvalue.close()
        self.database.close()


async def nemesis(
    load: Load, draw: random.Random, until: float, faults: dict[str, int], pool: ThreadPoolExecutor
) -> None:
    """Strike every three seconds, heal after one and a half."""
    loop = asyncio.get_running_loop()

    async def away(work: Any, *arguments: Any) -> None:
        # servers die with the thread that started them: theirs outlives the loop
        await loop.run_in_executor(pool, lambda: work(*arguments))

    while loop.time() < until - 3:
        await asyncio.sleep(1.5)
        fault = draw.choice(FAULTS)
        faults[fault] = faults.get(fault, 0) + 1
        server = load.redis if fault.startswith("redis") else load.postgres
        word = fault.split()[-1]
        if word in {"kill", "freeze"}:
            await away(server.kill9 if word == "kill" else server.freeze)
            await asyncio.sleep(1.5)
            await away(server.start if word == "kill" else server.thaw)
        elif word == "full":
            await away(_redis, load.redis, "maxmemory", "1")
            await asyncio.sleep(1.5)
            await away(_redis, load.redis, "maxmemory", "0")
        else:
            await away(_redis, load.redis, "", "")
            await asyncio.sleep(1.5)


def _redis(server: servers.Redis, name: str, value: str) -> None:
    client = Redis(server.url).client
    if name:
        client.config_set(name, value)
    else:
        client.flushall()
    client.close()


async def _storm(load: Load, seconds: float, rate: int, seed: int, pool: ThreadPoolExecutor) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    faults: dict[str, int] = {}
    load.trades.start()
    probe, run, drain = (asyncio.create_task(work()) for work in (load.probe, load.candles.run, load.candles.drain))
    until = loop.time() + seconds
    await asyncio.gather(
        load.feed(rate, until), load.trade(until), nemesis(load, random.Random(seed), until, faults, pool)
    )
    calm = loop.time()
    while load.trades.unsettled and loop.time() - calm < 60:
        await asyncio.sleep(0.02)
    drained = loop.time() - calm
    while (load.candles.pending or load.store.waiting) and loop.time() - calm < 120:
        await asyncio.sleep(0.05)
    healed = loop.time() - calm
    for task in (probe, run, drain):
        task.cancel()
    await asyncio.gather(probe, run, drain, return_exceptions=True)
    return {"faults": faults, "trades_settled_s": round(drained, 2), "candles_home_s": round(healed, 2)}


def run(folder: Path, seconds: float, rate: int = 3_000, symbols: int = 100, seed: int = 1) -> dict[str, Any]:
    """Let it storm for so long; return the figures."""
    folder.mkdir(parents=True, exist_ok=True)
    postgres, redis, pool = servers.Postgres(), servers.Redis(), ThreadPoolExecutor(1)
    began = time.monotonic()
    try:
        postgres.start()
        redis.start()
        load = Load(folder, postgres, redis, symbols)
        load.database.check()
        figures = asyncio.run(_storm(load, seconds, rate, seed, pool))
        rows = postgres.sql("SELECT count(*) FROM ohlcv_synthetic")[0][0]
        trades = postgres.sql("SELECT count(*), count(DISTINCT trade_id) FROM trades")[0]
        whole = load.trades.get_statistics()
        again = TradeTrackerPostgres(load.database, None, writer.WHO, load.trades._now)
        again.load()
        assert load.trades.mirror is not None
        load.trades.mirror.rest()
        mirrored = len(load.trades.mirror.load())
        load.close()
    finally:
        postgres.close()
        redis.close()
        pool.shutdown()
    lost = load.added - int(trades[1])
    missing = load.sent - int(rows)
    same = again.get_statistics() == whole
    p99 = {
        name: round(float(np.quantile(held, 0.99)) * 1000, 1)
        for name, held in (("lag", load.lags), ("ack", load.waits))
    }
    return {
        **figures, "candles": load.sent, "candles_missing": missing, "trades": load.added, "lost": lost,
        "doubled": int(trades[0]) - int(trades[1]), "statistics_identical": same, "redis_copy": mirrored,
        "loop_lag_p99_ms": p99["lag"], "loop_lag_max_ms": round(max(load.lags) * 1000, 1), "add_trade_p99_ms": p99["ack"],
        "add_trade_p50_ms": round(float(np.median(load.waits)) * 1000, 2),
        "clean": not lost and not missing and same and mirrored == min(load.added, MIRROR_MAX) and trades[0] == trades[1],
        "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip

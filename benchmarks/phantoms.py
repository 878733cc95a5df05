"""A phantom recorded and closed, durable, beside Redis and a journal alone; 200 are open, 1,000 have ended."""

from __future__ import annotations

import os
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.measured import Measured, compared, in_turns
from domain.candle import Bar, ClosedBar, Series
from domain.exits import ExitPlan
from domain.fills import Costs
from domain.ids import Identity
from domain.instrument import Instrument
from domain.order import Side
from domain.signal import Signal
from engine.phantoms import ended, opened
from ml.features import NAMES
from ml.phantom_tracker import COMPLETED_MAX, PhantomTradeTracker
from persistence.journal import Journal
from persistence.keyvalue import Redis
from persistence.ledger import LayeredLedger
from tests.servers import Redis as RedisServer

ROUNDS, ACTIVE, STEP = 300, 200, 180_000
WHO = Identity("synthetic", "synthetic", "1")
NAMED = {name: 0.123456789 * number for number, name in enumerate(NAMES)}


def measure() -> list[Measured]:
    """Measure recording a signal, and closing one."""
    server = RedisServer()
    server.start()
    redis = Redis(server.url)
    try:
        with tempfile.TemporaryDirectory() as folder:
            return _measure(Path(folder), redis.client)
    finally:
        redis.close()
        server.close()


def _measure(folder: Path, redis: Any) -> list[Measured]:
    journal = Journal(folder / "journal", WHO)
    ledger = LayeredLedger(journal)
    try:
        recorded, closed = _record(ledger, redis), _close(folder, ledger, redis)
    finally:
        journal.close()
    return [
        compared("phantom_record", "a phantom recorded, durable; one Redis HSET of it", "ms", recorded, 3),
        compared("phantom_close", "a phantom ended, durable; journal append and Redis pipeline", "ms", closed, 2),
    ]


def _record(ledger: LayeredLedger, redis: Any) -> list[tuple[float, float]]:
    tracker = _tracker()
    bodies = [msgspec.json.encode(_recorded(_tracker(0), number)) for number in range(ROUNDS + 1)]
    return in_turns(
        lambda number: ledger.append(opened(_recorded(tracker, number))),
        lambda number: redis.hset("phantom:active", str(number), bodies[number]),
        ROUNDS,
    )


def _close(folder: Path, ledger: LayeredLedger, redis: Any) -> list[tuple[float, float]]:
    tracker = _tracker()
    bodies = [msgspec.json.encode(_recorded(tracker, number)) for number in range(ROUNDS + 1)]
    bare = os.open(folder / "bare", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def ours(number: int) -> None:
        (gone,) = tracker.update_phantom_prices(_bar(f"NEW{number}/USDT:USDT", number))
        ledger.append(ended(gone))

    def reference(number: int) -> None:
        os.write(bare, bodies[number] + b"\n")
        os.fdatasync(bare)
        with redis.pipeline() as pipe:
            pipe.hdel("phantom:active", str(number))
            pipe.lpush("phantom:completed", bodies[number])
            pipe.ltrim("phantom:completed", 0, COMPLETED_MAX - 1)
            pipe.execute()

    try:
        return in_turns(ours, reference, ROUNDS)
    finally:
        os.close(bare)


def _tracker(active: int = ACTIVE) -> PhantomTradeTracker:
    plans = {"scalp": ExitPlan()}
    costs = Costs(Decimal("0.00055"), Decimal("0.0002"))
    tracker = PhantomTradeTracker(WHO, plans, _rules, costs)
    for number in range(COMPLETED_MAX if active else 0):
        _follow(tracker, "OLD/USDT:USDT", number)
        tracker.update_phantom_prices(_bar("OLD/USDT:USDT", number))
    for number in range(active):
        _follow(tracker, f"COIN{number}/USDT:USDT", number)
    return tracker


def _recorded(tracker: PhantomTradeTracker, number: int) -> Any:
    return _follow(tracker, f"NEW{number}/USDT:USDT", number)


def _follow(tracker: PhantomTradeTracker, symbol: str, number: int) -> Any:
    start = number * STEP
    signal = Signal("scalp", symbol, "3m", start, start + STEP, Side.LONG, 100, 98, 104)
    return tracker.record_signal(
        symbol, signal, 40.0, was_executed=False, features=dict(NAMED), strategy_name="scalp", gate="score"
    )


def _bar(symbol: str, number: int) -> ClosedBar:
    return ClosedBar(Series(symbol, "3m"), Bar((number + 1) * STEP, 100, 110, 99.5, 105, 1, 1))


def _rules(symbol: str) -> Instrument:
    one = Decimal
    return Instrument(
        symbol, symbol[:-10] + "USDT", one("0.1"), one("0.01"), one("0.01"), one(100_000), one(5), one(50)
    )

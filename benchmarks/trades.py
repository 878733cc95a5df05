"""What it costs to acknowledge a trade, next to an fdatasync append of the same bytes, taken in turns in one run."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import msgspec
import numpy as np

from domain.records import Close
from persistence.database import Database
from persistence.journal import Journal
from persistence.ledger import LayeredLedger
from persistence.trades import TradeTrackerPostgres
from tests.servers import Postgres
from tests.torture import writer

ROUNDS = 400
HELD = (100, 10_000)


def measure() -> tuple[float, str]:
    """Return the median acknowledgement over the median append, with 10,000 trades held, and the details."""
    server = Postgres()
    server.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            few, many = (_measure(server, Path(folder) / str(held), held) for held in HELD)
    finally:
        server.close()
    details = (
        f"add_trade p50 {many[0]:.3f} ms, p99 {many[2]:.2f} ms, append p50 {many[1]:.3f} ms;"
        f" ratio with {HELD[0]} held {few[0] / few[1]:.2f}, with {HELD[1]:,} held {many[0] / many[1]:.2f}"
    )
    return many[0] / many[1], details


def _measure(server: Postgres, folder: Path, held: int) -> tuple[float, float, float]:
    folder.mkdir()
    database, journal = Database(server.dsn("postgres")), Journal(folder / "journal", writer.WHO)
    tracker = TradeTrackerPostgres(database, LayeredLedger(journal), writer.WHO, lambda: writer.NOW)
    for number in range(held):
        tracker._learn([_trade(f"held-{held}", number)])
    tracker.start()
    bare = os.open(folder / "bare", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    ours, theirs = [], []
    for number in range(ROUNDS):
        trade = _trade(f"fresh-{held}", number)
        line = msgspec.json.encode(Close(time=0, trade=trade)) + b" " * 20 + b"\n"
        began = time.perf_counter()
        os.write(bare, line)
        os.fdatasync(bare)
        between = time.perf_counter()
        tracker.add_trade(trade)
        ours.append(time.perf_counter() - between)
        theirs.append(between - began)
    tracker.close(5)
    os.close(bare)
    journal.close()
    database.close()
    return float(np.median(ours)) * 1000, float(np.median(theirs)) * 1000, float(np.quantile(ours, 0.99)) * 1000


def _trade(name: str, number: int):  # noqa: ANN202
    one = writer.trade(number)
    return replace(one, trade_id=f"{name}-{number}", exit_time=one.exit_time + timedelta(seconds=number))

"""Writes trades through the real write path and notes each acknowledgement; made to fail by whoever traces it."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from pathlib import Path

from domain.ids import Identity
from domain.records import Level
from domain.trade import Leg, Trade
from persistence.database import Database
from persistence.files import AtomicFile
from persistence.journal import Journal
from persistence.ledger import DatabaseRefuge, LayeredLedger
from persistence.trades import TradeTrackerPostgres

WHO = Identity("synthetic", "synthetic", "1")
NOW = datetime(2026, 3, 1, tzinfo=UTC)
TRADES = 6
WIDTH = 40


def trade(number: int) -> Trade:
    """Return the trade of that number, always the same."""
    end = NOW + timedelta(minutes=number)
    leg = Leg(exec_id=f"x{number}", time=end, qty=D(1), price=D(100), fee=D("0.055"), cause="entry", closing=False)
    return Trade(
        "A/USDT:USDT", "long", D(100), D(101), D(1), end - timedelta(minutes=9), end, D("0.89"), D("0.89"), "take_profit",
        D(1), "churn", trade_id=f"t{number}", timeframe="3m", fees=D("0.11"), legs=(leg,),
    )  # fmt: skip


def tracker(folder: Path, url: str) -> tuple[Database, Journal, TradeTrackerPostgres]:
    """Return the write path on a folder, without threads."""
    database = Database(url)
    journal = Journal(folder / "journal", WHO, reserve_bytes=4096)
    ledger = LayeredLedger(journal, [DatabaseRefuge(database, WHO)])
    held = TradeTrackerPostgres(database, ledger, WHO, lambda: NOW, snapshot=AtomicFile(folder / "trade_history.json"))
    return database, journal, held


def main(folder: Path, url: str) -> None:
    """Write all trades; an acknowledgement is noted with pwrite64, which nothing else here uses on that file."""
    acks = os.open(folder / "acks", os.O_WRONLY | os.O_CREAT)
    _, _, held = tracker(folder, url)
    for number in range(TRADES):
        if held.add_trade(trade(number)) > Level.MEMORY:
            os.pwrite(acks, f"t{number}".ljust(WIDTH).encode(), number * WIDTH)
        if number % 2:
            held.settle()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

"""What it costs to acknowledge a trade, next to an fdatasync append of the same bytes, taken in turns."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from benchmarks.measured import Measured, compared, in_turns
from benchmarks.stores import with_postgres
from domain.records import Close
from persistence.journal import Journal
from persistence.ledger import LayeredLedger
from persistence.trades import TradeTrackerPostgres
from tests.torture import writer

if TYPE_CHECKING:
    from persistence.database import Database

ROUNDS = 400
FEW, MANY = 100, 10_000


def measure() -> list[Measured]:
    """Measure an acknowledgement beside an append, and with many trades held beside few."""
    return with_postgres(_measure)


def _measure(database: Database, raw: Any) -> list[Measured]:
    del raw
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        few, many = (_Desk(database, Path(folder), held, stack) for held in (FEW, MANY))
        append = in_turns(many.add, many.append, ROUNDS)
        growth = in_turns(many.add_again, few.add, ROUNDS)
    what = "add_trade until acknowledged, 10,000 trades held; fdatasync append of the same bytes"
    grown = "add_trade until acknowledged, 10,000 trades held; with 100 held"
    return [
        compared("trade_ack", what, "ms", append, 2),
        compared("trade_ack_growth", grown, "ms", growth, 1.1),
    ]


class _Desk:
    """A tracker that holds so many trades, and a bare file beside it."""

    def __init__(self, database: Database, folder: Path, held: int, stack: ExitStack) -> None:
        self.name = f"held-{held}"
        own = folder / self.name
        own.mkdir()
        journal = Journal(own / "journal", writer.WHO)
        stack.callback(journal.close)
        self.tracker = TradeTrackerPostgres(database, LayeredLedger(journal), writer.WHO, lambda: writer.NOW)
        self.tracker._learn([self.trade(f"old-{number}", number) for number in range(held)])
        self.tracker.start()
        stack.callback(self.tracker.close, 5)
        self.bare = os.open(own / "bare", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        stack.callback(os.close, self.bare)
        fresh = [self.trade(f"fresh-{number}", number) for number in range(2 * ROUNDS + 2)]
        self.fresh, self.later = fresh[: ROUNDS + 1], fresh[ROUNDS + 1 :]
        self.lines = [msgspec.json.encode(Close(time=0, trade=trade)) + b" " * 20 + b"\n" for trade in self.fresh]

    def trade(self, name: str, number: int) -> Any:
        one = writer.trade(number)
        exit_time = one.exit_time + timedelta(seconds=number)
        return replace(one, trade_id=f"{self.name}-{name}", exit_time=exit_time)

    def add(self, number: int) -> None:
        self.tracker.add_trade(self.fresh[number])

    def add_again(self, number: int) -> None:
        self.tracker.add_trade(self.later[number])

    def append(self, number: int) -> None:
        os.write(self.bare, self.lines[number])
        os.fdatasync(self.bare)

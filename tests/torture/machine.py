"""A model of the write path under every order of failures, deaths and power cuts; and mutants that it has to find."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from domain.errors import Rejected, Unavailable
from domain.records import Level, Receipt, finished
from persistence import files, journal, ledger, outbox
from persistence.breaker import Breaker
from persistence.trades import TradeTrackerPostgres
from tests.torture import writer

BASE = "/dev/shm" if Path("/dev/shm").is_dir() else None


class Disk:
    """The operating system as the journal sees it: fails on demand, and knows what a power cut would leave."""

    def __init__(self) -> None:
        self.fault = ""
        self.synced: dict[str, int] = {}
        self.named: set[str] = set()
        self.system = SimpleNamespace(**{name: getattr(os, name) for name in dir(os) if not name.startswith("__")})
        self.system.write, self.system.fdatasync, self.system.fsync = self.write, self.fdatasync, self.fsync
        self.system.open, self.system.ftruncate = self.open, self.ftruncate
        self.system.posix_fallocate = lambda *_: None

    def _check(self, *kinds: str) -> None:
        if self.fault in kinds:
            if self.fault == "one error":
                self.fault = ""
            raise OSError(errno.EIO, "Input/output error")

    def open(self, path: Any, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT:
            self._check("dead", "read-only")
        return os.open(path, flags, mode)

    def write(self, handle: int, data: bytes) -> int:
        self._check("dead")
        if self.fault == "full":
            os.write(handle, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return os.write(handle, data)

    def fdatasync(self, handle: int) -> None:
        self._check("dead", "one error")
        self.synced[os.readlink(f"/proc/self/fd/{handle}")] = os.fstat(handle).st_size
        if self.fault.startswith("after "):
            left = int(self.fault[6:]) - 1
            self.fault = f"after {left}" if left else "dead"

    def fsync(self, handle: int) -> None:
        path = os.readlink(f"/proc/self/fd/{handle}")
        if Path(path).is_dir():
            self.named |= {str(one) for one in Path(path).glob("*.jsonl")}
        else:
            self.synced[path] = os.fstat(handle).st_size

    def ftruncate(self, handle: int, size: int) -> None:
        self._check("dead")
        os.ftruncate(handle, size)
        path = os.readlink(f"/proc/self/fd/{handle}")
        self.synced[path] = min(self.synced.get(path, 0), size)

    def power_cut(self, folder: Path) -> None:
        """Leave only what was synced, of files whose names were synced."""
        for path in folder.glob("*.jsonl"):
            if str(path) not in self.named:
                path.unlink()
            else:
                os.truncate(path, min(path.stat().st_size, self.synced.get(str(path), 0)))


class Shelf:
    """A refuge that can be taken away, or that takes a record and does not say so."""

    def __init__(self, name: str, level: Level) -> None:
        self.name, self.level, self.fault = name, level, ""
        self.kept: dict[str, ledger.Kept] = {}

    def put(self, kept: ledger.Kept) -> None:
        if self.fault == "away":
            raise Unavailable("away")
        self.kept[kept.key] = kept
        if self.fault == "silent":
            raise Unavailable("answer lost")

    def held(self) -> list[ledger.Kept]:
        if self.fault:
            raise Unavailable("away")
        return list(self.kept.values())

    def remove(self, keys: list[str]) -> None:
        if self.fault:
            raise Unavailable("away")
        for key in keys:
            self.kept.pop(key, None)


class Table:
    """A database table with a key: takes all of a batch or nothing."""

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self.fault = ""

    def write(self, trades: list[Any]) -> None:
        if self.fault == "away":
            raise Unavailable("away")
        if self.fault == "refuses" and any(trade.trade_id.endswith("7") for trade in trades):
            raise Rejected("no")
        self.insert(trades)
        if self.fault == "silent":
            raise Unavailable("commit answer lost")

    def insert(self, trades: list[Any]) -> None:
        there = {row.trade_id for row in self.rows}
        self.rows += [trade for trade in trades if trade.trade_id not in there]

    def rest(self) -> None:
        pass


class WritePath(RuleBasedStateMachine):
    """Adds trades while everything fails; at the end nothing acknowledged may be missing, doubled or changed."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="revenant-machine-", dir=BASE))
        self.disk, self.table = Disk(), Table()
        self.shelves = [Shelf("database", Level.SETTLED), Shelf("redis", Level.MIRRORED)]
        self.patches = contextlib.ExitStack()
        self.patches.enter_context(mock.patch.object(journal, "os", self.disk.system))
        self.patches.enter_context(mock.patch.object(files, "os", self.disk.system))
        self.acknowledged: dict[str, Any] = {}
        self.number = 0
        self.start()

    def start(self) -> None:
        fault, self.disk.fault = self.disk.fault, ""
        self.journal = journal.Journal(self.folder, writer.WHO, reserve_bytes=1)
        self.ledger = ledger.LayeredLedger(self.journal, self.shelves)
        self.ledger._refuges = [(shelf, Breaker(clock=lambda: 0.0, draw=lambda: 0.0)) for shelf in self.shelves]
        self.tracker = TradeTrackerPostgres(None, self.ledger, writer.WHO, lambda: writer.NOW)  # type: ignore[arg-type]
        self.tracker.settling._sink = self.table
        self.tracker.restore(finished(self.ledger.replay()))
        self.disk.fault = fault

    @rule(count=st.integers(1, 3))
    def add(self, count: int) -> None:
        for _ in range(count):
            trade = writer.trade(self.number)
            self.number += 1
            # without the last resort of waiting for the database: that is the settling's own matter
            with mock.patch.object(self.tracker.settling, "flush", return_value=False):
                level = self.tracker.add_trade(trade)
            if level > Level.MEMORY:
                self.acknowledged[trade.trade_id] = trade

    @rule(data=st.data())
    def add_again(self, data: Any) -> None:
        if self.acknowledged:
            self.tracker.add_trade(self.acknowledged[data.draw(st.sampled_from(sorted(self.acknowledged)))])

    @rule(fault=st.sampled_from(["", "dead", "full", "one error", "read-only", "after 1", "after 2", "after 3"]))
    def disk_fails(self, fault: str) -> None:
        self.disk.fault = fault

    @rule(which=st.integers(0, 1), fault=st.sampled_from(["", "away", "silent"]))
    def refuge_fails(self, which: int, fault: str) -> None:
        self.shelves[which].fault = fault

    @rule()
    def everything_fails(self) -> None:
        self.disk.fault = "dead"
        self.shelves[0].fault = self.shelves[1].fault = self.table.fault = "away"

    @rule(fault=st.sampled_from(["", "away", "silent", "refuses"]))
    def database_fails(self, fault: str) -> None:
        self.table.fault = fault

    @rule()
    def settle(self) -> None:
        self.tracker.settling.flush(0)

    @rule()
    def heal(self) -> None:
        self.tracker.restore(finished(self.ledger.heal()))

    @rule(power=st.booleans())
    def die(self, power: bool) -> None:
        self.journal.close()
        if power:
            self.disk.power_cut(self.folder)
        self.start()

    def teardown(self) -> None:
        if not hasattr(self, "folder"):
            return
        try:
            self.disk.fault = self.table.fault = ""
            for shelf in self.shelves:
                shelf.fault = ""
            self.heal()
            self.tracker.settling.flush(0)
            waiting = set(self.tracker.parked)
            there = {trade.trade_id for trade in self.table.rows}
            assert set(self.acknowledged) <= there | waiting, "an acknowledged trade is not settled, and nothing waits"
            self.die(power=True)
            self.tracker.settling.flush(0)
            there = [trade.trade_id for trade in self.table.rows]
            assert set(self.acknowledged) <= set(there), "an acknowledged trade is lost"
            assert len(there) == len(set(there)), "a trade is there twice"
            by_id = {trade.trade_id: trade for trade in self.table.rows}
            for key, trade in self.acknowledged.items():
                assert by_id[key].pnl_usd == trade.pnl_usd, "a trade has changed"
            assert self.ledger.unsafe == 0, "records rest in memory though the disk is well"
        finally:
            self.journal.close()
            self.patches.close()
            shutil.rmtree(self.folder, ignore_errors=True)


def check(examples: int, steps: int = 50) -> None:
    """Run the machine; raises when it finds a violation."""
    run_state_machine_as_test(
        WritePath,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, database=None, derandomize=True,
            phases=[Phase.generate], suppress_health_check=list(HealthCheck), print_blob=False,
        ),
    )  # fmt: skip


def mutants() -> dict[str, Callable[[], contextlib.AbstractContextManager[Any]]]:
    """Return faults to plant into the write path, by name."""

    def patched(owner: Any, name: str, value: Any) -> Callable[[], contextlib.AbstractContextManager[Any]]:
        return lambda: mock.patch.object(owner, name, value)

    def acknowledge_anyway(self: Any, record: Any) -> Receipt:
        import msgspec

        with contextlib.suppress(OSError):
            self._journal.write(msgspec.json.encode(record))
        return Receipt(Level.JOURNALED, 1)

    def no_cut(self: Any, error: OSError) -> None:
        self.state.failures += 1

    def forget_first(self: Any) -> None:
        batch = {key: self._waiting[key][0] for key in self._due()[:500]}
        self._arrived(batch)
        with contextlib.suppress(Unavailable, Rejected):
            self._sink.write(list(batch.values()))

    def insert_twice(self: Any, trades: list[Any]) -> None:
        self.rows += trades

    real_flee = ledger.LayeredLedger._flee

    def flee_nowhere(self: Any, body: bytes) -> Level:
        real_flee(self, body)
        return Level.MIRRORED

    def remove_before_writing(self: Any, refuge: Any, _: Any) -> None:
        with contextlib.suppress(Unavailable):
            kept = refuge.held()
            refuge.remove([one.key for one in kept])
            self._write_all(kept, lambda _: None)

    def never_home(*_: Any) -> None:
        return

    def replay_half(self: Any) -> Iterator[Any]:
        self.heal()
        records = list(self._journal.replay())
        return iter(records[: max(0, len(records) - 1)])

    def unsynced(self: Any, line: bytes) -> None:
        if self._file is None:
            self._open_next()
        os.write(self._file, line)
        self._size += len(line)

    def one_by_one_drops(self: Any, batch: dict[str, Any], first: Rejected) -> None:
        self._arrived(batch)

    def overwrite(self: Any) -> None:
        self._file = os.open(self.directory / "000001.jsonl", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        self._size = 0

    return {
        "acknowledges what the disk refused": patched(ledger.LayeredLedger, "append", acknowledge_anyway),
        "does not cut a short write off": patched(journal.Journal, "_failed", no_cut),
        "forgets a trade before the database has it": patched(outbox.Outbox, "_carry", forget_first),
        "inserts without a key": patched(Table, "insert", insert_twice),
        "takes a dead refuge for a living one": patched(ledger.LayeredLedger, "_flee", flee_nowhere),
        "empties a refuge before the journal has it": patched(ledger.LayeredLedger, "_fetch", remove_before_writing),
        "never brings anything home": patched(ledger.LayeredLedger, "_fetch", never_home),
        "never brings home what rests in memory": patched(ledger.LayeredLedger, "_recall", never_home),
        "overlooks the last record at a start": patched(ledger.LayeredLedger, "replay", replay_half),
        "does not sync": patched(journal.Journal, "_put", unsynced),
        "does not sync the folder": patched(journal, "sync_folder", lambda _: None),
        "drops what stands beside a refused row": patched(outbox.Outbox, "_one_by_one", one_by_one_drops),
        "opens a segment over an old one": patched(journal.Journal, "_open_next", overwrite),
    }


def run(examples: int, mutant_examples: int = 3_000) -> dict[str, Any]:
    """Run the machine on the real code, then on each mutant, which it has to find."""
    began, violation = time.monotonic(), ""
    try:
        check(examples)
    except BaseException as error:
        violation = repr(error)[:300]
    survivors = []
    for name, plant in mutants().items():
        try:
            with plant():
                check(mutant_examples)
        except Exception:
            continue
        survivors.append(name)
    return {
        "examples": examples, "steps": 50, "violation": violation, "mutants": len(mutants()), "survivors": survivors,
        "clean": not violation and not survivors, "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip

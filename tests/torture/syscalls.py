"""Every system call of a trade write failing in turn, by strace; then every truncation and bit flip of the journal."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from domain.errors import RevenantError
from domain.records import finished
from persistence.journal import read_records
from tests.torture import writer

ROOT = Path(__file__).parents[2]
CALLS = ("openat", "write", "pwrite64", "fdatasync", "fsync", "ftruncate", "fallocate", "rename", "unlink", "mkdir",
         "flock", "fcntl", "close", "read", "pread64", "lseek")  # fmt: skip
FAILURES = ("signal=SIGKILL", "error=EIO", "error=ENOSPC", "error=EROFS", "error=EINTR")


def paths(folder: Path) -> list[str]:
    """Return what the write path touches: only calls on these are counted and made to fail."""
    names = ["journal", "journal/lock", "journal/reserve", *(f"journal/{n:06d}.jsonl" for n in range(1, 5)), "trade_history.json",
             "trade_history.json.new", *(f"revenant.sqlite{end}" for end in ("", "-wal", "-shm", "-journal"))]  # fmt: skip
    return [str(folder / name) for name in names]


def traced(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    filters = [part for path in paths(folder) for part in ("-P", path)]
    url = f"sqlite:///{folder / 'revenant.sqlite'}"
    command = [
        "strace",
        "-f",
        "-qq",
        *filters,
        *options,
        sys.executable,
        "-m",
        "tests.torture.writer",
        str(folder),
        url,
    ]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=180)


def count_calls(base: Path) -> dict[str, int]:
    """Return how often each call is made when nothing fails."""
    folder = base / "count"
    folder.mkdir()
    done = traced(folder, "-c", "-o", str(folder / "calls"))
    assert done.returncode == 0, done.stderr[-2000:]
    found = {}
    for line in (folder / "calls").read_text().splitlines():
        row = re.match(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", line)
        if row and row[2] in CALLS:
            found[row[2]] = int(row[1])
    return found


def one(folder: Path, call: str, failure: str, when: int) -> dict[str, Any]:
    """Let one call fail, then recover and compare."""
    folder.mkdir()
    done = traced(folder, "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:{failure}:when={when}")
    name = f"{call} {failure} {when}"
    uncaught = "Traceback" in done.stderr and "domain.errors" not in done.stderr
    judged = judge(folder)
    shutil.rmtree(folder)
    return {**judged, "name": name, "uncaught": uncaught, "said": done.stderr[-800:] if uncaught else ""}


def judge(folder: Path) -> dict[str, Any]:
    """Recover as a start does, and count what was acknowledged and is not there, or is there twice, or differs."""
    noted = (folder / "acks").read_text().split() if (folder / "acks").exists() else []
    database, journal, held = writer.tracker(folder, f"sqlite:///{folder / 'revenant.sqlite'}")
    try:
        assert held._ledger is not None
        records = list(held._ledger.replay())
        held.load()
        held.restore(finished(records))
        unsettled = held.settle()
        with database.transaction() as connection:
            rows = connection.execute(sa.text("SELECT trade_id, pnl_usd FROM trades")).all()
            legs = connection.execute(sa.text("SELECT count(*), count(DISTINCT exec_id) FROM trade_fills")).one()
    finally:
        journal.close()
        database.close()
    there = [row[0] for row in rows]
    return {
        "acknowledged": len(noted), "lost": len(set(noted) - set(there)) + unsettled,
        "doubled": len(there) - len(set(there)) + legs[0] - legs[1],
        "different": sum(str(row[1]) != "0.89" for row in rows) + (legs[0] != len(there)),
    }  # fmt: skip


def run(every: int, told: Any = None) -> dict[str, Any]:
    """Let every n-th case of each system call fail, one of each at least; return the figures."""
    began = time.monotonic()
    base = Path(tempfile.mkdtemp(prefix="revenant-syscalls-"))
    try:
        counted = count_calls(base)
        chosen = [case for i, call in enumerate(counted) for case in some(call, counted[call], every, i)]
        with ThreadPoolExecutor(2) as pool:
            results = []
            for i, result in enumerate(
                pool.map(lambda item: one(base / f"case{item[0]}", *item[1]), enumerate(chosen))
            ):
                results.append(result)
                if told is not None:
                    told(i + 1)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    bad = [r for r in results if r["lost"] or r["doubled"] or r["different"] or r["uncaught"]]
    sums = {
        name: sum(r[name] for r in results) for name in ("acknowledged", "lost", "doubled", "different", "uncaught")
    }
    return {
        "calls": counted, "cases": len(results), **sums, "clean": not bad, "bad": bad[:5],
        "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip


def some(call: str, count: int, every: int, shift: int) -> list[tuple[str, str, int]]:
    """Return every n-th way in which one of so many calls may fail; those of rare calls begin at different failures."""
    cases = [(call, failure, number) for failure in FAILURES for number in range(1, count + 1)]
    return cases[shift % min(every, len(cases)) :: every]


def corruption(every_bit: int = 1) -> dict[str, Any]:
    """Truncate a journal everywhere, flip every n-th of its bits; nothing may be read as something it was not."""
    began = time.monotonic()
    base = Path(tempfile.mkdtemp(prefix="revenant-bits-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    try:
        source = base / "source"
        source.mkdir()
        database, journal, held = writer.tracker(source, f"sqlite:///{source / 'revenant.sqlite'}")
        for number in range(3):
            held.add_trade(writer.trade(number))
        journal.close()
        database.close()
        truth = list(read_records(source / "journal"))
        data = (source / "journal" / "000001.jsonl").read_bytes()
        wrong = silent = 0
        cases = [data[:size] for size in range(len(data))]
        cases += [_flipped(data, bit) for bit in range(0, len(data) * 8, every_bit)]
        for i, case in enumerate(cases):
            told, found = _read_back(base / "case", case)
            wrong += any(record not in truth for record in found)
            silent += len(found) < len(truth) and i >= len(data) and not told
    finally:
        shutil.rmtree(base, ignore_errors=True)
    return {
        "truncations": len(data), "flips": len(cases) - len(data), "silently_wrong": wrong, "not_noticed": silent,
        "clean": not wrong and not silent, "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip


def _flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << (bit % 8)
    return bytes(changed)


def _read_back(folder: Path, data: bytes) -> tuple[bool, list[Any]]:
    from persistence.journal import Journal

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "000001.jsonl").write_bytes(data)
    try:
        journal = Journal(folder, writer.WHO, reserve_bytes=1)
    except RevenantError:
        return True, []
    try:
        found = list(journal.replay())
        return bool(journal.state.quarantined or journal.state.missing), found
    finally:
        journal.close()

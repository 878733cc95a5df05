"""Power cuts at every system call, with what was not synced written in part, in any order, or not at all.

The write path runs once under strace, which records each write, sync and change of a name. From that record every state is
made that a cut may leave: what was synced is there; of the rest any sectors of 512 bytes, any size, and of the names of
each folder any beginning of their changes, whatever the other folders have of theirs. The product opens each state, and
has every record that was acknowledged by then. ``python -m tests.torture.power FOLDER`` is the work that is recorded.
"""

from __future__ import annotations

import ast
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from domain.errors import RevenantError
from domain.records import Level
from persistence.files import AtomicFile
from tests.torture import syscalls, writer
from tests.torture.writer import WIDTH

ROOT = Path(__file__).parents[2]
SECTOR = 512
TRADES, ARCHIVED_AT = 8, 4
CALLS = ("openat,write,pwrite64,ftruncate,fdatasync,fsync,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,"
         "fallocate")  # fmt: skip
SHARES = {"nothing": 0.0, "everything": 1.0, "sizes alone": 0.0}
NOTE = "note.json"


def work(folder: Path) -> None:
    """Write trades, archive the journal in their midst, replace a file again and again; note each acknowledgement."""
    acks = os.open(folder / "acks", os.O_WRONLY | os.O_CREAT)
    _, _, held = writer.tracker(folder, f"sqlite:///{folder / 'revenant.sqlite'}")
    note = AtomicFile(folder / NOTE)
    assert held._ledger is not None
    held._ledger._archive_bytes = 0
    for number in range(TRADES):
        if held.add_trade(writer.trade(number)) > Level.MEMORY:
            os.pwrite(acks, f"t{number}".ljust(WIDTH).encode(), number * WIDTH)
        note.write(f"{number:04d}".encode() * 400)
        os.pwrite(acks, f"n{number}".ljust(WIDTH).encode(), (TRADES + number) * WIDTH)
        if number % 2:
            held.settle()
        if number == ARCHIVED_AT:
            assert held.settle() == 0
            held._ledger.archive([])


@dataclass
class File:
    """One file: what was done to it, in order, and after how much of that it was synced."""

    changes: list[tuple[int, int, bytes | None]] = field(default_factory=list)
    """When, where, and what was written; without bytes, the size that it was given."""
    syncs: list[int] = field(default_factory=list)


@dataclass
class Record:
    """What a run did to its disk; times are places in it."""

    files: list[File] = field(default_factory=list)
    names: list[tuple[int, str, str, int]] = field(default_factory=list)
    """When, which name, what it was called before (empty: it is new; the same: it is gone), and which file (-1: a folder)."""
    folders: dict[str, list[int]] = field(default_factory=dict)
    """When each folder's names were synced."""
    acks: list[tuple[int, str]] = field(default_factory=list)
    length: int = 0


def recorded(base: Path) -> Record:
    """Run the work under strace, and return what it did."""
    folder, out = base / "run", base / "calls"
    folder.mkdir()
    inside = ["acks", "journal", "revenant.sqlite", "revenant.sqlite-wal", "revenant.sqlite-journal", NOTE, f"{NOTE}.new",
              "trade_history.json", "trade_history.json.new", "journal/archive", "journal/reserve",
              *(f"journal/{where}{number:06d}.jsonl" for where in ("", "archive/") for number in range(1, 9))]  # fmt: skip
    filters = [part for path in (folder, *(folder / one for one in inside)) for part in ("-P", str(path))]
    command = ["strace", "-qq", "-y", "-xx", "-s", "1000000", "-e", f"trace={CALLS}", *filters, "-o", str(out)]
    done = subprocess.run(
        [*command, sys.executable, "-m", "tests.torture.power", str(folder)], cwd=ROOT, capture_output=True, text=True,
        check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return _read(out.read_text().splitlines(), str(folder))


def _read(lines: list[str], root: str) -> Record:
    record, at = Record(), dict[str, int]()
    for when, line in enumerate(lines):
        row = re.match(r"(\w+)\((.*)\)\s+= (-?\d+)", line)
        if row is None or int(row[3]) < 0:
            continue
        call, told = row[1], row[2]
        paths = [_text(one) for one in re.findall(r'"((?:\\x[0-9a-f]{2})*)"', told)]
        opened = re.match(r"\d+<((?:\\x[0-9a-f]{2})+)>", told)
        path = _text(opened[1]).decode() if opened else paths[0].decode() if paths else ""
        if path != root and not path.startswith(f"{root}/"):
            continue
        _take(record, at, when, call, told, path[len(root) + 1 :], paths, root)
    record.length = len(lines)
    return record


def _take(
    record: Record, at: dict[str, int], when: int, call: str, told: str, path: str, paths: list[bytes], root: str
) -> None:  # fmt: skip
    numbers = [int(one) for one in re.findall(r", (\d+)(?=[,)]|$)", re.sub(r'"[^"]*"', "", told))]
    if path == "acks":
        if call == "pwrite64":
            record.acks.append((when, paths[0].decode().strip()))
    elif call == "openat":
        if "O_CREAT" in told and path not in at:
            at[path] = len(record.files)
            record.files.append(File())
            record.names.append((when, path, "", at[path]))
        if "O_TRUNC" in told:
            record.files[at[path]].changes.append((when, 0, None))
    elif call.startswith("mkdir"):
        record.names.append((when, path, "", -1))
    elif call.startswith("rename"):
        new = paths[1].decode()[len(root) + 1 :]
        at[new] = at.pop(path)
        record.names.append((when, new, path, at[new]))
    elif call.startswith("unlink"):
        record.names.append((when, path, path, at.pop(path)))
    elif call in {"fsync", "fdatasync"} and path not in at:
        record.folders.setdefault(path, []).append(when)
    elif call in {"fsync", "fdatasync"}:
        record.files[at[path]].syncs.append(when)
    elif call in {"write", "pwrite64"}:
        changes = record.files[at[path]].changes
        start = numbers[-1] if call == "pwrite64" else size_of(changes)
        changes.append((when, start, paths[0]))
    elif call in {"ftruncate", "fallocate"}:
        size = numbers[-1] if call == "ftruncate" else max(numbers[-1], size_of(record.files[at[path]].changes))
        record.files[at[path]].changes.append((when, size, None))


def _text(told: str) -> bytes:
    return ast.literal_eval(f'b"{told}"')  # type: ignore[no-any-return]


def size_of(changes: list[tuple[int, int, bytes | None]]) -> int:
    """Return how large a file is after all changes."""
    size = 0
    for _, start, data in changes:
        size = start if data is None else max(size, start + len(data))
    return size


def content(file: File, cut: int, share: float, draw: random.Random, *, sized: bool) -> bytes:
    """Return what a cut leaves of a file: what was synced, and of the rest a ``share`` of the sectors, any of them."""
    safe = max((when for when in file.syncs if when < cut), default=-1)
    held = bytearray()
    for when, start, data in file.changes:
        if when >= cut:
            break
        done = when < safe
        if data is None:
            if done or draw.random() < share or sized:
                del held[start:]
                held.extend(bytes(start - len(held)))
            continue
        end = start + len(data)
        for begin in range(start - start % SECTOR, end, SECTOR):
            low, high = max(begin, start), min(begin + SECTOR, end)
            if done or draw.random() < share:
                held.extend(bytes(max(0, high - len(held))))
                held[low:high] = data[low - start : high - start]
        if sized:
            held.extend(bytes(max(0, end - len(held))))
    return bytes(held)


def names(record: Record, cut: int, share: float, draw: random.Random) -> dict[str, int]:
    """Return which names a cut leaves: all that were synced, and of the rest of each folder's any beginning."""
    reached = {
        folder: max((when for when in syncs if when < cut), default=-1) for folder, syncs in record.folders.items()
    }
    until: dict[str, float] = {}
    left: dict[str, int] = {"": -1}
    for when, name, before, file in record.names:
        if when >= cut:
            break
        parents = {os.path.dirname(one) for one in (name, before) if one}
        for parent in parents:
            if when > reached.get(parent, -1) and draw.random() >= share:
                until.setdefault(parent, when)
        lost = any(when >= until.get(parent, cut) for parent in parents)
        if lost and not all(when < reached.get(parent, -1) for parent in parents):
            continue
        if os.path.dirname(name) not in left or (before and before not in left):
            continue
        if before:
            left.pop(before)
        if before != name:
            left[name] = file
    left.pop("")
    return left


def leave(record: Record, cut: int, how: str, draw: random.Random, folder: Path) -> None:
    """Make a folder of what a cut leaves."""
    share = SHARES.get(how, draw.random())
    folder.mkdir()
    kept = names(record, cut, 1.0 if how == "sizes alone" else share, draw)
    for name, file in sorted(kept.items()):
        if file < 0:
            (folder / name).mkdir()
        else:
            (folder / name).write_bytes(
                content(record.files[file], cut, share, draw, sized=how == "sizes alone" or draw.random() < share)
            )
    told = [word for when, word in record.acks if when < cut]
    (folder / "acks").write_text("\n".join(word for word in told if word.startswith("t")))


def _judged(record: Record, cut: int, folder: Path) -> dict[str, Any]:
    """Open what was left as a start does; return what is lost."""
    noted = [int(word[1:]) for when, word in record.acks if when < cut and word.startswith("n")]
    try:
        note = AtomicFile(folder / NOTE).read() or b""
        whole = not note or note == note[:4] * 400
        behind = bool(noted) and (not note or int(note[:4]) < max(noted))
        found = syscalls.judge(folder)
    except (RevenantError, OSError, ValueError) as error:
        return {"lost": 0, "doubled": 0, "different": 0, "torn": 0, "unopened": repr(error)[:300]}
    return {**found, "torn": int(not whole or behind), "unopened": ""}


def states(record: Record, seed: int, every: int, more: int) -> Iterator[tuple[int, str, random.Random]]:
    """Yield each cut with each way in which what was not synced may be there; ``more`` of them at random."""
    ways = (*SHARES, *(f"draw {number}" for number in range(more)))
    for cut in range(1 + seed % every, record.length + 1, every):
        for way in ways:
            yield cut, way, random.Random(f"{seed} {cut} {way}")


def run(seed: int, *, every: int = 1, more: int = 9, told: Any = None) -> dict[str, Any]:
    """Cut the power at every n-th system call; return the figures."""
    began = time.monotonic()
    base = Path(tempfile.mkdtemp(prefix="revenant-power-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    bad: list[dict[str, Any]] = []
    sums = dict.fromkeys(("acknowledged", "lost", "doubled", "different", "torn"), 0)
    cases = 0
    try:
        record = recorded(base)
        for cut, way, draw in states(record, seed, every, more):
            folder = base / "left"
            leave(record, cut, way, draw, folder)
            found = _judged(record, cut, folder)
            shutil.rmtree(folder)
            cases += 1
            for name in sums:
                sums[name] += int(found.get(name, 0))
            if any(found[name] for name in ("lost", "doubled", "different", "torn", "unopened")):
                bad.append({"cut": cut, "way": way, **found})
            if told is not None:
                told(cases)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    return {
        "calls": record.length, "cases": cases, **sums, "unopened": sum(bool(one["unopened"]) for one in bad),
        "bad": bad[:5], "wrong": len(bad), "clean": not bad, "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip


def silent(_: Any, __: str, ___: Any) -> Any:
    """Let nothing be logged, as a processor of structlog."""
    raise structlog.DropEvent


if __name__ == "__main__":
    structlog.configure(processors=[silent])
    work(Path(sys.argv[1]))

"""Goes through the audit row by row, compares it with the journal, and puts old rows away without breaking a chain."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from domain.errors import BadData
from persistence import schema
from persistence.audit import (
    OPENED,
    Archived,
    Head,
    archives,
    chains_of,
    columns,
    decode,
    key_of,
    link,
    noted_head,
    rows_of,
)
from persistence.files import AtomicFile

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from domain.ids import Identity
    from domain.records import Phantom
    from persistence.database import Database

VERIFY_S = 600.0
FAULTS_MAX = 100


@dataclass(slots=True)
class AuditVerdict:
    """What was found: ``faults`` names each row that was changed, is missing or stands in the wrong place.

    ``unsettled`` are records of the journal that are newer than all that has been carried so far: no fault.
    """

    chains: int = 0
    rows: int = 0
    archived: int = 0
    journaled: int = 0
    unsettled: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether every row is as it was written, and none is missing."""
        return not self.faults

    def blame(self, text: str) -> None:
        """Note a fault; what is beyond the first hundred only adds noise."""
        if len(self.faults) < FAULTS_MAX:
            self.faults.append(text)


def verify(database: Database, who: Identity, folder: Path, journaled: Iterable[Phantom]) -> AuditVerdict:
    """Check every chain in the database, and that it has what the journal in ``folder`` tells, in the same words.

    Raises:
        Unavailable: when the database is away.
    """
    verdict, noted = AuditVerdict(), noted_head(folder)
    told: dict[tuple[str, str], str] = {}
    for record in journaled:
        told.setdefault(key_of(record), _digest(msgspec.json.encode(record).decode()))
    verdict.journaled = len(told)
    there: set[tuple[str, str]] = set()
    with database.reading(VERIFY_S) as connection:
        put_away = {part.head.chain: part for part in archives(connection)}
        verdict.archived = sum(part.head.n for part in put_away.values())
        names = set(connection.execute(sa.select(schema.phantom_trades_live.c.chain).distinct()).scalars())
        if noted is not None and noted.n:
            names.add(noted.chain)
        for chain in sorted(names):
            verdict.chains += 1
            start = put_away[chain].head if chain in put_away else Head(chain)
            ours = noted if noted is not None and noted.chain == chain else None
            for row in _walk(connection, start, ours, verdict):
                if (row["source"], row["mode"], row["account"]) == tuple(who):
                    there.add((row["phantom_id"], row["kind"]))
                if ours is not None:
                    _compare(row, told, verdict)
    cut = any(chain.startswith(chains_of(who)) for chain in put_away)
    _missing(told, there, verdict, folder, cut=cut)
    return verdict


def count(database: Database) -> int:
    """Return how many rows the audit has. Raises Unavailable when the database is away."""
    with database.reading() as connection:
        return int(connection.scalar(sa.select(sa.func.count()).select_from(schema.phantom_trades_live)) or 0)


def archive(database: Database, before: int, file: Path) -> int:
    """Move rows older than a time (UTC ms) into a new gzip file of JSON lines; return how many.

    What stays can still be verified: the place where each chain was cut is kept, with its hash and the file's.

    Raises:
        BadData: when the file exists already, or a row that would go is not as it was written.
    """
    if file.exists():
        raise BadData(f"{file} exists already; name a new file")
    lines: list[bytes] = []
    heads: list[Archived] = []
    with database.transaction(VERIFY_S) as connection:
        put_away = {part.head.chain: part for part in archives(connection)}
        chains = connection.execute(sa.select(schema.phantom_trades_live.c.chain).distinct()).scalars()
        for chain in sorted(chains):
            start = put_away.get(chain, Archived(Head(chain), 0, set()))
            gone, cut = _cut(connection, start, before)
            lines += gone
            heads += [cut] if gone else []
        if not lines:
            return 0
        content = gzip.compress(b"\n".join(lines) + b"\n", mtime=0)
        AtomicFile(file).write(content)
        for head, newest, still_open in heads:
            connection.execute(sa.insert(schema.audit_archives).values(
                chain=head.chain, until_n=head.n, until_time=newest, hash=head.hash, file=str(file),
                digest=hashlib.sha256(content).hexdigest(), archived_at=datetime.now(UTC),
                still_open=msgspec.json.encode(sorted(still_open)).decode(),
            ))  # fmt: skip
            table = schema.phantom_trades_live
            connection.execute(sa.delete(table).where(table.c.chain == head.chain, table.c.n <= head.n))
    return len(lines)


def _cut(connection: sa.Connection, start: Archived, before: int) -> tuple[list[bytes], Archived]:
    """Return the lines of a chain's rows older than a time, and where it is cut then."""
    lines, verdict, (head, newest, still_open) = [], AuditVerdict(), start
    for row in _walk(connection, head, None, verdict):
        if verdict.faults or _time(row) >= before:
            break
        head, newest = Head(row["chain"], row["n"], row["hash"]), max(newest, _time(row))
        name = {row["phantom_id"]}
        still_open = still_open | name if row["kind"] == OPENED else still_open - name
        lines.append(msgspec.json.encode({name: row[name] for name in ("chain", "n", "previous", "hash", "body")}))
    if verdict.faults:
        raise BadData(f"nothing was archived: {verdict.faults[0]}")
    return lines, Archived(head, newest, still_open)


def _walk(
    connection: sa.Connection, start: Head, noted: Head | None, verdict: AuditVerdict
) -> Iterable[dict[str, Any]]:
    head = start
    for row in rows_of(connection, start.chain, start.n):
        verdict.rows += 1
        name = f"{row['chain']} row {row['n']} ({row['kind']} {row['phantom_id']} {row['symbol']})"
        if row["n"] != head.n + 1:
            verdict.blame(f"{row['chain']}: rows {head.n + 1} to {row['n'] - 1} are missing before {name}")
        elif row["previous"] != head.hash:
            verdict.blame(f"{name}: does not follow the row before it; one of the two was put there later")
        if link(Head(row["chain"], row["n"] - 1, row["previous"]), row["body"]).hash != row["hash"]:
            verdict.blame(f"{name}: was changed, its hash does not fit what it says")
        for column in _differing(row):
            verdict.blame(f"{name}: was changed, column {column} does not say what its body says")
        head = Head(row["chain"], row["n"], row["hash"])
        if noted is not None and noted.n == head.n and noted.hash != head.hash:
            verdict.blame(f"{name}: is not the row that was written: another hash was noted beside the journal")
        yield row
    if noted is not None and head.n < noted.n:
        verdict.blame(f"{start.chain}: rows {head.n + 1} to {noted.n} are missing at its end")


def _differing(row: dict[str, Any]) -> list[str]:
    try:
        meant = columns(decode(row["body"]))
    except msgspec.MsgspecError:
        return ["body"]
    return [name for name, value in meant.items() if _plain(row[name]) != _plain(value)]


def _compare(row: dict[str, Any], told: dict[tuple[str, str], str], verdict: AuditVerdict) -> None:
    meant = told.get((row["phantom_id"], row["kind"]))
    if meant is not None and meant != _digest(row["body"]):
        verdict.blame(f"{row['chain']} row {row['n']} ({row['kind']} {row['phantom_id']} {row['symbol']}): the journal "
                      "tells something else")  # fmt: skip


def _missing(
    told: dict[tuple[str, str], str], there: set[tuple[str, str]], verdict: AuditVerdict, folder: Path, *, cut: bool
) -> None:
    keys = list(told)
    last = max((i for i, key in enumerate(keys) if key in there), default=-1)
    verdict.unsettled = len(keys) - last - 1
    if cut:
        # what lies in the files that rows were put away in is not in the table, and rightly so
        return
    for phantom_id, kind in keys[: last + 1]:
        if (phantom_id, kind) not in there:
            verdict.blame(f"the row that tells that phantom {phantom_id} was {kind} is missing: {folder} has it")


def _time(row: dict[str, Any]) -> int:
    return int(row["exit_time"] or row["signal_time"])


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()


def _plain(value: Any) -> Any:
    return value.normalize() if isinstance(value, Decimal) else value

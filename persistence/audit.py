"""The phantoms' audit: every signal and its outcome in rows that nobody changes, each bearing the hash of the last."""

from __future__ import annotations

import hashlib
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import sqlalchemy as sa
import structlog

from domain.durations import DAY_MS
from domain.records import Phantom, PhantomClosed, PhantomOpened
from persistence import schema
from persistence.files import AtomicFile

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from pathlib import Path

    from domain.ids import Identity
    from persistence.database import Database

log = structlog.get_logger(__name__)

BULK_S = 5.0
ASK_S = 1.0
IDS_MAX = 500
LOAD_S = 30.0
NEWEST = 2**62
OPENED, CLOSED = "opened", "closed"

_decoder = msgspec.json.Decoder(PhantomOpened | PhantomClosed)


class Head(msgspec.Struct, frozen=True):
    """Where a chain stands: its name, the number of its newest row and that row's hash; 0 and empty at its beginning.

    Kept in a file beside the journal too, so that rows cut off the end of the table are missed. There ``carried`` names
    the record of the journal that was carried last: those before it need not be carried again.
    """

    chain: str
    n: int = 0
    hash: str = ""
    carried: str = ""


class Told(NamedTuple):
    """A row that has come to rest: its number, what it says, and which copy of the table it is in."""

    n: int
    record: Phantom
    copy: int = 0


class Archived(NamedTuple):
    """Where a chain was cut: its last row that was put away, the newest time among those, and the phantoms of them
    that were still open.
    """  # noqa: D205  one sentence

    head: Head
    until: int
    still_open: set[str]


def kind_of(record: Phantom) -> str:
    """Return what a record tells of: that a phantom was opened, or closed."""
    return OPENED if isinstance(record, PhantomOpened) else CLOSED


def key_of(record: Phantom) -> tuple[str, str]:
    """Return what makes a record unique among its owner's."""
    return record.phantom.phantom_id, kind_of(record)


def link(head: Head, body: str) -> Head:
    """Return where a chain stands after one more row."""
    text = "\n".join((head.chain, str(head.n + 1), head.hash, body))
    return Head(head.chain, head.n + 1, hashlib.sha256(text.encode()).hexdigest())


def columns(record: Phantom) -> dict[str, Any]:
    """Return what a row shows of its body, for queries."""
    phantom = record.phantom
    return {
        "phantom_id": phantom.phantom_id, "kind": kind_of(record), "symbol": phantom.symbol, "side": phantom.side.value,
        "strategy_name": phantom.strategy_name, "timeframe": phantom.timeframe, "gate": phantom.gate,
        "was_executed": phantom.was_executed, "ml_score": phantom.ml_score, "signal_time": phantom.signal_time,
        "entry_price": phantom.bracket.entry, "stop_loss": phantom.bracket.first_stop,
        "take_profit": phantom.bracket.target,
        "outcome": phantom.outcome, "exit_time": phantom.exit_time, "exit_reason": phantom.exit_reason,
        "exit_price": phantom.exit_price, "realized_rr": phantom.realized_rr, "pnl_percent": phantom.pnl_percent,
        "features": None if phantom.features is None else msgspec.json.encode(phantom.features).decode(),
        "schema": phantom.schema,
    }  # fmt: skip


def decode(body: str) -> Phantom:
    """Return the record of a row. Raises msgspec.MsgspecError when it is none."""
    record: Phantom = _decoder.decode(body)
    return record


def head_file(folder: Path) -> AtomicFile:
    """Return the file beside a journal that notes where its chain stands."""
    return AtomicFile(folder / "audit-head.json")


def noted_head(folder: Path) -> Head | None:
    """Return where the chain of a journal stood when that was noted last, None when it never was."""
    content = head_file(folder).read()
    try:
        return msgspec.json.decode(content, type=Head) if content else None
    except msgspec.MsgspecError:
        return None


class AuditTable:
    """Appends phantoms' records to the chain of one journal. Raises Unavailable, Rejected or ConfigError.

    ``arrived`` is told of the rows that were new. What this owner has told before, in this journal or in one that
    was lost, is passed over. A table that no longer reaches to where it did is another copy, or was emptied: then all
    that the journal tells (``journaled``, piece by piece) is appended again, and noted only when that is done.

    Attributes:
        chain: the name of the journal's chain.
        copy: how often the table was found to be another copy.
    """

    def __init__(
        self, database: Database, who: Identity, folder: Path, arrived: Callable[[list[Told]], None],
        journaled: Callable[[], Iterable[list[Phantom]]] = tuple,
    ) -> None:  # fmt: skip
        self._database, self._who, self._folder, self._arrived = database, who, folder, arrived
        self._journaled, self.copy, self._lacking = journaled, 0, False
        self._noted = noted_head(folder)
        self.chain = self._noted.chain if self._noted else f"{chains_of(who)}{uuid.uuid4().hex[:12]}"
        self._note(self._noted or Head(self.chain))

    def write(self, records: list[Phantom]) -> None:
        """Append records, all or none."""
        head = self._append(records)
        if self._lacking:
            head = self._append_again()
        self._note(msgspec.structs.replace(head, carried=" ".join(key_of(records[-1]))))

    def rest(self) -> None:
        """Look whether the table still has what it was given."""
        if self._noted is not None and self._noted.n and not self.holds_noted():
            self._lose()
            self._note(msgspec.structs.replace(self._append_again(), carried=self._noted.carried))

    def _lose(self) -> None:
        if not self._lacking:
            log.warning("the audit's table has lost rows: what the journal tells is appended again", chain=self.chain)
            self.copy, self._lacking = self.copy + 1, True

    def _append_again(self) -> Head:
        head = self._append([])
        for piece in self._journaled():
            head = self._append(piece)
        self._lacking = False
        return head

    def _append(self, records: list[Phantom]) -> Head:
        """Append what is not there yet in one transaction; return where the chain stands then."""
        with self._database.transaction(BULK_S) as connection:
            if self._database.is_postgres:
                lock = int.from_bytes(hashlib.sha256(self.chain.encode()).digest()[:7], "big")
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(lock)))
            there, fresh, rows = self._there(connection, records), [], []
            head = self._head(connection)
            if self._noted is not None and head.n < self._noted.n:
                self._lose()
            for record in records:
                if key_of(record) in there:
                    continue
                there.add(key_of(record))
                body = msgspec.json.encode(record).decode()
                previous, head = head.hash, link(head, body)
                rows.append({
                    **self._who._asdict(), **columns(record), "chain": head.chain, "n": head.n, "body": body,
                    "previous": previous, "hash": head.hash,
                })  # fmt: skip
                fresh.append(Told(head.n, record, self.copy))
            if rows:
                connection.execute(sa.insert(schema.phantom_trades_live), rows)
        self._arrived(fresh)
        return head

    def after_carried(self, journaled: Sequence[Phantom]) -> Sequence[Phantom]:
        """Return what the journal tells, in its order, after the record that is known to have been carried last."""
        carried = self._noted.carried if self._noted is not None else ""
        places = [i for i, record in enumerate(journaled) if carried and " ".join(key_of(record)) == carried]
        return journaled[places[0] + 1 :] if places else journaled

    def holds_noted(self) -> bool:
        """Say whether the table has the row that was noted last: it is neither another one nor an older copy."""
        rows, put_away, noted = schema.phantom_trades_live.c, schema.audit_archives.c, self._noted
        if noted is None or not noted.n:
            return False
        query = sa.select(rows.hash).where(rows.chain == noted.chain, rows.n == noted.n).union_all(
            sa.select(put_away.hash).where(put_away.chain == noted.chain, put_away.until_n == noted.n)
        )  # fmt: skip
        with self._database.reading(ASK_S) as connection:
            return noted.hash in set(connection.execute(query).scalars())

    def newest(self, completed: int, until: int = NEWEST) -> list[Phantom]:
        """Return what tells of the open phantoms and of the newest so many that have ended, in order.

        Here as below, rows of this chain after ``until`` are left out.
        """
        table = schema.phantom_trades_live
        ended, again = table.alias("ended"), table.alias("again")
        open_still = ~sa.exists().where(*self._mine(again, until), again.c.kind == CLOSED,
                                        again.c.phantom_id == table.c.phantom_id)  # fmt: skip
        newest = (
            sa.select(ended.c.phantom_id).where(*self._mine(ended, until), ended.c.kind == CLOSED)
            .order_by(*self._latest(ended)).limit(completed)
        )  # fmt: skip
        wanted = sa.or_(table.c.phantom_id.in_(newest), sa.and_(table.c.kind == OPENED, open_still))
        query = sa.select(table.c.body).where(*self._mine(table, until), wanted).order_by(*self._latest(table))
        with self._database.reading(BULK_S) as connection:
            records = [decode(body) for body in connection.execute(query).scalars()][::-1]
        opened: list[Phantom] = [record for record in records if isinstance(record, PhantomOpened)]
        return [*opened, *(record for record in records if isinstance(record, PhantomClosed))]

    def outcomes(self, strategies: Collection[str], count: int, until: int = NEWEST) -> dict[str, list[str]]:
        """Return the newest so many outcomes of each strategy, newest first, without those that ran out of time."""
        table, by_strategy = schema.phantom_trades_live, {}
        with self._database.reading(LOAD_S) as connection:
            for name in strategies:
                query = (
                    sa.select(table.c.outcome)
                    .where(*self._mine(table, until), table.c.kind == CLOSED, table.c.strategy_name == name,
                           table.c.outcome != "timeout")
                    .order_by(*self._latest(table)).limit(count)
                )  # fmt: skip
                by_strategy[name] = list(connection.execute(query).scalars())
        return by_strategy

    def refusals(self, until: int = NEWEST) -> dict[tuple[int, str], int]:
        """Return how many signals were refused, by (any time of the UTC day, strategy)."""
        columns = schema.phantom_trades_live.c
        day = columns.signal_time.op("/")(DAY_MS)
        query = (
            sa.select(sa.func.min(columns.signal_time), columns.strategy_name, sa.func.count())
            .where(*self._mine(schema.phantom_trades_live, until), columns.kind == OPENED, columns.gate != "")
            .group_by(day, columns.strategy_name)
        )  # fmt: skip
        with self._database.reading(LOAD_S) as connection:
            return {(time, name): count for time, name, count in connection.execute(query)}

    def last(self) -> int:
        """Return the number of the newest row of this chain."""
        with self._database.reading(LOAD_S) as connection:
            return self._head(connection).n

    def _note(self, head: Head) -> None:
        if head == self._noted:
            return
        try:
            head_file(self._folder).write(msgspec.json.encode(head))
            self._noted = head
        except OSError as error:
            log.warning("end of the audit's chain not noted beside the journal", reason=error.strerror)

    def _head(self, connection: sa.Connection) -> Head:
        rows, put_away = schema.phantom_trades_live.c, schema.audit_archives.c
        query = sa.select(rows.n, rows.hash).where(rows.chain == self.chain).order_by(rows.n.desc()).limit(1)
        archived = (
            sa.select(put_away.until_n, put_away.hash).where(put_away.chain == self.chain)
            .order_by(put_away.until_n.desc()).limit(1)
        )  # fmt: skip
        row = connection.execute(query).first() or connection.execute(archived).first()
        return Head(self.chain, row[0], row[1]) if row else Head(self.chain)

    def _there(self, connection: sa.Connection, records: Collection[Phantom]) -> set[tuple[str, str]]:
        """Return what of these is there already, in the table or in a file that rows have been put away in."""
        table = schema.phantom_trades_live
        gone = [part for part in archives(connection) if part.head.chain.startswith(chains_of(self._who))]
        until = max((part.until for part in gone), default=-1)
        late = {name for part in gone for name in part.still_open}
        keys = {
            key_of(record) for record in records
            if record.time <= until and not (isinstance(record, PhantomClosed) and record.phantom.phantom_id in late)
        }  # fmt: skip
        wanted = sorted({record.phantom.phantom_id for record in records})
        for start in range(0, len(wanted), IDS_MAX):
            query = sa.select(table.c.phantom_id, table.c.kind).where(
                *self._mine(table), table.c.phantom_id.in_(wanted[start : start + IDS_MAX])
            )
            keys |= {(row[0], row[1]) for row in connection.execute(query)}
        return keys

    def _latest(self, table: Any) -> list[Any]:
        """Return the order of arrival, newest first; chains of journals that were lost come before ours."""
        ours = table.c.chain == self.chain
        place = sa.case((ours, table.c.n), else_=table.c.exit_time)
        return [sa.case((ours, 1), else_=0).desc(), place.desc(), table.c.n.desc()]

    def _mine(self, table: Any, until: int = NEWEST) -> list[sa.ColumnElement[bool]]:
        mine = [table.c[name] == value for name, value in self._who._asdict().items()]
        return [*mine, sa.or_(table.c.chain != self.chain, table.c.n <= until)]


def chains_of(who: Identity) -> str:
    """Return what the names of an owner's chains begin with."""
    return "/".join((*who, ""))


def archives(connection: sa.Connection) -> list[Archived]:
    """Return where each chain was cut last."""
    columns = schema.audit_archives.c
    query = sa.select(columns.chain, columns.until_n, columns.hash, columns.until_time, columns.still_open).order_by(
        columns.until_n
    )
    rows = connection.execute(query)
    return list({row[0]: Archived(Head(*row[:3]), row[3], set(msgspec.json.decode(row[4]))) for row in rows}.values())


def rows_of(connection: sa.Connection, chain: str, after: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the rows of a chain in order, those up to a number left out."""
    table = schema.phantom_trades_live
    query = sa.select(table).where(table.c.chain == chain, table.c.n > after).order_by(table.c.n)
    for row in connection.execute(query.execution_options(yield_per=1_000)).mappings():
        yield dict(row)

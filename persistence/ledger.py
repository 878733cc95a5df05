"""The ledger: the journal, and where a record finds refuge while the journal cannot be written."""

from __future__ import annotations

import threading
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec
import sqlalchemy as sa
import structlog

from domain.errors import ConfigError, Rejected, RevenantError, Unavailable
from domain.records import Level, Receipt, Record
from persistence import schema
from persistence.breaker import Breaker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from domain.ids import Identity
    from persistence.database import Database
    from persistence.journal import Journal, JournalState
    from persistence.keyvalue import Redis

log = structlog.get_logger(__name__)

DATABASE_S = 1.0
MEMORY_MAX = 10_000
ARCHIVE_BYTES = 16 << 20

_decoder = msgspec.json.Decoder(Record)


class Kept(NamedTuple):
    """A record in a refuge: a unique key, the journal's last number before it, its place among those, its JSON."""

    key: str
    after: int
    place: int
    body: bytes


class Refuge(Protocol):
    """Where records rest while the journal cannot be written. Raises Unavailable, Rejected or ConfigError."""

    level: Level
    name: str

    def put(self, kept: Kept) -> None:
        """Keep a record."""
        ...

    def held(self) -> list[Kept]:
        """Return everything kept."""
        ...

    def remove(self, keys: list[str]) -> None:
        """Forget what the journal has taken over."""
        ...


class DatabaseRefuge:
    """Keeps records in a table of the database."""

    level = Level.SETTLED
    name = "database"

    def __init__(self, database: Database, who: Identity) -> None:
        self._database, self._who = database, who

    def put(self, kept: Kept) -> None:
        """Keep a record."""
        row = {**self._who._asdict(), **kept._asdict(), "body": kept.body.decode()}
        with self._database.transaction(DATABASE_S) as connection:
            connection.execute(sa.insert(schema.ledger_refuge).values(row))

    def held(self) -> list[Kept]:
        """Return everything kept."""
        table = schema.ledger_refuge.c
        query = sa.select(table.key, table.after, table.place, table.body).where(*self._mine())
        with self._database.reading() as connection:
            return [Kept(row[0], row[1], row[2], row[3].encode()) for row in connection.execute(query)]

    def remove(self, keys: list[str]) -> None:
        """Forget what the journal has taken over."""
        gone = sa.delete(schema.ledger_refuge).where(*self._mine(), schema.ledger_refuge.c.key.in_(keys))
        with self._database.transaction() as connection:
            connection.execute(gone)

    def _mine(self) -> list[Any]:
        table = schema.ledger_refuge.c
        return [getattr(table, name) == value for name, value in self._who._asdict().items()]


class RedisRefuge:
    """Keeps records in the hash ``trades:pending:<owner>``."""

    level = Level.MIRRORED
    name = "redis"

    def __init__(self, redis: Redis, who: Identity) -> None:
        self._redis, self._name = redis, ":".join(("trades:pending", *who))

    def put(self, kept: Kept) -> None:
        """Keep a record."""
        with self._redis.pipeline() as pipe:
            pipe.hset(self._name, kept.key, b"%d %d %b" % (kept.after, kept.place, kept.body))

    def held(self) -> list[Kept]:
        """Return everything kept; values that are not ours are left alone."""
        with self._redis.translated():
            rows = self._redis.client.hgetall(self._name)
        kept = []
        for key, value in rows.items():
            after, _, rest = value.partition(b" ")
            place, _, body = rest.partition(b" ")
            if after.isdigit() and place.isdigit():
                kept.append(Kept(key.decode(errors="replace"), int(after), int(place), body))
        return kept

    def remove(self, keys: list[str]) -> None:
        """Forget what the journal has taken over."""
        with self._redis.pipeline() as pipe:
            pipe.hdel(self._name, *keys)


class LayeredLedger:
    """Writes each record to the journal; when that fails, to the first refuge that takes it; else keeps it in memory.

    What rests elsewhere is brought home, in its old place, once the journal can be written again: from memory by the
    next record, from refuges by ``heal``. Safe to use from several threads; a record waits for the disk, and only when
    that fails for the refuges (1 s and 0.5 s, three times in a row, then hardly ever), never for one that is asked
    what it holds. A journal smaller than ``archive_bytes`` is not archived.
    """

    def __init__(self, journal: Journal, refuges: Sequence[Refuge] = (), archive_bytes: int = ARCHIVE_BYTES) -> None:
        self._journal, self._archive_bytes = journal, archive_bytes
        self._refuges = [(refuge, Breaker()) for refuge in refuges]
        self._lock, self._healing = threading.RLock(), threading.Lock()
        self._memory: dict[str, Kept] = {}
        self._abroad: dict[str, set[str]] = {refuge.name: set() for refuge in refuges}
        self._asked: set[str] = set()
        self._late: list[Record] = []
        self._place = 0
        self._life = uuid.uuid4().hex[:12]
        self.overflowed = 0

    @property
    def state(self) -> JournalState:
        """What the journal has found and done."""
        return self._journal.state

    @property
    def durable(self) -> bool:
        """Whether a new intent would rest on disk with room to spare."""
        return not self._journal.low and not self._memory

    @property
    def missing(self) -> int:
        """How many records are gone (as of the replay)."""
        return self._journal.state.missing

    @property
    def doubtful_since(self) -> int | None:
        """Market time of the last record before the first that is missing, None when none is (as of the replay)."""
        return self._journal.state.doubtful_since

    @property
    def begins(self) -> int:
        """Number of the first record that the journal holds (as of the replay)."""
        return self._journal.state.begins

    @property
    def unsafe(self) -> int:
        """How many records rest in memory only."""
        return len(self._memory)

    def report(self) -> dict[str, Any]:
        """Return how the journal stands, and what rests elsewhere."""
        state = self._journal.state
        return {
            "state": "down" if state.error else "low" if self._journal.low else "ok", "reason": state.error,
            "records": state.records, "segment": state.segment, "failures": state.failures,
            "quarantined": state.quarantined, "missing": state.missing, "memory_only": self.unsafe,
            "let_go": self.overflowed,
            "abroad": {name: len(keys) for name, keys in self._abroad.items()},
        }  # fmt: skip

    def append(self, record: Record) -> Receipt:
        """Keep a record and say where it rests."""
        body = msgspec.json.encode(record)
        with self._lock:
            try:
                number = self._journal.write(body)
            except OSError:
                return Receipt(self._flee(body))
            self._recall()
            return Receipt(Level.JOURNALED, number)

    def replay(self) -> Iterator[Record]:
        """Yield every record of earlier lives, oldest first; those in refuges are brought home before."""
        self.heal()
        return self._journal.replay()

    def heal(self) -> list[Record]:
        """Bring home what rests in refuges and memory, take a disk reserve again.

        Returns the records of earlier lives that have come home since the replay: nobody has taken them yet. Waits for
        refuges, as long as they may take to answer.
        """
        with self._healing:
            with self._lock:
                self._journal.relieve()
                self._recall()
            for refuge, breaker in self._refuges:
                self._fetch(refuge, breaker)
            with self._lock:
                late, self._late = self._late, []
                return late

    def set_aside(self, record: Record) -> None:
        """Keep a copy of a record that its replay could make no use of, and count it as missing."""
        with self._lock:
            self._journal.set_aside(record)

    def archive(self, live: Sequence[Record]) -> int:
        """Put away what no longer matters, once the journal is large; return how many segments went.

        Only for when every trade in it is in the database. ``live`` are the records that still matter.
        """
        with self._lock:
            if self._journal.size < self._archive_bytes or self._memory or any(self._abroad.values()):
                return 0
            try:
                count = self._journal.archive(msgspec.json.encode(record) for record in live)
            except OSError as error:
                log.warning("journal not archived", reason=str(error))
                return 0
        log.info("journal archived", segments=count, carried=len(live))
        return count

    def _flee(self, body: bytes) -> Level:
        self._place += 1
        kept = Kept(f"{self._life}-{self._place:08d}", self._journal.last, self._place, body)
        for refuge, breaker in self._refuges:
            if breaker.open:
                continue
            try:
                refuge.put(kept)
            except (Unavailable, Rejected, ConfigError) as error:
                breaker.failed()
                log.error("record not kept there either", tier=refuge.name, reason=str(error))
                continue
            breaker.succeeded()
            self._abroad[refuge.name].add(kept.key)
            return refuge.level
        if len(self._memory) >= MEMORY_MAX:
            self._memory.pop(next(iter(self._memory)))
            self.overflowed += 1
        self._memory[kept.key] = kept
        log.critical("record rests in memory only: no new entries", waiting=len(self._memory))
        return Level.MEMORY

    def _recall(self) -> None:
        """Bring home what rests in memory."""
        self._write_all(list(self._memory.values()), self._memory.pop)

    def _fetch(self, refuge: Refuge, breaker: Breaker) -> None:
        """Bring home what rests in a refuge."""
        if self._memory or breaker.open or (refuge.name in self._asked and not self._abroad[refuge.name]):
            return
        try:
            # one that hangs is waited for without the lock: records, exits' among them, are written meanwhile
            kept, done = refuge.held(), list[str]()
            with self._lock:
                self._write_all(sorted(kept, key=lambda one: (one.after, one.place)), done.append)
            if done:
                refuge.remove(done)
                log.warning("records brought home from a refuge", tier=refuge.name, records=len(done))
            with self._lock:
                self._asked.add(refuge.name)
                self._abroad[refuge.name] -= set(done)
        except RevenantError as error:
            breaker.failed()
            log.warning("refuge not readable", tier=refuge.name, reason=str(error))
        else:
            breaker.succeeded()

    def _write_all(self, kept: list[Kept], done: Callable[[str], object]) -> None:
        for entry in kept:
            try:
                record = _decoder.decode(entry.body)
            except msgspec.MsgspecError as error:
                log.error("a record in a refuge cannot be read: left there", key=entry.key, reason=str(error))
                continue
            try:
                self._journal.write(entry.body, (entry.after, entry.place))
            except OSError:
                return
            if not entry.key.startswith(self._life):
                self._late.append(record)
            done(entry.key)

"""Keys and values that are kept for a while: in Redis, or in an SQLite file where there is none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple, Protocol

import sqlalchemy as sa

from persistence import schema

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from persistence.database import Database
    from persistence.keyvalue import Redis

DELETE_MAX = 500


class Put(NamedTuple):
    """Keep a value under a key, for so many seconds or for good."""

    key: str
    value: bytes
    seconds: int = 0


class PutFields(NamedTuple):
    """Keep values in the hash under a key."""

    key: str
    fields: Mapping[str, bytes]


class DropFields(NamedTuple):
    """Take values out of the hash under a key."""

    key: str
    fields: Sequence[str]


class Push(NamedTuple):
    """Put values at the front of the list under a key, the last given first, and keep the front ``most``."""

    key: str
    values: Sequence[bytes]
    most: int


class Drop(NamedTuple):
    """Take away whatever is under a key."""

    key: str


Change = Put | PutFields | DropFields | Push | Drop


class State(Protocol):
    """Where such state is kept. Synchronous; raises Unavailable, Rejected (another kind is under the key)."""

    name: str

    def apply(self, changes: Sequence[Change]) -> None:
        """Make changes, all or none."""
        ...

    def get(self, key: str) -> bytes | None:
        """Return the value under a key."""
        ...

    def fields(self, key: str) -> dict[str, bytes]:
        """Return the hash under a key."""
        ...

    def items(self, key: str) -> list[bytes]:
        """Return the list under a key, newest first."""
        ...

    def keys(self, pattern: str) -> list[str]:
        """Return the keys that begin with ``pattern``."""
        ...


class RedisState:
    """State in Redis; ``space`` stands before each key and keeps what several owners have apart."""

    name = "redis"

    def __init__(self, redis: Redis, space: str = "") -> None:
        self._redis, self._space = redis, f"{space}:" if space else ""

    def apply(self, changes: Sequence[Change]) -> None:
        """Make changes, all or none."""
        with self._redis.pipeline() as pipe:
            for change in changes:
                match change._replace(key=self._space + change.key):
                    case Put(key, value, seconds):
                        pipe.set(key, value, ex=seconds or None)
                    case PutFields(key, fields) if fields:
                        pipe.hset(key, mapping=dict(fields))
                    case DropFields(key, names) if names:
                        pipe.hdel(key, *names)
                    case Push(key, values, most) if values:
                        pipe.lpush(key, *values)
                        pipe.ltrim(key, 0, most - 1)
                    case Drop(key):
                        pipe.delete(key)

    def get(self, key: str) -> bytes | None:
        """Return the value under a key."""
        with self._redis.translated():
            value: bytes | None = self._redis.client.get(self._space + key)
        return value

    def fields(self, key: str) -> dict[str, bytes]:
        """Return the hash under a key."""
        with self._redis.translated():
            values = self._redis.client.hgetall(self._space + key)
        return {name.decode(errors="replace"): value for name, value in values.items()}

    def items(self, key: str) -> list[bytes]:
        """Return the list under a key, newest first."""
        with self._redis.translated():
            return list(self._redis.client.lrange(self._space + key, 0, -1))

    def keys(self, pattern: str) -> list[str]:
        """Return the keys that begin with ``pattern``."""
        with self._redis.translated():
            keys = [key.decode(errors="replace") for key in self._redis.client.scan_iter(f"{self._space}{pattern}*")]
        return sorted(key.removeprefix(self._space) for key in keys)


class TableState:
    """State in a table; ``space`` keeps what several owners have apart."""

    name = "sqlite"

    def __init__(self, database: Database, space: str) -> None:
        self._database, self._space = database, space

    def apply(self, changes: Sequence[Change]) -> None:
        """Make changes, all or none."""
        with self._database.transaction() as connection:
            table = schema.state
            connection.execute(sa.delete(table).where(table.c.expires_at < datetime.now(UTC)))
            for change in changes:
                self._make(connection, change)

    def get(self, key: str) -> bytes | None:
        """Return the value under a key."""
        return self.fields(key).get("")

    def fields(self, key: str) -> dict[str, bytes]:
        """Return the hash under a key."""
        return dict(self._rows(key))

    def items(self, key: str) -> list[bytes]:
        """Return the list under a key, newest first."""
        return [value for _, value in reversed(self._rows(key))]

    def keys(self, pattern: str) -> list[str]:
        """Return the keys that begin with ``pattern``."""
        columns = schema.state.c
        query = sa.select(columns.key).distinct().where(
            columns.space == self._space, columns.key.startswith(pattern, autoescape=True), self._fresh()
        )  # fmt: skip
        with self._database.reading() as connection:
            return sorted(connection.execute(query).scalars())

    def _rows(self, key: str) -> list[tuple[str, bytes]]:
        columns = schema.state.c
        query = (
            sa.select(columns.field, columns.value)
            .where(*self._at(key), self._fresh())
            .order_by(columns.place, columns.field)
        )
        with self._database.reading() as connection:
            return [(name, bytes(value)) for name, value in connection.execute(query)]

    def _make(self, connection: sa.Connection, change: Change) -> None:
        table = schema.state
        match change:
            case Put(key, value, seconds):
                self._drop(connection, key)
                expiry = datetime.now(UTC) + timedelta(seconds=seconds) if seconds else None
                self._insert(connection, key, [("", 0, value)], expiry)
            case PutFields(key, fields):
                self._drop(connection, key, list(fields))
                self._insert(connection, key, [(name, 0, value) for name, value in fields.items()])
            case DropFields(key, names):
                self._drop(connection, key, names)
            case Push(key, values, most):
                last = connection.scalar(sa.select(sa.func.max(table.c.place)).where(*self._at(key))) or 0
                self._insert(connection, key, [(f"{i:015d}", i, value) for i, value in enumerate(values, last + 1)])
                gone = sa.delete(table).where(*self._at(key), table.c.place <= last + len(values) - most)
                connection.execute(gone)
            case Drop(key):
                self._drop(connection, key)

    def _insert(
        self, connection: sa.Connection, key: str, held: list[tuple[str, int, bytes]], expiry: datetime | None = None
    ) -> None:
        rows = [
            {"space": self._space, "key": key, "field": name, "place": place, "value": value, "expires_at": expiry}
            for name, place, value in held
        ]
        if rows:
            connection.execute(sa.insert(schema.state), rows)

    def _drop(self, connection: sa.Connection, key: str, fields: Sequence[str] | None = None) -> None:
        if fields is None:
            connection.execute(sa.delete(schema.state).where(*self._at(key)))
            return
        for start in range(0, len(fields), DELETE_MAX):
            part = schema.state.c.field.in_(fields[start : start + DELETE_MAX])
            connection.execute(sa.delete(schema.state).where(*self._at(key), part))

    def _at(self, key: str) -> list[sa.ColumnElement[bool]]:
        return [schema.state.c.space == self._space, schema.state.c.key == key]

    def _fresh(self) -> sa.ColumnElement[bool]:
        expiry = schema.state.c.expires_at
        return sa.or_(expiry.is_(None), expiry >= datetime.now(UTC))

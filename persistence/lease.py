"""The right to send orders for one account: whoever took it last has it, at once and everywhere."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from persistence import schema

if TYPE_CHECKING:
    from domain.ids import Identity
    from persistence.database import Database

CALL_S = 1.0
DEAD_S = 20.0
"""Whoever has left no sign of life for so long is not there any more."""


class Holder(NamedTuple):
    """Who has the right: the number of the taking (0: nobody knows), and a name for people, empty once handed back."""

    epoch: int
    owner: str


class Lease:
    """One row of the database. Calls are synchronous and raise Unavailable when it does not answer in a second."""

    def __init__(self, database: Database, who: Identity, owner: str) -> None:
        self._database, self._who, self._owner = database, who, owner

    def take(self) -> Holder:
        """Take the right from whoever has it, and return it under its new number."""
        insert = sa.text(
            "INSERT INTO leases (source, mode, account, epoch, owner, renewed_at)"
            " VALUES (:source, :mode, :account, 1, :owner, :now)"
            " ON CONFLICT (source, mode, account) DO UPDATE SET epoch = leases.epoch + 1, owner = excluded.owner,"
            " renewed_at = excluded.renewed_at RETURNING epoch"
        ).bindparams(sa.bindparam("now", type_=schema.UtcTime))
        values = {**self._who._asdict(), "owner": self._owner, "now": datetime.now(UTC)}
        with self._database.transaction(CALL_S) as connection:
            return Holder(int(connection.scalar(insert, values)), self._owner)

    def holder(self) -> Holder:
        """Return who has the right now."""
        with self._database.reading(CALL_S) as connection:
            return self._holder(connection)

    def alive(self, seconds: float) -> str:
        """Return the name of the holder when it has left a sign of life in the last so many seconds, else nothing."""
        table = schema.leases.c
        query = sa.select(table.owner, table.renewed_at).where(*self._mine())
        with self._database.reading(CALL_S) as connection:
            row = connection.execute(query).first()
        fresh = row is not None and (datetime.now(UTC) - row[1]).total_seconds() < seconds
        return str(row[0]) if row is not None and fresh else ""

    def renew(self, epoch: int) -> Holder:
        """Leave a sign of life when the right is still ours; return who has it."""
        table = schema.leases
        sign = sa.update(table).where(*self._mine(), table.c.epoch == epoch).values(renewed_at=datetime.now(UTC))
        with self._database.transaction(CALL_S) as connection:
            connection.execute(sign)
            return self._holder(connection)

    def release(self, epoch: int) -> None:
        """Hand the right back, for whoever stands by, if it is still ours."""
        table = schema.leases
        mine = (*self._mine(), table.c.epoch == epoch, table.c.owner == self._owner)
        with self._database.transaction(CALL_S) as connection:
            connection.execute(sa.update(table).where(*mine).values(owner=""))

    def claim(self) -> Holder:
        """Take the right under a higher number if it was handed back; return who has it then."""
        table = schema.leases
        free = sa.update(table).where(*self._mine(), table.c.owner == "")
        with self._database.transaction(CALL_S) as connection:
            connection.execute(free.values(epoch=table.c.epoch + 1, owner=self._owner, renewed_at=datetime.now(UTC)))
            return self._holder(connection)

    def retake(self, epoch: int) -> Holder:
        """Take the right again after ``epoch``, unless somebody who is alive has it; return who has it then."""
        insert = sa.text(
            "INSERT INTO leases (source, mode, account, epoch, owner, renewed_at)"
            " VALUES (:source, :mode, :account, :next, :owner, :now)"
            " ON CONFLICT (source, mode, account) DO UPDATE SET owner = excluded.owner, renewed_at = :now,"
            " epoch = CASE WHEN leases.epoch < :next THEN :next ELSE leases.epoch + 1 END"
            " WHERE leases.renewed_at < :dead"
        ).bindparams(sa.bindparam("now", type_=schema.UtcTime), sa.bindparam("dead", type_=schema.UtcTime))
        now = datetime.now(UTC)
        values = {"next": epoch + 1, "owner": self._owner, "now": now, "dead": now - timedelta(seconds=DEAD_S)}
        with self._database.transaction(CALL_S) as connection:
            connection.execute(insert, self._who._asdict() | values)
            # where it was written: another connection may end at a copy that is behind
            return self._holder(connection)

    def _holder(self, connection: sa.Connection) -> Holder:
        table = schema.leases.c
        row = connection.execute(sa.select(table.epoch, table.owner).where(*self._mine())).first()
        return Holder(int(row[0]), str(row[1])) if row else Holder(0, "")

    def _mine(self) -> list[Any]:
        table = schema.leases.c
        return [getattr(table, name) == value for name, value in self._who._asdict().items()]

"""Lasting decisions in the database too: a stopped bot stays stopped though its disk be lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa
import structlog

from domain.records import Latch, Record
from persistence import schema

if TYPE_CHECKING:
    from domain.ids import Identity
    from persistence.database import Database

log = structlog.get_logger(__name__)

CALL_S = 1.0

_decoder = msgspec.json.Decoder(Latch)


class Latches:
    """Keeps the newest record of each kind for one owner. Synchronous; raises Unavailable, Rejected or ConfigError."""

    def __init__(self, database: Database, who: Identity) -> None:
        self._database, self._who = database, who

    def keep(self, record: Record) -> None:
        """Keep a lasting decision in place of the last of its kind; other records are passed over."""
        if not isinstance(record, Latch):
            return
        from sqlalchemy.dialects import postgresql, sqlite  # noqa: PLC0415  two dialects, one spelling

        insert = (postgresql if self._database.is_postgres else sqlite).insert(schema.latches)
        body = msgspec.json.encode(record).decode()
        row = {**self._who._asdict(), "kind": type(record).__name__, "body": body}
        keys = ["source", "mode", "account", "kind"]
        with self._database.transaction(CALL_S) as connection:
            connection.execute(insert.values(row).on_conflict_do_update(index_elements=keys, set_={"body": body}))

    def load(self) -> list[Record]:
        """Return what is kept; a row that cannot be read is told and passed over."""
        table = schema.latches.c
        mine = [getattr(table, name) == value for name, value in self._who._asdict().items()]
        with self._database.reading() as connection:
            bodies = list(connection.execute(sa.select(table.body).where(*mine)).scalars())
        records: list[Record] = []
        for body in bodies:
            try:
                records.append(_decoder.decode(body))
            except msgspec.MsgspecError as error:
                log.error("latch cannot be read", body=body[:80], reason=str(error))
        return records

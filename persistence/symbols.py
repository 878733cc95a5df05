"""The markets that each source has said to have."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from persistence import schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.source import Source
    from persistence.database import Database

FRESH = timedelta(hours=24)


class SymbolRegistry:
    """Markets by source; synchronous, raises Unavailable while the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def replace(self, source: Source, markets: Sequence[tuple[Any, ...]]) -> None:
        """Keep what a source says now: (symbol, listed, delisted, active, rank); others of it become inactive."""
        table, now = schema.symbols, datetime.now(UTC)
        names = ("symbol", "listed", "delisted", "active", "rank")
        same = {"source": source.value, "refreshed_at": now}
        rows = [same | dict(zip(names, market, strict=True)) for market in markets]
        from sqlalchemy.dialects import postgresql, sqlite  # noqa: PLC0415  two dialects, one spelling

        insert: Any = (postgresql if self._database.is_postgres else sqlite).insert(table)
        changed = {name: insert.excluded[name] for name in (*names[1:], "refreshed_at")}
        with self._database.transaction(30.0) as connection:
            connection.execute(sa.update(table).where(table.c.source == source.value).values(active=False))
            if rows:
                keys = ["source", "symbol"]
                connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=changed), rows)

    def load(self, source: Source) -> list[tuple[Any, ...]]:
        """Return a source's markets: (symbol, listed, delisted, active, rank), the highest rank first."""
        columns = schema.symbols.c
        query = (
            sa.select(columns.symbol, columns.listed, columns.delisted, columns.active, columns.rank)
            .where(columns.source == source.value)
            .order_by(columns.rank.is_(None), columns.rank, columns.symbol)
        )
        with self._database.reading() as connection:
            return [tuple(row) for row in connection.execute(query)]

    def fresh(self, source: Source) -> bool:
        """Say whether a source was asked in the last 24 hours."""
        columns = schema.symbols.c
        query = sa.select(sa.func.max(columns.refreshed_at)).where(columns.source == source.value)
        with self._database.reading() as connection:
            newest: datetime | None = connection.scalar(query)
        if newest is None:
            return False
        newest = newest if newest.tzinfo else newest.replace(tzinfo=UTC)
        return datetime.now(UTC) - newest < FRESH

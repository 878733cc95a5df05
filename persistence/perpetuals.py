"""What perpetuals have besides trades: mark prices and funding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa

from domain.candle import PRICES, Bars
from domain.coverage import Span
from domain.errors import Rejected
from persistence import schema
from persistence.candle_reader import named_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from domain.candle import Series, Times
    from domain.sifting import Refused
    from domain.source import Source
    from persistence.database import Database
    from persistence.history import CandleHistory

WRITE_S = 60.0
ROWS = 5_000
ALL_TIME = Span(0, 2**53)


class MarkHistory:
    """Mark prices as a store of their own; what is absent of them is not remembered, refused rows are."""

    def __init__(self, database: Database, candles: CandleHistory) -> None:
        self._database, self._candles = database, candles

    def save(self, source: Source, series: Series, bars: Bars) -> tuple[int, int, int]:
        """Store mark prices; return how many there were, were new, and 0."""
        table, before = _of(schema.marks, source), len(self.times(source, series, ALL_TIME))
        self._candles.note_life(source, series, None, None)
        for start in range(0, len(bars), ROWS):
            with self._database.transaction(WRITE_S) as connection:
                number = named_id(connection, source, series)
                rows = [
                    {"series_id": number, "open_time": row.open_time, **{name: getattr(row, name) for name in PRICES}}
                    for row in bars[start : start + ROWS].rows()
                ]
                _upsert(self._database, connection, table, rows, PRICES)
        return len(bars), len(self.times(source, series, ALL_TIME)) - before, 0

    def times(self, source: Source, series: Series, span: Span) -> Times:
        """Return the stored open times of a span, ascending."""
        return self.load(source, series, span).open_time

    def load(self, source: Source, series: Series, span: Span = ALL_TIME) -> Bars:
        """Return the stored mark prices of a span, ascending, as bars without volume."""
        if source not in schema.marks:
            return Bars.empty()
        table = _of(schema.marks, source)
        query = (
            sa.select(table.c.open_time, *(table.c[name] for name in PRICES))
            .join(schema.series, schema.series.c.id == table.c.series_id)
            .where(
                schema.series.c.source == source.value, schema.series.c.symbol == series.symbol,
                schema.series.c.timeframe == series.timeframe, table.c.open_time >= span.start,
                table.c.open_time < span.end,
            ).order_by(table.c.open_time)
        )  # fmt: skip
        with self._database.reading(WRITE_S) as connection:
            return Bars.of([(*row, 0.0, 0.0) for row in connection.execute(query)])

    def absent(self, source: Source, series: Series) -> list[Span]:  # noqa: ARG002  see Store
        """Nothing is known to be absent."""
        return []

    def confirm_absent(self, source: Source, series: Series, spans: Iterable[Span]) -> None:
        """Not remembered: an export tells what is missing."""

    def quarantine(self, source: Source, series: Series, refused: Sequence[Refused]) -> None:
        """Keep rows that were refused."""
        self._candles.quarantine(source, series, refused)

    def note_life(self, source: Source, series: Series, listed: int | None, delisted: int | None) -> None:
        """Keep when a market began and ended."""
        self._candles.note_life(source, series, listed, delisted)


class FundingHistory:
    """Funding payments: when, and the rate that longs paid to shorts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @staticmethod
    def covers(source: Source) -> bool:
        """Return whether there can be payments of a source."""
        return source in schema.fundings

    def save(self, source: Source, symbol: str, payments: Sequence[tuple[int, float]]) -> int:
        """Store payments; return how many there were."""
        rows = [{"symbol": symbol, "time": time, "rate": rate} for time, rate in payments]
        for start in range(0, len(rows), ROWS):
            with self._database.transaction(WRITE_S) as connection:
                _upsert(self._database, connection, _of(schema.fundings, source), rows[start : start + ROWS], ("rate",))
        return len(rows)

    def load(self, source: Source, symbol: str, span: Span = ALL_TIME) -> tuple[Times, np.ndarray]:
        """Return times (UTC ms, ascending) and rates of the payments in a span."""
        if source not in schema.fundings:
            return np.empty(0, np.int64), np.empty(0, np.float64)
        table = _of(schema.fundings, source)
        query = (
            sa.select(table.c.time, table.c.rate)
            .where(table.c.symbol == symbol, table.c.time >= span.start, table.c.time < span.end)
            .order_by(table.c.time)
        )
        with self._database.reading(WRITE_S) as connection:
            rows = connection.execute(query).all()
        return np.array([row[0] for row in rows], np.int64), np.array([row[1] for row in rows], np.float64)


def _of(tables: dict[Source, sa.Table], source: Source) -> sa.Table:
    if source not in tables:
        raise Rejected(f"{source}: has neither mark prices nor funding; {', '.join(tables)} have")
    return tables[source]


def _upsert(
    database: Database, connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]], values: Sequence[str]
) -> None:
    from sqlalchemy.dialects import postgresql, sqlite  # noqa: PLC0415  two dialects, one spelling

    insert: Any = (postgresql if database.is_postgres else sqlite).insert(table)
    keys = [column.name for column in table.primary_key]
    connection.execute(
        insert.on_conflict_do_update(index_elements=keys, set_={name: insert.excluded[name] for name in values}), rows
    )

"""The candles of every source as one history, and the books kept about it."""

from __future__ import annotations

import hashlib
import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from domain.candle import Series
from domain.coverage import Span, merged
from domain.source import Source
from persistence import schema
from persistence.candle_reader import named_id, read_bars, read_times, series_id
from persistence.candles import PostgresCandleStorage, Saved

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from domain.candle import Bars, Times
    from domain.coverage import Coverage
    from domain.sifting import Refused
    from persistence.database import Database

SAVE_ROWS = 50_000
"""Rows of one transaction: long enough for COPY to pay, short enough for a bot on the same tables not to notice."""

ALL_TIME = Span(0, 2**53)
BOOKS_S = 30.0
RESTING = timedelta(days=30)
"""How long entries of the sync log are kept."""


class Entry(NamedTuple):
    """A stored series: its source, what it is of, its span (open times, None without rows) and its market's life."""

    source: Source
    series: Series
    earliest: int | None
    latest: int | None
    rows: int
    last_synced: datetime | None
    listed: int | None
    delisted: int | None


class SyncNote(NamedTuple):
    """What came of asking a source for a span of a series; status is COMPLETED, PARTIAL or FAILED."""

    sync_type: str
    source: Source
    series: Series
    span: Span
    status: str
    processed: int
    added: int
    updated: int
    refused: int
    error: str
    started_at: datetime


class CandleHistory:
    """Reads and writes the candles of every source. Synchronous; raises Unavailable when the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._storages = {source: PostgresCandleStorage(database, source) for source in Source}

    def save(self, source: Source, series: Series, bars: Bars) -> Saved:
        """Store closed, checked bars in ascending time; return how many were new and how many changed."""
        total = Saved(0, 0, 0)
        for start in range(0, len(bars), SAVE_ROWS):
            part = self._storages[source].fill(series, bars[start : start + SAVE_ROWS])
            total = Saved(*(one + other for one, other in zip(total, part, strict=True)))
        return total

    def times(self, source: Source, series: Series, span: Span = ALL_TIME) -> Times:
        """Return the stored open times of a span, ascending."""
        return read_times(self._database, source, series, span)

    def load(self, source: Source, series: Series, span: Span = ALL_TIME) -> Bars:
        """Return the stored bars of a span, ascending."""
        return read_bars(self._database, source, series, span)

    def entries(self, source: Source | None = None) -> list[Entry]:
        """Return every series that has a row or ever had one, in order of source, symbol and timeframe."""
        columns = schema.series.c
        names = [name for name in Entry._fields if name not in {"source", "series"}]
        query = sa.select(columns.source, columns.symbol, columns.timeframe, *(columns[name] for name in names))
        if source is not None:
            query = query.where(columns.source == source.value)
        with self._database.reading(BOOKS_S) as connection:
            rows = connection.execute(query.order_by(columns.source, columns.symbol, columns.timeframe)).all()
        return [Entry(Source(row[0]), Series(row[1], row[2]), *row[3:]) for row in rows]

    def entry(self, source: Source, series: Series) -> Entry | None:
        """Return one stored series."""
        return next((entry for entry in self.entries(source) if entry.series == series), None)

    def note_life(self, source: Source, series: Series, listed: int | None, delisted: int | None) -> None:
        """Keep when a market began and ended; None leaves what is known."""
        times = {name: time for name, time in (("listed", listed), ("delisted", delisted)) if time is not None}
        if times:
            with self._database.transaction() as connection:
                number = named_id(connection, source, series)
                connection.execute(sa.update(schema.series).where(schema.series.c.id == number).values(times))

    def absent(self, source: Source, series: Series) -> list[Span]:
        """Return the spans that the source was confirmed not to have."""
        with self._database.reading() as connection:
            number = series_id(connection, source, series)
            return [] if number is None else self._absent(connection, number)

    def confirm_absent(self, source: Source, series: Series, spans: Iterable[Span]) -> None:
        """Keep that the source itself has no bars there; they are neither asked for again nor counted as missing."""
        table, wanted = schema.absent_bars, list(spans)
        if not wanted:
            return
        with self._database.transaction(BOOKS_S) as connection:
            number = named_id(connection, source, series)
            all_of_them = merged([*self._absent(connection, number), *wanted])
            connection.execute(sa.delete(table).where(table.c.series_id == number))
            now = datetime.now(UTC)
            connection.execute(sa.insert(table), [
                {"series_id": number, "start_time": span.start, "end_time": span.end, "confirmed_at": now}
                for span in all_of_them
            ])  # fmt: skip

    def forget_absent(self, source: Source, series: Series) -> int:
        """Ask again for everything that was confirmed absent; return how many spans that are."""
        table = schema.absent_bars
        with self._database.transaction() as connection:
            number = series_id(connection, source, series)
            return connection.execute(sa.delete(table).where(table.c.series_id == number)).rowcount

    def quarantine(self, source: Source, series: Series, refused: Sequence[Refused]) -> None:
        """Keep rows that were refused, with the reason; the same row is kept once."""
        if not refused:
            return
        now, table = datetime.now(UTC), schema.candle_quarantine
        rows = [
            {"source": source.value, "symbol": series.symbol, "timeframe": series.timeframe, "open_time": row.open_time,
             "body": (body := json.dumps(row.row)), "reason": row.reason, "found_at": now,
             "digest": hashlib.sha256(f"{body} {row.reason}".encode()).hexdigest()[:32]}
            for row in refused
        ]  # fmt: skip
        from sqlalchemy.dialects import postgresql, sqlite  # noqa: PLC0415  two dialects, one spelling

        insert: Any = (postgresql if self._database.is_postgres else sqlite).insert(table)
        with self._database.transaction(BOOKS_S) as connection:
            connection.execute(insert.on_conflict_do_nothing(), rows)

    def quarantined(self, source: Source | None = None, limit: int = 1000) -> list[dict[str, Any]]:
        """Return refused rows, newest first."""
        table = schema.candle_quarantine
        query = sa.select(table).order_by(table.c.found_at.desc(), table.c.open_time).limit(limit)
        if source is not None:
            query = query.where(table.c.source == source.value)
        with self._database.reading() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def log(self, note: SyncNote) -> None:
        """Keep what came of asking a source."""
        row = {
            "sync_id": uuid.uuid4().hex, "sync_type": note.sync_type, "source": note.source.value,
            "symbol": note.series.symbol, "timeframe": note.series.timeframe, "status": note.status,
            "range_start": note.span.start, "range_end": note.span.end, "records_processed": note.processed,
            "records_added": note.added, "records_updated": note.updated, "records_refused": note.refused,
            "error_message": note.error[:1000], "started_at": note.started_at, "completed_at": datetime.now(UTC),
        }  # fmt: skip
        table = schema.data_sync_log
        with self._database.transaction() as connection:
            connection.execute(sa.delete(table).where(table.c.started_at < datetime.now(UTC) - RESTING))
            connection.execute(sa.insert(table), row)

    def logged(self, limit: int = 20) -> list[dict[str, Any]]:
        """Return the newest entries of the sync log, newest first."""
        table = schema.data_sync_log
        query = sa.select(table).order_by(table.c.started_at.desc()).limit(limit)
        with self._database.reading() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def sync_counts(self) -> list[dict[str, Any]]:
        """Return how often each source was asked within the log's time, by how it ended."""
        columns = schema.data_sync_log.c
        query = sa.select(columns.source, columns.status, sa.func.count().label("times")).group_by(
            columns.source, columns.status
        )
        with self._database.reading() as connection:
            return [dict(row) for row in connection.execute(query.order_by(columns.source, columns.status)).mappings()]

    def judge(self, source: Source, series: Series, coverage: Coverage, anomalies: dict[str, int]) -> None:
        """Keep how complete and how plausible a series was found to be, now."""
        row = {
            "date_range_start": coverage.window.start, "date_range_end": coverage.window.end,
            "total_expected_records": coverage.expected, "total_actual_records": coverage.actual,
            "absent_records": coverage.absent, "missing_records": coverage.lacking,
            "completeness_percentage": coverage.completeness, "has_gaps": bool(coverage.missing),
            "has_anomalies": any(anomalies.values()), "gaps": json.dumps(coverage.missing),
            "anomalies": json.dumps(anomalies), "checked_at": datetime.now(UTC),
        }  # fmt: skip
        with self._database.transaction() as connection:
            row["series_id"] = named_id(connection, source, series)
            connection.execute(sa.insert(schema.data_quality), row)

    @staticmethod
    def _absent(connection: sa.Connection, number: int) -> list[Span]:
        columns = schema.absent_bars.c
        query = (
            sa.select(columns.start_time, columns.end_time)
            .where(columns.series_id == number)
            .order_by(columns.start_time)
        )
        return [Span(*row) for row in connection.execute(query)]

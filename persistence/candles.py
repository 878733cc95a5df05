"""Closed bars of one source, in PostgreSQL or SQLite."""

from __future__ import annotations

import io
from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import sqlalchemy as sa
import tenacity

from domain import retention
from domain.candle import COLUMNS, FAST_TIMEFRAME, MAIN_TIMEFRAME, Bars, Series, ordered
from domain.coverage import Span
from domain.errors import BadData, Rejected, Unavailable
from domain.source import Source
from persistence import schema
from persistence.binary_copy import copied, encoded
from persistence.postgres import lasting
from persistence.saved_bars import LEAST, Mark, SavedBars, differing
from persistence.series_numbers import SeriesNumbers

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    import pandas as pd

    from domain.retention import Pin
    from persistence.database import Database

    Frames = Mapping[Any, Bars | pd.DataFrame]

SAVE_ATTEMPTS = 3
COPIED_ROWS = 200
CALL_S, BULK_S = 5.0, 30.0

_STAGING = (
    "CREATE TEMP TABLE IF NOT EXISTS staging (series_id integer, open_time bigint, open float8, high float8,"
    " low float8, close float8, volume float8, turnover float8) ON COMMIT"
)


class Saved(NamedTuple):
    """What became of bars that were handed in: how many there were, were new, and changed one that was there."""

    processed: int
    added: int
    changed: int


class PostgresCandleStorage:
    """Keeps the closed bars of one source; the same calls on SQLite.

    Bars are given as ``Bars`` or as a DataFrame with UTC times. Saving a bar again changes it only when it differs.
    Every call is synchronous and raises Unavailable when the database does not answer.
    """

    def __init__(self, database: Database, source: Source, pins: Callable[[], Sequence[Pin]] = lambda: ()) -> None:
        self._database, self.source, self._pins = database, source, pins
        self._table = schema.candles[source]
        self._numbers = SeriesNumbers(source)
        self._newest: dict[Series, int] = {}
        self._saved = SavedBars()

    def save_candles(self, symbol: str, df: Bars | pd.DataFrame, *, timeframe: str = MAIN_TIMEFRAME) -> int:
        """Store bars of one symbol; return the rows handed in."""
        return self.save_all_frames({Series(symbol, timeframe): df})

    def save_candles_3m(self, symbol: str, df: Bars | pd.DataFrame) -> int:
        """Store 3-minute bars of one symbol; return the rows handed in."""
        return self.save_candles(symbol, df, timeframe=FAST_TIMEFRAME)

    def save_all_frames(self, frames: Frames) -> int:
        """Store bars of many series in one transaction; keys are symbols (15m) or (symbol, timeframe)."""
        held = {_series(key): _bars(value) for key, value in frames.items() if len(value)}
        if all(len(bars) < LEAST for bars in held.values()):
            self.merge({series: ordered(bars) for series, bars in held.items()})
        else:
            # only what differs from the windows that were saved last
            self._stored(held, windows=True)
        return sum(map(len, held.values()))

    def merge(self, frames: dict[Series, Bars]) -> dict[Series, Saved]:
        """Store bars, ascending, of many series in one transaction; return what became of each series' bars."""
        return self._stored(frames)

    def _stored(self, frames: dict[Series, Bars], *, windows: bool = False) -> dict[Series, Saved]:
        """Store bars; of ``windows`` only those that are lacking."""
        if not frames:
            return {}
        for attempt in tenacity.Retrying(
            stop=tenacity.stop_after_attempt(SAVE_ATTEMPTS),
            wait=tenacity.wait_random_exponential(multiplier=0.05, max=0.5),
            retry=tenacity.retry_if_exception_type(Unavailable),
            reraise=True,
        ):
            with attempt:
                return self._save(frames, windows=windows)
        raise Unavailable("unreachable")

    def fill(self, series: Series, bars: Bars) -> Saved:
        """Store bars, ascending, of one series as ``merge`` does, in the quickest way for thousands of them.

        What is stored already is read and compared, which costs a fraction of writing it again.
        """
        if not self._database.is_postgres or len(bars) < COPIED_ROWS:
            return self.merge({series: bars})[series]
        try:
            added, others = self._copy_new(series, bars)
        except Rejected:
            # somebody has stored one of them meanwhile, or put another database in its place
            self._numbers.forget()
            return self.merge({series: bars})[series]
        changed = self.merge({series: others})[series].changed if len(others) else 0
        return Saved(len(bars), added, changed)

    def _copy_new(self, series: Series, bars: Bars) -> tuple[int, Bars]:
        """Copy what there is no bar of yet straight into the table; return how many, and those that differ."""
        names = schema.series.c
        first, last = int(bars.open_time[0]), int(bars.open_time[-1])
        with self._database.transaction(BULK_S) as connection:
            number = self._sure_numbers(connection, [series])[series]
            columns = ("open_time", *COLUMNS)
            there = (
                f"SELECT {', '.join(columns)} FROM {self._table.name} WHERE series_id = {number}"
                f" AND open_time BETWEEN {first} AND {last} ORDER BY open_time"
            )
            held = Bars(*copied(connection, there, columns))
            differ = differing(bars, held)
            known = np.isin(differ.open_time, held.open_time, assume_unique=True)
            fresh = differ.where(~known)
            if len(fresh):
                _copy_in(connection, self._table.name, {number: fresh})
            change = {
                "rows": names.rows + len(fresh), "last_synced": sa.func.now(),
                "earliest": sa.func.least(sa.func.coalesce(names.earliest, first), first),
                "latest": sa.func.greatest(sa.func.coalesce(names.latest, last), last),
            }  # fmt: skip
            connection.execute(sa.update(schema.series).where(names.id == number).values(change))
        return len(fresh), differ.where(known)

    def load_frames(self, wanted: Mapping[Series, int]) -> dict[Series, Bars]:
        """Return the newest so many bars of each series, oldest first, in one query; none of those without any."""
        if not self._database.is_postgres:
            found = {
                one: self.load_candles(one.symbol, count, timeframe=one.timeframe) for one, count in wanted.items()
            }
            return {series: bars for series, bars in found.items() if len(bars)}
        names = schema.series.c
        query = sa.select(names.id, names.symbol, names.timeframe).where(names.source == self.source.value)
        with self._database.reading(BULK_S) as connection:
            known = {row[0]: Series(row[1], row[2]) for row in connection.execute(query)}
            asked = {number: wanted[series] for number, series in known.items() if series in wanted}
            if not asked:
                return {}
            columns = ("series_id", "open_time", *COLUMNS)
            listed = ", ".join(f"({number}, {int(count)})" for number, count in asked.items())
            # an index scan for each series reads just its newest bars
            newest = (
                f"SELECT {', '.join(f'c.{name}' for name in columns)} FROM (VALUES {listed}) AS w (id, n)"
                f" CROSS JOIN LATERAL (SELECT * FROM {self._table.name} WHERE series_id = w.id"
                " ORDER BY open_time DESC LIMIT w.n) c"
            )
            numbers, *values = copied(connection, newest, columns)
        order = np.lexsort((values[0], numbers))
        numbers, values = numbers[order], [column[order] for column in values]
        starts = np.flatnonzero(np.diff(numbers, prepend=-1)).tolist()
        ends = [*starts[1:], len(numbers)] if starts else []
        return {
            known[int(numbers[start])]: Bars(*(column[start:end] for column in values))
            for start, end in zip(starts, ends, strict=True)
        }

    def load_candles(self, symbol: str, limit: int = 1_000, *, timeframe: str = MAIN_TIMEFRAME) -> Bars:
        """Return the newest ``limit`` bars, oldest first; empty when there are none."""
        held, names = self._table.c, schema.series.c
        query = (
            sa.select(held.open_time, *(held[name] for name in COLUMNS))
            .join(schema.series, names.id == held.series_id)
            .where(names.source == self.source.value, names.symbol == symbol, names.timeframe == timeframe)
            .order_by(held.open_time.desc())
            .limit(limit)
        )
        with self._database.reading(BULK_S) as connection:
            rows = connection.execute(query).fetchall()
        return Bars.of([tuple(row) for row in reversed(rows)])

    def cleanup_old_candles(self, days_to_keep: int) -> int:
        """Delete a bot's bars older than ``days_to_keep`` days before each series' newest; return how many.

        Bars of other timeframes than a bot's are history, and stay, as do ranges that are pinned.
        """
        if days_to_keep < 1:
            raise BadData(f"days_to_keep {days_to_keep}: keep at least one day")
        keep, pins = dict.fromkeys(retention.BOT_TIMEFRAMES, days_to_keep), self._pins()
        names, removed = schema.series.c, 0
        with self._database.transaction(BULK_S) as connection:
            stored = connection.execute(
                sa.select(names.id, names.symbol, names.timeframe, names.earliest, names.latest).where(
                    names.source == self.source.value, names.timeframe.in_(keep), names.latest.is_not(None)
                )
            ).all()
            for series_id, symbol, timeframe, earliest, latest in stored:
                held = Span(earliest, latest + 1)
                old = retention.due(self.source, Series(symbol, timeframe), held, keep, pins, latest)
                removed += self._delete(connection, series_id, old)
        return removed

    def _delete(self, connection: sa.Connection, series_id: int, spans: Sequence[Span]) -> int:
        """Delete a series' bars inside of spans, and have the table of series know it; return how many there were."""
        held, names, count = self._table.c, schema.series.c, 0
        for span in spans:
            inside = sa.and_(held.series_id == series_id, held.open_time >= span.start, held.open_time < span.end)
            count += connection.execute(sa.delete(self._table).where(inside)).rowcount
        if count:
            earliest = sa.select(sa.func.min(held.open_time)).where(held.series_id == series_id).scalar_subquery()
            shrunk = {"rows": names.rows - count, "earliest": earliest}
            connection.execute(sa.update(schema.series).where(names.id == series_id).values(shrunk))
        return count

    def get_stats(self) -> dict[str, Any]:
        """Return symbols, total_candles, db_size_mb and database_type."""
        names = schema.series.c
        query = sa.select(sa.func.count(names.symbol.distinct()), sa.func.coalesce(sa.func.sum(names.rows), 0)).where(
            names.source == self.source.value, names.rows > 0
        )
        with self._database.reading() as connection:
            symbols, total = connection.execute(query).one()
        return {
            "symbols": int(symbols), "total_candles": int(total), "db_size_mb": self._database.size_mb(),
            "database_type": self._database.kind,
        }  # fmt: skip

    def series(self) -> list[dict[str, Any]]:
        """Return name, span and row count of every series of this source."""
        names = schema.series.c
        query = sa.select(names.symbol, names.timeframe, names.earliest, names.latest, names.rows).where(
            names.source == self.source.value
        )
        with self._database.reading() as connection:
            return [dict(row) for row in connection.execute(query.order_by(names.symbol, names.timeframe)).mappings()]

    def close(self) -> None:
        """Close the connections to its database."""
        self._database.close()

    def take(self, limit: int) -> dict[Series, Bars]:
        """Return up to ``limit`` stored bars, whichever come first; used to empty a spill."""
        held, names = self._table.c, schema.series.c
        query = (
            sa.select(names.symbol, names.timeframe, held.open_time, *(held[name] for name in COLUMNS))
            .join(schema.series, names.id == held.series_id)
            .where(names.source == self.source.value)
            .order_by(held.series_id, held.open_time)
            .limit(limit)
        )
        rows: dict[Series, list[Any]] = {}
        with self._database.reading(BULK_S) as connection:
            for row in connection.execute(query):
                rows.setdefault(Series(row[0], row[1]), []).append(tuple(row[2:]))
        return {series: Bars.of(held_rows) for series, held_rows in rows.items()}

    def remove(self, frames: Mapping[Series, Bars]) -> None:
        """Delete the given bars."""
        held = self._table.c
        with self._database.transaction(BULK_S) as connection:
            ids = self._sure_numbers(connection, list(frames))
            for series, bars in frames.items():
                times = (int(bars.open_time[0]), int(bars.open_time[-1]))
                where = (held.series_id == ids[series], held.open_time.between(*times))
                count = connection.execute(sa.delete(self._table).where(*where)).rowcount
                names = schema.series.c
                connection.execute(
                    sa.update(schema.series).where(names.id == ids[series]).values(rows=names.rows - count)
                )

    def _save(self, frames: dict[Series, Bars], *, windows: bool) -> dict[Series, Saved]:
        guessed = bool(self._newest or self._numbers)
        try:
            return self._write(frames, windows=windows)
        except Rejected:
            if not guessed:
                raise
            # somebody else has stored one of them, or put another database in place: then each has to be looked at
            return self._write(frames, windows=windows)

    def _goes_on(self, frames: dict[Series, Bars]) -> bool:
        """Say whether every bar is newer than all that is known to be stored of its series."""
        return self._database.is_postgres and all(
            (newest := self._newest.get(series)) is not None and bars.open_time[0] > newest
            for series, bars in frames.items()
        )

    def _write(self, frames: dict[Series, Bars], *, windows: bool) -> dict[Series, Saved]:
        now, info = datetime.now(UTC), dict[Any, Any]()
        little = not _many(frames) or (windows and self._saved.knows(frames))
        put = self._put_windows if windows else self._put
        try:
            with self._database.transaction(CALL_S if little else BULK_S) as connection:
                info = connection.info
                return put(connection, frames, self._numbers.of(connection, list(frames)), now)
        except BaseException:
            # what was learnt or made in a transaction that did not commit is worth nothing
            info.pop("staging", None)
            self._numbers.forget()
            self._newest.clear()
            self._saved.forget()
            raise

    def _put(
        self, connection: sa.Connection, frames: dict[Series, Bars], ids: Mapping[Series, int], now: datetime
    ) -> dict[Series, Saved]:
        """Store bars, ascending, and return what became of them."""
        if not frames:
            return {}
        write = self._append if self._goes_on(frames) else self._merge
        counts = write(connection, {ids[series]: bars for series, bars in frames.items()}, now)
        self._newest |= {
            series: max(self._newest.get(series, 0), bars.open_time.item(-1)) for series, bars in frames.items()
        }
        return {series: Saved(len(bars), *counts[ids[series]]) for series, bars in frames.items()}

    def _put_windows(
        self, connection: sa.Connection, frames: dict[Series, Bars], ids: Mapping[Series, int], now: datetime
    ) -> dict[Series, Saved]:
        """Store what is lacking of windows, and the whole of those to whose series somebody else has written."""
        lacking = self._saved.lacking(frames)
        rolled = lacking if self._goes_on(lacking) else {}
        marks = self._roll(connection, {ids[series]: bars for series, bars in rolled.items()}, ids.values(), now)
        others = self._saved.others(frames, marks)
        done = self._put(connection, others if rolled else lacking | others, ids, now)
        for series, bars in rolled.items():
            self._newest[series] = bars.open_time.item(-1)
            one = done.get(series, Saved(0, 0, 0))
            done[series] = Saved(len(bars) + one.processed, len(bars) + one.added, one.changed)
        self._saved.mark({series: Mark(marks[series].rows + one.added, now) for series, one in done.items()})
        return done

    def _roll(
        self, connection: sa.Connection, frames: dict[int, Bars], watched: Collection[int], now: datetime
    ) -> dict[Series, Mark]:
        """Append bars; return the marks that series had before that, which stay so until the transaction ends."""
        lock = " FOR NO KEY UPDATE" if self._database.is_postgres else ""
        query = self._numbers.listing(watched, "rows", "last_synced") + lock
        if frames:
            _copy_in(connection, self._table.name, frames)
            # one question instead of two: what changes them sees them as they were
            changes = ", ".join(f"change_{i} AS ({one})" for i, one in enumerate(_changes_of_spans(frames, now)))
            query = f"WITH before AS ({query}), {changes} SELECT * FROM before"
        found = connection.exec_driver_sql(query).fetchall()
        self._numbers.check(found, watched)
        return {Series(symbol, timeframe): Mark(rows, _utc(synced)) for _, symbol, timeframe, rows, synced in found}

    def _sure_numbers(self, connection: sa.Connection, wanted: list[Series]) -> dict[Series, int]:
        """Return the numbers that series go by now, whatever they went by before."""
        self._numbers.forget()
        return self._numbers.of(connection, wanted)

    def _append(self, connection: sa.Connection, frames: dict[int, Bars], now: datetime) -> dict[int, tuple[int, int]]:
        """Copy bars that are new straight into the table, and keep the series' spans."""
        _copy_in(connection, self._table.name, frames)
        listed = connection.exec_driver_sql("; ".join([*_changes_of_spans(frames, now), self._numbers.listing(frames)]))
        self._numbers.check(listed, frames)
        return {number: (len(bars), 0) for number, bars in frames.items()}

    def _merge(self, connection: sa.Connection, frames: dict[int, Bars], now: datetime) -> dict[int, tuple[int, int]]:
        merge = self._merge_postgres if self._database.is_postgres else self._merge_sqlite
        return merge(connection, frames, now)

    def _merge_postgres(
        self, connection: sa.Connection, frames: dict[int, Bars], now: datetime
    ) -> dict[int, tuple[int, int]]:
        """Copy into a staging table, then merge in one statement that also keeps the series' spans."""
        cursor: Any = connection.connection.cursor()
        if not lasting(connection):
            cursor.execute(f"{_STAGING} DROP")
        elif "staging" not in connection.info:
            # lasts as long as the connection; a transaction that fails takes it away again
            cursor.execute(f"{_STAGING} DELETE ROWS")
            connection.info["staging"] = True
        cursor.copy_expert("COPY staging FROM STDIN (FORMAT binary)", io.BytesIO(encoded(frames)))
        cursor.execute(_MERGE[self.source], (now,))
        counts = {row[0]: (row[1], row[2]) for row in cursor.fetchall()}
        cursor.execute(self._numbers.listing(frames))
        self._numbers.check(cursor.fetchall(), frames)
        cursor.close()
        return counts

    def _merge_sqlite(
        self, connection: sa.Connection, frames: dict[int, Bars], now: datetime
    ) -> dict[int, tuple[int, int]]:
        held, names = self._table.c, schema.series.c
        counts = dict[int, tuple[int, int]]()
        driver: Any = connection.connection.driver_connection
        self._numbers.check(connection.exec_driver_sql(self._numbers.listing(frames)), frames)
        for series_id, bars in frames.items():
            span = (int(bars.open_time[0]), int(bars.open_time[-1]))
            count = sa.select(sa.func.count()).where(held.series_id == series_id, held.open_time.between(*span))
            before = connection.scalar(count) or 0
            rows = zip(*(column.tolist() for column in bars.columns()), strict=True)
            touched = driver.total_changes
            connection.exec_driver_sql(_UPSERT_SQLITE[self.source], [(series_id, *row) for row in rows])
            touched = driver.total_changes - touched
            after = connection.scalar(count) or 0
            counts[series_id] = (after - before, touched - (after - before))
            change = {
                "rows": names.rows + (after - before), "last_synced": now,
                "earliest": sa.func.min(sa.func.coalesce(names.earliest, span[0]), span[0]),
                "latest": sa.func.max(sa.func.coalesce(names.latest, span[1]), span[1]),
            }  # fmt: skip
            connection.execute(sa.update(schema.series).where(names.id == series_id).values(change))
        return counts


def _many(frames: dict[Series, Bars]) -> bool:
    return sum(map(len, frames.values())) > COPIED_ROWS


def _copy_in(connection: sa.Connection, table: str, frames: dict[int, Bars]) -> None:
    cursor: Any = connection.connection.cursor()
    columns = ", ".join(("series_id", "open_time", *COLUMNS))
    cursor.copy_expert(f"COPY {table} ({columns}) FROM STDIN (FORMAT binary)", io.BytesIO(encoded(frames)))
    cursor.close()


def _changes_of_spans(frames: dict[int, Bars], now: datetime) -> list[str]:
    """Return the statements that tell of each series what is new in it."""
    alike: dict[tuple[int, int, int], list[str]] = defaultdict(list)
    for number, bars in frames.items():
        alike[len(bars), bars.open_time.item(0), bars.open_time.item(-1)].append(str(number))
    # most batches have the same bars of all series, and a list of numbers is read in two thirds of the time
    return [
        f"UPDATE series SET rows = rows + {count}, last_synced = '{now}', earliest = least(earliest, {first}),"
        f" latest = greatest(latest, {last}) WHERE id IN ({', '.join(numbers)})"
        for (count, first, last), numbers in alike.items()
    ]


def _utc(stored: datetime | str | None) -> datetime | None:
    # SQLite's driver knows no times
    return datetime.fromisoformat(stored).replace(tzinfo=UTC) if isinstance(stored, str) else stored


def _series(key: Series | tuple[str, str] | str) -> Series:
    return Series(key, MAIN_TIMEFRAME) if isinstance(key, str) else Series(*key)


def _bars(value: Bars | pd.DataFrame) -> Bars:
    return value if isinstance(value, Bars) else Bars.from_frame(value)


def _changes(table: str) -> str:
    # a row that is told anew is no longer the one that was copied here
    origin = ", origin = NULL" if table == schema.candles[Source.TEST].name else ""
    return ", ".join(f"{name} = excluded.{name}" for name in COLUMNS) + origin


def _merge_statement(table: str) -> str:
    columns = ", ".join(COLUMNS)
    changes = _changes(table)
    old = ", ".join(f"o.{name}" for name in COLUMNS)
    new = ", ".join(f"excluded.{name}" for name in COLUMNS)
    return (
        f"WITH merged AS (INSERT INTO {table} AS o (series_id, open_time, {columns})"
        f" SELECT series_id, open_time, {columns} FROM staging"
        f" ON CONFLICT (series_id, open_time) DO UPDATE SET {changes} WHERE ({old}) IS DISTINCT FROM ({new})"
        " RETURNING series_id, (xmax = 0) AS fresh),"
        " fresh AS (SELECT series_id, count(*) FILTER (WHERE fresh) AS n, count(*) AS touched"
        " FROM merged GROUP BY series_id),"
        " span AS (SELECT series_id, min(open_time) AS lo, max(open_time) AS hi FROM staging GROUP BY series_id)"
        " UPDATE series s SET rows = s.rows + coalesce(fresh.n, 0), last_synced = %s,"
        " earliest = least(s.earliest, span.lo), latest = greatest(s.latest, span.hi)"
        " FROM span LEFT JOIN fresh USING (series_id) WHERE s.id = span.series_id"
        " RETURNING s.id, coalesce(fresh.n, 0), coalesce(fresh.touched - fresh.n, 0)"
    )


def _upsert_statement(table: str) -> str:
    columns, changes = ", ".join(COLUMNS), _changes(table)
    differs = " OR ".join(f"{name} <> excluded.{name}" for name in COLUMNS)
    return (
        f"INSERT INTO {table} (series_id, open_time, {columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        f" ON CONFLICT (series_id, open_time) DO UPDATE SET {changes} WHERE {differs}"
    )


_MERGE = {source: _merge_statement(table.name) for source, table in schema.candles.items()}
_UPSERT_SQLITE = {source: _upsert_statement(table.name) for source, table in schema.candles.items()}

"""The sources' tables as wholes: what they hold, copied from one to another, emptied."""

from __future__ import annotations

import csv
import gzip
import itertools
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from domain.candle import COLUMNS
from domain.coverage import Span, parts
from domain.errors import BadData, Rejected
from domain.source import Source
from persistence import schema
from persistence.candle_reader import named_id, series_id

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from domain.candle import Series
    from persistence.database import Database
    from persistence.history import CandleHistory, Entry

COPY_S = 60.0
WHOLE = Span(0, 2**53)
PIECE_MS = 50_000 * 60_000
"""Rows are copied and deleted in pieces of 50,000 minutes, so that no transaction is long."""


class Copied(NamedTuple):
    """What became of rows that were to be copied: new in the target, there already, and there with other values."""

    series: Series
    copied: int
    present: int
    differing: int


def overview(database: Database) -> list[dict[str, Any]]:
    """Return of every source whether its table exists, and what is in it."""
    columns = schema.series.c
    query = (
        sa.select(
            columns.source, sa.func.sum(columns.rows), sa.func.count(columns.symbol.distinct()), sa.func.count(),
            sa.func.min(columns.earliest), sa.func.max(columns.latest),
        )
        .where(columns.rows > 0).group_by(columns.source)
    )  # fmt: skip
    with database.reading() as connection:
        # PostgreSQL's sums are decimals
        counts = {row[0]: (int(row[1]), *row[2:]) for row in connection.execute(query)}
        tables = set(sa.inspect(connection).get_table_names())
    names = ("rows", "symbols", "series", "earliest", "latest")
    return [
        {"source": source.value, "table": (table := schema.candles[source].name), "exists": table in tables,
         "made_up": source.made_up, **dict(zip(names, counts.get(source.value, (0, 0, 0, None, None)), strict=True))}
        for source in Source
    ]  # fmt: skip


def lawful(source: Source, target: Source) -> str:
    """Return why rows of one source may not be copied into another's table, "" when they may.

    Into ``test`` everything may, with its origin; from there back only to where it came from; made-up rows into the
    tables of other made-up sources. A real table holds what its own exchange has said, and nothing else.
    """
    if source is target:
        return "source and target are the same"
    if Source.TEST in {source, target} or (source.made_up and target.made_up):
        return ""
    if source.made_up:
        return f"{source} is made up; it never goes into {target}, which is real"
    return f"rows of {source} are not {target}'s own; copy them into test to try things on them"


def copy(
    database: Database, store: CandleHistory, source: Source, target: Source, symbols: Collection[str] | None = None,
    progress: Callable[[Series], None] = lambda _: None,
) -> list[Copied]:  # fmt: skip
    """Copy rows, those of ``symbols`` or all, from one source's table into another's.

    What is there stays, so that doing it twice changes nothing.

    Raises:
        Rejected: when that may not be.
    """
    if reason := lawful(source, target):
        raise Rejected(f"sources migrate: {reason}")
    done = []
    for entry in store.entries(source):
        if entry.rows and (symbols is None or entry.series.symbol in symbols):
            done.append(_copy_series(database, store, entry, target))
            progress(entry.series)
    return done


def _copy_series(database: Database, store: CandleHistory, entry: Entry, target: Source) -> Copied:
    table, other = schema.candles[entry.source].name, schema.candles[target].name
    store.note_life(target, entry.series, entry.listed, entry.delisted)
    columns = ", ".join(COLUMNS)
    origin, kept = "", ""
    if target is Source.TEST:
        origin, kept = ", origin", f", '{entry.source.value}'"
    where = f" AND origin = '{target.value}'" if entry.source is Source.TEST else ""
    inside = f"series_id = :number AND open_time >= :start AND open_time < :end{where}"
    differs = " OR ".join(f"a.{name} <> b.{name}" for name in COLUMNS)
    statements = {
        "asked": f"SELECT count(*) FROM {table} WHERE {inside}",
        "copied": f"INSERT INTO {other} (series_id, open_time, {columns}{origin}) SELECT :target, open_time, "
        f"{columns}{kept} FROM {table} WHERE {inside} ON CONFLICT (series_id, open_time) DO NOTHING",
        "differing": f"SELECT count(*) FROM {table} a JOIN {other} b ON b.open_time = a.open_time "
        f"AND b.series_id = :target WHERE a.series_id = :number AND a.open_time >= :start AND a.open_time < :end"
        f"{where.replace('origin', 'a.origin')} AND ({differs})",
    }
    counts = dict.fromkeys(statements, 0)
    assert entry.earliest is not None
    assert entry.latest is not None
    with database.transaction() as connection:
        number, into = series_id(connection, entry.source, entry.series), named_id(connection, target, entry.series)
    for start in range(entry.earliest, entry.latest + 1, PIECE_MS):
        values = {"number": number, "target": into, "start": start, "end": start + PIECE_MS}
        with database.transaction(COPY_S) as connection:
            counts["asked"] += connection.scalar(sa.text(statements["asked"]), values) or 0
            counts["differing"] += connection.scalar(sa.text(statements["differing"]), values) or 0
            counts["copied"] += connection.execute(sa.text(statements["copied"]), values).rowcount
            _recount(connection, target, into)
    return Copied(entry.series, counts["copied"], counts["asked"] - counts["copied"], counts["differing"])


def backup_path(data_dir: Path, source: Source) -> Path:
    """Return a new name of a file for rows of a source that are about to be deleted."""
    stem = f"{source}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    names = (f"{stem}{f'-{number}' if number else ''}.csv.gz" for number in itertools.count())
    return next(path for name in names if not (path := data_dir / "backups" / name).exists())


def back_up(
    store: CandleHistory, source: Source, entries: Sequence[Entry], path: Path,
    spans: Mapping[Series, Sequence[Span]] | None = None,
) -> int:  # fmt: skip
    """Write every row of the series, or those of spans only, to a gzipped csv file, which data import reads.

    Returns how many.

    Raises:
        BadData: when the file is there already.
    """
    if path.exists():
        raise BadData(f"{path}: is there already; nothing is overwritten")
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with gzip.open(path, "wt", newline="") as file:
        out = csv.writer(file)
        out.writerow(("symbol", "timeframe", "open_time", *COLUMNS))
        for entry in entries:
            for span in spans[entry.series] if spans is not None else [WHOLE]:
                bars = store.load(source, entry.series, span)
                out.writerows((*entry.series, *row) for row in bars.rows())
                written += len(bars)
    return written


def empty(database: Database, source: Source, entries: Sequence[Entry]) -> int:
    """Delete every row of the series, piece by piece; return how many."""
    return sum(
        delete(database, source, entry.series, Span(entry.earliest, entry.latest + 1))
        for entry in entries
        if entry.earliest is not None and entry.latest is not None
    )


def delete(database: Database, source: Source, series: Series, span: Span) -> int:
    """Delete the rows of a span, piece by piece, keeping the series' span and count true; return how many."""
    gone, columns = 0, schema.candles[source].c
    for piece in parts(span, PIECE_MS):
        with database.transaction(COPY_S) as connection:
            number = series_id(connection, source, series)
            old = sa.delete(schema.candles[source]).where(
                columns.series_id == number, columns.open_time >= piece.start, columns.open_time < piece.end
            )
            gone += connection.execute(old).rowcount
            _recount(connection, source, number)
    return gone


def _recount(connection: sa.Connection, source: Source, number: int | None) -> None:
    columns = schema.candles[source].c
    count, first, last = connection.execute(
        sa.select(sa.func.count(), sa.func.min(columns.open_time), sa.func.max(columns.open_time)).where(
            columns.series_id == number
        )
    ).one()
    names = {"rows": count, "earliest": first, "latest": last}
    connection.execute(sa.update(schema.series).where(schema.series.c.id == number).values(names))

"""Reads stretches of stored candles, a million rows as easily as one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa

from domain.candle import COLUMNS, Bars, join
from persistence import schema
from persistence.binary_copy import copied

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.candle import Series, Times
    from domain.coverage import Span
    from domain.source import Source
    from persistence.database import Database

READ_S = 120.0
PAGE_ROWS = 100_000
"""SQLite has one lock for all: a long read gives it back every so many rows, so that a bot beside it can write."""


def series_id(connection: sa.Connection, source: Source, series: Series) -> int | None:
    """Return the number of a series, None when nothing of it was ever stored."""
    held = schema.series.c
    query = sa.select(held.id).where(
        held.source == source.value, held.symbol == series.symbol, held.timeframe == series.timeframe
    )
    return connection.scalar(query)


def named_id(connection: sa.Connection, source: Source, series: Series) -> int:
    """Return the number of a series, giving it one when it has none."""
    number = series_id(connection, source, series)
    if number is None:
        named = {"source": source.value, "symbol": series.symbol, "timeframe": series.timeframe}
        connection.execute(sa.insert(schema.series).values(named))
        number = series_id(connection, source, series)
    assert number is not None
    return number


def read_times(database: Database, source: Source, series: Series, span: Span) -> Times:
    """Return the open times stored in a span, ascending, in UTC ms. Raises Unavailable."""
    times: Times = _read(database, source, series, span, ())[0]
    return times


def read_bars(database: Database, source: Source, series: Series, span: Span) -> Bars:
    """Return the bars stored in a span, ascending. Raises Unavailable."""
    return Bars(*_read(database, source, series, span, COLUMNS))


def read_best(database: Database, sources: Sequence[Source], series: Series, span: Span) -> tuple[Bars, np.ndarray]:
    """Return the bars of a span merged from several sources, the first the best, and the place of each bar's source."""
    told = [read_bars(database, source, series, span) for source in sources]
    bars = join(told[::-1]) if told else Bars.empty()
    places = np.full(len(bars), len(sources), dtype=np.int64)
    for place in range(len(sources) - 1, -1, -1):
        places[np.searchsorted(bars.open_time, told[place].open_time)] = place
    return bars, places


def _read(database: Database, source: Source, series: Series, span: Span, columns: tuple[str, ...]) -> list[Any]:
    with database.reading(READ_S) as connection:
        number = series_id(connection, source, series)
        if number is None:
            return [np.empty(0, np.int64), *(np.empty(0) for _ in columns)]
        if database.is_postgres:
            return _copied(connection, source, number, span, columns)
    return _paged(database, source, number, span, columns)


def _copied(
    connection: sa.Connection, source: Source, number: int, span: Span, columns: tuple[str, ...]
) -> list[np.ndarray]:
    names = ("open_time", *columns)
    query = (
        f"SELECT {', '.join(names)} FROM {schema.candles[source].name} WHERE series_id = {int(number)} "
        f"AND open_time >= {int(span.start)} AND open_time < {int(span.end)}"
    )
    found = copied(connection, query, names)
    if (found[0][1:] > found[0][:-1]).all():
        return found
    # put in order here: the server would do so on its disk, for a third of the time that all of this takes
    order = np.argsort(found[0])
    return [column[order] for column in found]


def _paged(database: Database, source: Source, number: int, span: Span, columns: tuple[str, ...]) -> list[np.ndarray]:
    held, start = schema.candles[source].c, span.start
    pages: list[Any] = []
    while True:
        query = (
            sa.select(held.open_time, *(held[name] for name in columns))
            .where(held.series_id == number, held.open_time >= start, held.open_time < span.end)
            .order_by(held.open_time).limit(PAGE_ROWS)
        )  # fmt: skip
        with database.reading(READ_S) as connection:
            rows = connection.execute(query).fetchall()
        pages += rows
        if len(rows) < PAGE_ROWS:
            break
        start = rows[-1][0] + 1
    turned = list(zip(*pages, strict=True)) or [()] * (1 + len(columns))
    return [np.array(turned[0], np.int64), *(np.array(column, np.float64) for column in turned[1:])]

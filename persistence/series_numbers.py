"""The numbers that series go by in the database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from domain.candle import Series
from domain.errors import Rejected
from persistence import schema

if TYPE_CHECKING:
    from collections.abc import Iterable

    from domain.source import Source


class SeriesNumbers:
    """The numbers of one source's series, asked for once and given where there are none yet.

    Another copy of the database may be put in place of the one that was asked, and there they are nobody's or another
    series'. Whoever writes under a number asks ``listing`` in the same transaction, and has ``check`` see the answer.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._known: dict[Series, int] = {}
        self._names: dict[int, Series] = {}

    def __bool__(self) -> bool:
        return bool(self._known)

    def of(self, connection: sa.Connection, wanted: Iterable[Series]) -> dict[Series, int]:
        """Return the numbers of series."""
        names, lacking = schema.series, [series for series in wanted if series not in self._known]
        if lacking:
            insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(names)
            fresh = [{"source": self._source.value, "symbol": s.symbol, "timeframe": s.timeframe} for s in lacking]
            connection.execute(insert.on_conflict_do_nothing(index_elements=["source", "symbol", "timeframe"]), fresh)
            query = sa.select(names.c.symbol, names.c.timeframe, names.c.id).where(names.c.source == self._source.value)
            self._known = {Series(row[0], row[1]): row[2] for row in connection.execute(query)}
            self._names = {number: series for series, number in self._known.items()}
        return {series: self._known[series] for series in wanted}

    def listing(self, numbers: Iterable[int], *more: str) -> str:
        """Return the query for which series go by some numbers, and for ``more`` columns of theirs."""
        columns, listed = ", ".join(("id", "symbol", "timeframe", *more)), ", ".join(map(str, numbers))
        return f"SELECT {columns} FROM series WHERE source = '{self._source.value}' AND id IN ({listed})"

    def check(self, rows: Iterable[Any], numbers: Iterable[int]) -> None:
        """Raise Rejected unless the rows of ``listing`` say that the numbers are those of the series they were."""
        names_now = {row[0]: (row[1], row[2]) for row in rows}
        for number in numbers:
            if names_now.get(number) != self._names[number]:
                symbol, timeframe = self._names[number]
                raise Rejected(
                    f"number {number} is no longer that of {symbol} {timeframe}: it is {names_now.get(number)}"
                )

    def forget(self) -> None:
        """Know nothing."""
        self._known.clear()
        self._names.clear()

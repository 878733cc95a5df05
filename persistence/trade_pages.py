"""A page of trades, filtered and sorted by the database."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any, cast

import sqlalchemy as sa

from domain.symbols import Symbols
from domain.trade import ZERO, Trade
from domain.trade_page import newest_first, rank, told
from persistence import schema

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from decimal import Decimal

    from domain.trade_page import Wanted


class TradePages:
    """Pages of an owner's trades (``mine``), of all time or since a time; ``waiting`` are not in the database yet."""

    def __init__(
        self, connection: sa.Connection, mine: Sequence[sa.ColumnElement[bool]], since: datetime | None,
        waiting: Sequence[Trade],
    ) -> None:  # fmt: skip
        held = schema.trades.c
        self._connection = connection
        self._waiting = [one for one in waiting if since is None or one.exit_time >= since]
        # a version that waits holds, not the one that is there
        apart = [held.trade_id.not_in([one.trade_id for one in waiting])] if waiting else []
        self._where = [*mine, *apart, *([held.exit_time >= since] if since else [])]

    def page(self, wanted: Wanted, offset: int, limit: int) -> dict[str, Any]:
        """Return a page as the API tells it."""
        names = self._names()
        where = [*self._where, *_filters(wanted, names)]
        waiting = newest_first(self._waiting, wanted)
        begin = 0 if waiting else offset
        shown = self._rows(wanted, where, begin, offset + limit - begin)
        if waiting:
            first = heapq.nlargest if wanted.descending else heapq.nsmallest
            by_time = sorted([*waiting, *shown], key=lambda one: one.exit_time, reverse=True)
            shown = first(offset + limit, by_time, key=rank(wanted))[offset:]
        count, net = self._sums(where)
        net += sum((one.pnl_usd for one in waiting), ZERO)
        return told(shown, count + len(waiting), net, names)

    def _names(self) -> set[tuple[str, str, str]]:
        held = schema.trades.c
        query = sa.select(held.symbol, held.strategy_name, held.exit_reason).where(*self._where).distinct()
        there = {(str(row[0]), str(row[1]), str(row[2])) for row in self._connection.execute(query)}
        return there | {(one.symbol, one.strategy_name, one.exit_reason) for one in self._waiting}

    def _rows(self, wanted: Wanted, where: list[sa.ColumnElement[bool]], offset: int, limit: int) -> list[Trade]:
        held, by = schema.trades.c, self._sorted_by(wanted.sort)
        order = by.desc().nulls_last() if wanted.descending else by.asc().nulls_first()
        query = sa.select(schema.trades).where(*where).order_by(order, held.exit_time.desc(), held.trade_id)
        rows = self._connection.execute(query.offset(offset).limit(limit)).mappings()
        return [Trade(**row) for row in rows]

    def _sorted_by(self, name: str) -> sa.ColumnElement[Any]:
        column = schema.trades.c[name]
        if self._connection.dialect.name == "postgresql":
            return column.collate("C") if isinstance(column.type, sa.Text) else column
        # SQLite has exact numbers as text
        return sa.cast(column, sa.Double) if isinstance(column.type, schema.Money) else column

    def _sums(self, where: list[sa.ColumnElement[bool]]) -> tuple[int, Decimal]:
        made = schema.trades.c.pnl_usd
        if self._connection.dialect.name == "postgresql":
            row = self._connection.execute(sa.select(sa.func.count(), sa.func.sum(made)).where(*where)).one()
            return int(row[0]), cast("Decimal", row[1] or ZERO)
        # SQLite would add them up as binary floats
        each = self._connection.execute(sa.select(made).where(*where)).scalars().all()
        return len(each), sum(each, ZERO)


def _filters(wanted: Wanted, names: set[tuple[str, str, str]]) -> list[sa.ColumnElement[bool]]:
    held, found = schema.trades.c, []
    if wanted.symbol:
        found.append(held.symbol.in_(Symbols(one[0] for one in names).matches(wanted.symbol)))
    asked = ((held.strategy_name, wanted.strategy), (held.exit_reason, wanted.exit_reason), (held.side, wanted.side))
    return found + [column == value for column, value in asked if value]

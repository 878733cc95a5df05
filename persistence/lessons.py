"""Lessons out of the audit: every signal of a source that has ended, with what it really made where it was traded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import sqlalchemy as sa

from domain import ids
from domain.errors import BadData
from domain.lesson import Counts, Lessons
from persistence import schema
from persistence.audit import CLOSED, OPENED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from persistence.database import Database

LOAD_S = 60.0


class LessonBook:
    """The lessons of one source, of all its accounts and modes. Raises Unavailable when the database is away.

    A signal that several accounts followed is one lesson: the trade's where one of them traded it. Counted by each, it
    would make a model surer than it may be.

    ``features`` names the vector's numbers in order, ``version`` the table that they are of: vectors of another are
    no lessons.
    """

    def __init__(self, database: Database, source: str, features: Sequence[str], version: str) -> None:
        self._database, self._source, self._features, self._version = database, source, features, version

    def counts(self) -> dict[str, Counts]:
        """Return how many lessons there are of each strategy."""
        columns = schema.phantom_trades_live.c
        signals = (
            sa.select(columns.strategy_name, sa.func.max(sa.cast(columns.was_executed, sa.Integer)).label("executed"))
            .where(columns.source == self._source, columns.kind == CLOSED, columns.schema == self._version)
            .group_by(columns.strategy_name, columns.symbol, columns.timeframe, columns.signal_time)
            .subquery()
        )
        query = sa.select(signals.c.strategy_name, signals.c.executed, sa.func.count()).group_by(
            signals.c.strategy_name, signals.c.executed
        )
        by_strategy: dict[str, Counts] = {}
        with self._database.reading(LOAD_S) as connection:
            for name, executed, count in connection.execute(query):
                before = by_strategy.get(name, Counts())
                by_strategy[name] = before._replace(executed=count) if executed else before._replace(phantoms=count)
        return by_strategy

    def load(self, strategy: str, most: int) -> Lessons:
        """Return the newest so many lessons of a strategy, oldest first.

        Raises:
            BadData: when a vector cannot be read.
        """
        closed, opened = schema.phantom_trades_live.alias("closed"), schema.phantom_trades_live.alias("opened")
        same = [opened.c[name] == closed.c[name] for name in ("source", "mode", "account", "phantom_id")]
        place = sa.func.row_number().over(
            partition_by=(closed.c.symbol, closed.c.timeframe, closed.c.signal_time),
            order_by=(closed.c.was_executed.desc(), closed.c.phantom_id),
        )
        told = (
            sa.select(closed.c.phantom_id, opened.c.features, closed.c.realized_rr, closed.c.was_executed,
                      closed.c.signal_time, closed.c.exit_time, place.label("place"))
            .join(opened, sa.and_(*same, opened.c.kind == OPENED))
            .where(closed.c.source == self._source, closed.c.strategy_name == strategy, closed.c.kind == CLOSED,
                   opened.c.schema == self._version, opened.c.features.is_not(None))
            .subquery()
        )  # fmt: skip
        first = sa.select(told).where(told.c.place == 1)
        query = first.order_by(told.c.signal_time.desc(), told.c.phantom_id).limit(most)
        trades = schema.trades.c
        really = sa.select(trades.trade_id, trades.r_multiple).where(
            trades.source == self._source, trades.strategy_name == strategy,
            # what a hand has shaped says nothing of the signal
            trades.touched == "",
        )  # fmt: skip
        with self._database.reading(LOAD_S) as connection:
            rows = list(connection.execute(query))[::-1]
            made = {name: float(r) for name, r in connection.execute(really)}
        vectors = np.array([self._vector(row) for row in rows]).reshape(len(rows), len(self._features))
        r = [made.get(ids.trade_id(row[0]), float(row[2])) if row[3] else float(row[2]) for row in rows]
        return Lessons(
            vectors, np.array(r, dtype=np.float64), np.array([row[3] for row in rows], dtype=bool),
            np.array([row[4] for row in rows], dtype=np.int64), np.array([row[5] for row in rows], dtype=np.int64),
        )  # fmt: skip

    def _vector(self, row: Any) -> list[float]:
        try:
            named = msgspec.json.decode(row[1], type=dict[str, float])
            return [named[name] for name in self._features]
        except (msgspec.MsgspecError, KeyError) as error:
            raise BadData(f"phantom_trades_live: the features of phantom {row[0]} cannot be read: {error}; "
                          "manage.py audit verify shows what else was changed") from error  # fmt: skip

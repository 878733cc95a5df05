"""Trades, their fills and cached statistics in PostgreSQL or SQLite."""

from __future__ import annotations

import hashlib
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import sqlalchemy as sa
import structlog

from domain.trade import Leg, Trade
from persistence import schema
from persistence.trade_pages import TradePages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from domain.ids import Identity
    from domain.statistics import Statistics
    from domain.trade_page import Wanted
    from persistence.database import Database

log = structlog.get_logger(__name__)

ALL_TIME = "all_time"
PERIODS = {ALL_TIME: None, "last_7d": 7, "last_30d": 30}
COLUMNS = [column.name for column in schema.trades.columns]
CALL_S = 1.0
BULK_S = 5.0
CACHE_S = 5.0
SMALL = 20
CHUNK, WALKED = 500, 5_000
LOOK_S = 60.0


class Older(Protocol):
    """Knows of the trades that only the database has any more."""

    def older(self) -> int:
        """Return how many there are."""
        ...

    def doubt(self) -> None:
        """Have that found out anew."""
        ...


class TradeTable:
    """Keeps each trade once, by its id; a second one of the same id that says something else goes to a table apart.

    A higher version takes the place of a lower one, which is kept in ``trade_versions``.

    ``statistics`` gives the figures of so many days, or of all time; they are cached in the database at most every
    few seconds. ``settled`` gives the trades that the database has been given: those that it has lost since, emptied
    or exchanged for an older copy, are put back, with their legs as far as one of ``journaled`` tells them. ``older``
    counts those that the database alone has.
    """

    def __init__(
        self, database: Database, who: Identity, statistics: Callable[[int | None], Statistics] | None = None,
        settled: Callable[[], list[Trade]] = list, journaled: Callable[[], Iterable[Trade]] = tuple,
    ) -> None:  # fmt: skip
        self._database, self._who, self._statistics = database, who, statistics
        self._settled, self._journaled = settled, journaled
        self._cached_at = 0.0
        self._looked_at, self._remade = time.monotonic(), 0
        self._cache_due = False
        self.conflicts = 0
        self.older: Older | None = None

    def load(self) -> list[Trade]:
        """Return this owner's trades without their legs, oldest exit first. Raises Unavailable when that is away."""
        return list(self.walk())

    def walk(self, since: datetime | None = None, until: tuple[datetime, str] | None = None) -> Iterator[Trade]:
        """Yield this owner's trades without their legs, oldest exit first, a few thousand being read at a time.

        They ended at ``since`` or later, up to a place in the order of exits. Raises Unavailable.
        """
        held, after = schema.trades.c, None
        bounds = [held.exit_time >= since] if since else []
        if until is not None:
            bounds += [held.exit_time <= until[0], sa.or_(held.exit_time < until[0], held.trade_id <= until[1])]
        while True:
            begun: list[sa.ColumnElement[bool]] = []
            if after is not None:
                begun = [held.exit_time >= after[0], sa.or_(held.exit_time > after[0], held.trade_id > after[1])]
            where = (*self._mine(), *bounds, *begun)
            query = sa.select(schema.trades).where(*where).order_by(held.exit_time, held.trade_id).limit(WALKED)
            read = self._read(query)
            yield from read
            if len(read) < WALKED:
                return
            after = read[-1].exit_time, read[-1].trade_id

    def of(self, names: Sequence[str]) -> list[Trade]:
        """Return those of some trades that there are, without their legs. Raises Unavailable."""
        pieces = (names[start : start + CHUNK] for start in range(0, len(names), CHUNK))
        held = schema.trades.c.trade_id
        return [one for piece in pieces
                for one in self._read(sa.select(schema.trades).where(*self._mine(), held.in_(piece)))]  # fmt: skip

    def named(self, begin: str) -> list[Trade]:
        """Return the trades whose id begins so, without their legs. Raises Unavailable."""
        held = schema.trades.c.trade_id
        return self._read(sa.select(schema.trades).where(*self._mine(), held.startswith(begin, autoescape=True)))

    def exits(self) -> dict[str, int]:
        """Return when each trade ended (UTC ms), by id. Raises Unavailable."""
        query = sa.select(schema.trades.c.trade_id, schema.trades.c.exit_time).where(*self._mine())
        with self._database.reading(BULK_S) as connection:
            return {str(row[0]): round(row[1].timestamp() * 1000) for row in connection.execute(query)}

    def page(
        self, wanted: Wanted, since: datetime | None, waiting: Sequence[Trade], offset: int, limit: int
    ) -> dict[str, Any]:
        """Return a page of trades as if those that wait to be written had been. Raises Unavailable."""
        with self._database.reading(BULK_S) as connection:
            return TradePages(connection, self._mine(), since, waiting).page(wanted, offset, limit)

    def _read(self, query: sa.Select[Any]) -> list[Trade]:
        with self._database.reading(BULK_S) as connection:
            return [Trade(**row) for row in connection.execute(query).mappings()]

    def versions(self) -> dict[str, int]:
        """Return the version of each of this owner's trades, by id. Raises Unavailable when the database is away."""
        query = sa.select(schema.trades.c.trade_id, schema.trades.c.version).where(*self._mine())
        with self._database.reading() as connection:
            return {str(row[0]): int(row[1]) for row in connection.execute(query)}

    def legs(self, trade_id: str) -> list[Leg]:
        """Return the executions of a trade, oldest first. Raises Unavailable."""
        columns = schema.trade_fills.c
        query = (
            sa.select(schema.trade_fills).where(columns.trade_id == trade_id).order_by(columns.time, columns.exec_id)
        )
        with self._database.reading() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
        return [Leg(**{name: value for name, value in row.items() if name != "trade_id"}) for row in rows]

    def counts(self) -> dict[str, int]:
        """Return how many trades and contradictions there are."""
        trades, apart = schema.trades, schema.trade_conflicts
        number = sa.select(sa.func.count()).where(*self._mine())
        contradicted = apart.join(trades, apart.c.trade_id == trades.c.trade_id)
        with self._database.reading() as connection:
            return {
                "trades": connection.scalar(number.select_from(trades)) or 0,
                "conflicts": connection.scalar(number.select_from(contradicted)) or 0,
            }

    def fills(self) -> list[tuple[str, str]]:
        """Return (execution id, trade id) of every leg of this owner's trades."""
        trades, legs = schema.trades.c, schema.trade_fills.c
        query = (
            sa.select(legs.exec_id, legs.trade_id)
            .join(schema.trades, trades.trade_id == legs.trade_id)
            .where(*self._mine())
        )
        with self._database.reading() as connection:
            return [(str(row[0]), str(row[1])) for row in connection.execute(query)]

    def write(self, trades: list[Trade]) -> None:
        """Insert trades in one transaction; those that are there already change nothing."""
        added = self._insert(trades)
        self._cache_due = True
        now = time.monotonic()
        if self._remade != self._database.remade or now - self._looked_at > LOOK_S:
            self._put_back(added)
        if now - self._cached_at > CACHE_S:
            self._cache()

    def _insert(self, trades: list[Trade]) -> int:
        """Return how many were not there yet."""
        rows = [{name: getattr(trade, name) for name in COLUMNS} for trade in trades]
        legs = [{"trade_id": trade.trade_id, **msgspec.structs.asdict(leg)} for trade in trades for leg in trade.legs]
        with self._database.transaction(CALL_S if len(trades) <= SMALL else BULK_S) as connection:
            insert = _inserts(self._database)
            statement = insert(schema.trades).values(rows).on_conflict_do_nothing().returning(schema.trades.c.trade_id)
            fresh = set(connection.execute(statement).scalars())
            added = len(fresh)
            if legs:
                connection.execute(insert(schema.trade_fills).on_conflict_do_nothing(), legs)
            old = [trade for trade in trades if not _taken(fresh, trade.trade_id)]
            if old:
                self._compare(connection, old)
        return added

    def rest(self) -> None:
        """Put back what the database has lost, and bring the cached statistics up to date, if they are not."""
        self._put_back()
        self._cache()

    def _put_back(self, others: int = 0) -> None:
        """Put back what the database has lost of the trades that it was given, ``others`` not counted."""
        remade, self._looked_at, settled = self._database.remade, time.monotonic(), self._settled()
        count = sa.select(sa.func.count()).select_from(schema.trades).where(*self._mine())
        with self._database.reading(CALL_S) as connection:
            there = connection.scalar(count) or 0
        older = self.older.older() if self.older is not None else 0
        if there - others >= len(settled) + older:
            self._remade = remade
            return
        known = self.versions()
        lacking = {trade.trade_id: trade for trade in settled if known.get(trade.trade_id, -1) < trade.version}
        journaled = [trade for trade in self._journaled() if trade.trade_id in lacking]
        log.warning("the database has lost trades: put back", trades=len(lacking))
        # what the journal tells comes first: with legs, and each version in its turn
        whole = [*journaled, *lacking.values()]
        for start in range(0, len(whole), CHUNK):
            self._insert(whole[start : start + CHUNK])
        if self.older is not None:
            self.older.doubt()
            gone = older - self.older.older()
            if gone:
                log.error("older trades are gone from the database, and nobody here has them any more",
                          trades=gone, way_out="restore a backup: python manage.py backup restore")  # fmt: skip
        self._remade = remade

    def _cache(self) -> None:
        if not self._cache_due or self._statistics is None:
            return
        keys = ["source", "mode", "account", "period"]
        rows = self._cache_rows(self._statistics)
        with self._database.transaction(CALL_S) as connection:
            for row in rows:
                fresh = {name: value for name, value in row.items() if name not in keys}
                statement = _inserts(self._database)(schema.trade_stats_cache).values(row)
                connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=fresh))
        self._cache_due, self._cached_at = False, time.monotonic()

    def _mine(self) -> list[sa.ColumnElement[bool]]:
        columns = schema.trades.c
        return [
            columns.source == self._who.source,
            columns.mode == self._who.mode,
            columns.account == self._who.account,
        ]

    def _compare(self, connection: sa.Connection, trades: Sequence[Trade]) -> None:
        query = sa.select(schema.trades).where(schema.trades.c.trade_id.in_([trade.trade_id for trade in trades]))
        stored = {row["trade_id"]: Trade(**row) for row in connection.execute(query).mappings()}
        for trade in trades:
            there = stored.get(trade.trade_id)
            if there is None:
                continue
            if trade.version > there.version:
                self._amend(connection, there, trade)
                stored[trade.trade_id] = trade
            elif trade.version < there.version:
                self._keep_version(connection, trade)
            elif not same(there, trade):
                self._keep_apart(connection, trade)

    def _amend(self, connection: sa.Connection, there: Trade, trade: Trade) -> None:
        """Put a trade in the place of its lower version, which is kept."""
        self._keep_version(connection, there)
        fresh = {name: getattr(trade, name) for name in COLUMNS if name != "trade_id"}
        connection.execute(
            sa.update(schema.trades).where(schema.trades.c.trade_id == trade.trade_id).values(fresh)
        )  # fmt: skip

    def _keep_version(self, connection: sa.Connection, trade: Trade) -> None:
        row = {
            "trade_id": trade.trade_id, "version": trade.version, "body": msgspec.json.encode(trade).decode(),
            "replaced_at": datetime.now(UTC),
        }  # fmt: skip
        connection.execute(_inserts(self._database)(schema.trade_versions).values(row).on_conflict_do_nothing())

    def _keep_apart(self, connection: sa.Connection, trade: Trade) -> None:
        body = msgspec.json.encode(trade).decode()
        row = {
            "trade_id": trade.trade_id, "digest": hashlib.sha256(body.encode()).hexdigest(), "body": body,
            "found_at": datetime.now(UTC),
        }  # fmt: skip
        done = connection.execute(_inserts(self._database)(schema.trade_conflicts).values(row).on_conflict_do_nothing())
        if done.rowcount:
            self.conflicts += 1
            log.error("two trades with one id say different things: the first stays, the second is kept apart",
                      trade=trade.trade_id, symbol=trade.symbol, table="trade_conflicts")  # fmt: skip

    def _cache_rows(self, statistics: Callable[[int | None], Statistics]) -> list[dict[str, Any]]:
        rows = []
        for period, days in PERIODS.items():
            stats = statistics(days)
            rows.append({
                "source": self._who.source, "mode": self._who.mode, "account": self._who.account, "period": period,
                "total_trades": stats.total_trades, "wins": stats.wins, "losses": stats.losses,
                "win_rate": stats.win_rate, "total_pnl": stats.total_pnl, "avg_win": stats.avg_win,
                "avg_loss": stats.avg_loss, "profit_factor": stats.profit_factor,
                "best_trade_pnl": stats.best_trade.pnl_usd if stats.best_trade else None,
                "worst_trade_pnl": stats.worst_trade.pnl_usd if stats.worst_trade else None,
                "updated_at": datetime.now(UTC),
            })  # fmt: skip
        return rows


def same(one: Trade, other: Trade) -> bool:
    """Say whether two trades tell the same exit and the same money; legs and excursions may be known less well."""
    names = ("symbol", "side", "quantity", "entry_price", "exit_price", "pnl_usd", "fees", "funding", "exit_time")
    return all(getattr(one, name) == getattr(other, name) for name in names)


def _taken(fresh: set[str], trade_id: str) -> bool:
    """Say whether a trade is the one that went in: of two with one id in a batch, the first."""
    if trade_id not in fresh:
        return False
    fresh.remove(trade_id)
    return True


def _inserts(database: Database) -> Any:
    from sqlalchemy.dialects import postgresql, sqlite  # noqa: PLC0415  two dialects, one spelling

    return (postgresql if database.is_postgres else sqlite).insert

"""Finished trades: journal first, then the database, with statistics over both."""

from __future__ import annotations

import threading
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from domain import trade as domain_trade
from domain.errors import BadData, ConfigError, Rejected, Unavailable
from domain.ids import Identity
from domain.records import Close, Level
from domain.statistics import Statistics, describe, summarise
from domain.trade import Trade
from persistence import schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from decimal import Decimal

    from domain.ports import Ledger
    from persistence.database import Database

PERIODS = {"all_time": None, "last_7d": 7, "last_30d": 30}
_COLUMNS = [column.name for column in schema.trades.columns]


class TradeTrackerPostgres:
    """Records trades of one owner, each exactly once, on PostgreSQL or SQLite.

    ``now`` gives the market time that periods of statistics end at. Calls are synchronous and may come from any
    thread.
    """

    def __init__(self, database: Database, ledger: Ledger | None, who: Identity, now: Callable[[], datetime]) -> None:
        self._database, self._ledger, self._who, self._now = database, ledger, who, now
        self._lock = threading.Lock()
        self._known: dict[str, Trade] = {}
        self._unsettled: dict[str, Trade] = {}
        self._parked: dict[str, str] = {}
        self._complete = False

    @property
    def unsettled(self) -> int:
        """How many trades rest in the journal only, not yet in the database."""
        return len(self._unsettled)

    @property
    def parked(self) -> dict[str, str]:
        """Trades that the database refuses for good, with its reasons."""
        return dict(self._parked)

    def trades(self) -> list[Trade]:
        """Return every trade known, settled or not, in the order of their exits."""
        with self._lock:
            return sorted(self._known.values(), key=lambda held: (held.exit_time, held.trade_id))

    def load(self) -> int:
        """Read this owner's trades from the database; return how many. Raises Unavailable when it is away."""
        held = schema.trades.c
        query = sa.select(schema.trades).where(
            held.source == self._who.source, held.mode == self._who.mode, held.account == self._who.account
        )
        with self._database.transaction() as connection:
            rows = [Trade(**row) for row in connection.execute(query).mappings()]
        with self._lock:
            self._known |= {row.trade_id: row for row in rows}
            self._complete = True
        return len(rows)

    def add_trade(self, trade: Trade) -> Level:
        """Record a finished trade and say where it rests; the same trade again changes nothing."""
        held = self._owned(trade)
        with self._lock:
            if held.trade_id in self._known:
                return Level.JOURNALED if held.trade_id in self._unsettled else Level.SETTLED
        level = Level.MEMORY
        if self._ledger is not None:
            level = self._ledger.append(Close(time=int(held.exit_time.timestamp() * 1000), trade=held)).level
        self.restore(held)
        return Level.SETTLED if self.settle() == 0 else level

    def restore(self, trade: Trade) -> None:
        """Take a trade that the journal already holds; the next settle writes it to the database."""
        with self._lock:
            if trade.trade_id not in self._known:
                self._known[trade.trade_id] = replace(trade, legs=())
                self._unsettled[trade.trade_id] = trade

    def settle(self) -> int:
        """Write what is unsettled to the database; return how many trades still are not."""
        with self._lock:
            waiting = [held for key, held in self._unsettled.items() if key not in self._parked]
        if not waiting:
            return len(self._unsettled)
        try:
            self._write(waiting)
        except (Unavailable, ConfigError):
            return len(self._unsettled)
        except Rejected as error:
            self._settle_singly(waiting, error)
        else:
            self._forget(waiting)
        return len(self._unsettled)

    def calculate_pnl(
        self,
        symbol: str,
        side: str,
        entry: Decimal,
        exit: Decimal,
        qty: Decimal,
        leverage: Decimal,
    ) -> tuple[Decimal, Decimal]:
        """Return (profit in quote units, percent of entry value times leverage), before fees and funding."""
        return domain_trade.calculate_pnl(symbol, side, entry, exit, qty, leverage)

    def get_statistics(self, days: int | None = None) -> Statistics:
        """Return the figures of all trades, or of those that ended in the last ``days`` days."""
        if days is not None and days < 1:
            raise BadData(f"days {days}: give 1 or more, or nothing for all time")
        since = self._now() - timedelta(days=days) if days else None
        return summarise([held for held in self.trades() if since is None or held.exit_time >= since])

    def format_stats_message(self, days: int | None = None) -> str:
        """Return the figures as a message; it says so when the database has not been read yet."""
        text = describe(self.get_statistics(days), days)
        return text if self._complete else f"{text}\n\n⚠️ database unreachable: older trades are missing here"

    def _owned(self, trade: Trade) -> Trade:
        owner = (trade.source or self._who.source, trade.mode or self._who.mode, trade.account or self._who.account)
        if owner != tuple(self._who):
            raise BadData(f"trade on {trade.symbol} belongs to {'/'.join(owner)}, this is {'/'.join(self._who)}")
        name = trade.trade_id or domain_trade_id(trade, self._who)
        return replace(trade, source=owner[0], mode=owner[1], account=owner[2], trade_id=name)

    def _write(self, trades: Iterable[Trade]) -> None:
        from sqlalchemy.dialects import postgresql, sqlite  # noqa: PLC0415  two dialects, one spelling

        insert = (postgresql if self._database.is_postgres else sqlite).insert
        held = list(trades)
        with self._database.transaction() as connection:
            for trade in held:
                row = {name: getattr(trade, name) for name in _COLUMNS}
                connection.execute(insert(schema.trades).values(row).on_conflict_do_nothing())
                legs = [{"trade_id": trade.trade_id, **asdict(leg)} for leg in trade.legs]
                if legs:
                    connection.execute(insert(schema.trade_fills).on_conflict_do_nothing(), legs)
            for row in self._cache_rows():
                keys = ["source", "mode", "account", "period"]
                fresh = {name: value for name, value in row.items() if name not in keys}
                statement = insert(schema.trade_stats_cache).values(row)
                connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=fresh))

    def _cache_rows(self) -> list[dict[str, Any]]:
        rows = []
        for period, days in PERIODS.items():
            stats = self.get_statistics(days)
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

    def _settle_singly(self, waiting: list[Trade], first: Rejected) -> None:
        # one refused row must not hold back the others: find it, park it, say so
        for trade in waiting:
            try:
                self._write([trade])
            except Rejected as error:
                self._parked[trade.trade_id] = str(error)
            except (Unavailable, ConfigError):
                return
            else:
                self._forget([trade])
        if not self._parked:
            self._parked[waiting[0].trade_id] = str(first)

    def _forget(self, settled: list[Trade]) -> None:
        with self._lock:
            for trade in settled:
                self._unsettled.pop(trade.trade_id, None)


def domain_trade_id(trade: Trade, who: Identity) -> str:
    """Return the id of a trade that came without one: its owner, market and entry time make it unique."""
    from domain.ids import signal_digest, trade_id  # noqa: PLC0415  only hand-made trades need it

    start = int(trade.entry_time.timestamp() * 1000)
    return trade_id(signal_digest(who, trade.strategy_name, trade.symbol, trade.timeframe, start))

"""The accounts whose bots share a database: who trades for each, and what its closed trades came to."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from domain.ids import Identity
from persistence import schema
from persistence.lease import DEAD_S
from persistence.trade_table import ALL_TIME

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal

    from persistence.database import Database

LOAD_S = 10.0


class AccountState(NamedTuple):
    """An account: the process that holds the right to trade for it (empty: none), and its closed trades.

    ``seen`` is that process's last sign of life. ``trades``, ``won`` and ``profit`` (in the account's coin) are as its
    bot counted them last, at ``counted``; None where none has closed.
    """

    who: Identity
    process: str
    seen: datetime
    trades: int
    won: int
    profit: Decimal | None
    counted: datetime | None

    def alive(self, now: datetime) -> bool:
        """Return whether its bot has shown itself lately."""
        return bool(self.process) and (now - self.seen).total_seconds() < DEAD_S


def account_states(database: Database) -> list[AccountState]:
    """Return all accounts that a bot on this database has ever traded for, in the order of their names.

    Raises:
        Unavailable: when the database is away.
    """
    lease, cache = schema.leases.c, schema.trade_stats_cache.c
    same = [lease[name] == cache[name] for name in Identity._fields]
    query = (
        sa.select(
            lease.source, lease.mode, lease.account, lease.owner, lease.renewed_at, cache.total_trades, cache.wins,
            cache.total_pnl, cache.updated_at,
        )
        .join_from(schema.leases, schema.trade_stats_cache, sa.and_(*same, cache.period == ALL_TIME), isouter=True)
        .order_by(lease.source, lease.mode, lease.account)
    )  # fmt: skip
    with database.reading(LOAD_S) as connection:
        return [
            AccountState(Identity(*row[:3]), row[3], row[4], row[5] or 0, row[6] or 0, row[7], row[8])
            for row in connection.execute(query)
        ]

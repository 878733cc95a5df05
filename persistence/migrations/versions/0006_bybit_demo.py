"""One more source: Bybit's demo trading."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

NAME = "bybit_demo"
PRICES = ("open", "high", "low", "close", "volume", "turnover")


def upgrade() -> None:
    """Create its table and view; the older program does not mind them."""
    postgres = op.get_bind().dialect.name == "postgresql"
    # PostgreSQL would check the key row by row, for half of the time of a backfill; no series is ever deleted
    keys = () if postgres else (sa.ForeignKey("series.id"),)
    op.create_table(
        f"ohlcv_{NAME}",
        sa.Column("series_id", sa.Integer, *keys, primary_key=True, autoincrement=False),
        sa.Column("open_time", sa.BigInteger, primary_key=True, autoincrement=False),
        *(sa.Column(name, sa.Double, nullable=False) for name in PRICES),
        sa.Column("trades", sa.BigInteger),
        sqlite_with_rowid=False,
    )
    time = "to_timestamp(o.open_time / 1000.0)" if postgres else "datetime(o.open_time / 1000, 'unixepoch')"
    columns = ", ".join(f"o.{name}" for name in PRICES)
    op.execute(
        f"CREATE VIEW candles_{NAME} AS SELECT s.symbol, s.timeframe, {time} AS timestamp, {columns}, "
        "CASE WHEN o.volume > 0 THEN o.turnover / o.volume END AS vwap "
        f"FROM ohlcv_{NAME} o JOIN series s ON s.id = o.series_id"
    )


def downgrade() -> None:
    """Refuse: it would destroy records."""
    raise NotImplementedError("going back would drop records; restore a backup instead")

"""Candles of every source, trades with their fills, cached statistics."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from persistence.schema import Money, UtcTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# a migration says what was, not what is: the list is written out so that later sources do not change it
SOURCES = ("synthetic", "mock", "test", "bybit", "bybit_testnet", "binance", "okx", "alpaca", "polygon")
PRICES = ("open", "high", "low", "close", "volume", "turnover")


def upgrade() -> None:
    """Create everything."""
    op.create_table(
        "series",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("symbol", sa.Text, nullable=False),
        sa.Column("timeframe", sa.Text, nullable=False),
        sa.Column("listed", sa.BigInteger),
        sa.Column("delisted", sa.BigInteger),
        sa.Column("earliest", sa.BigInteger),
        sa.Column("latest", sa.BigInteger),
        sa.Column("rows", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("last_synced", UtcTime),
        sa.UniqueConstraint("source", "symbol", "timeframe", name="series_name"),
    )
    for source in SOURCES:
        op.create_table(
            f"ohlcv_{source}",
            sa.Column("series_id", sa.Integer, sa.ForeignKey("series.id"), primary_key=True, autoincrement=False),
            sa.Column("open_time", sa.BigInteger, primary_key=True, autoincrement=False),
            *(sa.Column(name, sa.Double, nullable=False) for name in PRICES),
            sa.Column("trades", sa.BigInteger),
            sqlite_with_rowid=False,
        )
        op.execute(_view(source))
    _create_trades()


def _view(source: str) -> str:
    postgres = op.get_bind().dialect.name == "postgresql"
    time = "to_timestamp(o.open_time / 1000.0)" if postgres else "datetime(o.open_time / 1000, 'unixepoch')"
    columns = ", ".join(f"o.{name}" for name in PRICES)
    return (
        f"CREATE VIEW candles_{source} AS SELECT s.symbol, s.timeframe, {time} AS timestamp, {columns} "
        f"FROM ohlcv_{source} o JOIN series s ON s.id = o.series_id"
    )


def _create_trades() -> None:
    op.create_table(
        "trades",
        sa.Column("trade_id", sa.Text, primary_key=True),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("source", "mode", "account", "symbol", "side", "strategy_name", "timeframe")
        ),
        *(sa.Column(name, Money, nullable=False) for name in ("entry_price", "exit_price", "quantity")),
        sa.Column("entry_time", UtcTime, nullable=False),
        sa.Column("exit_time", UtcTime, nullable=False),
        *(sa.Column(name, Money, nullable=False) for name in ("pnl_usd", "pnl_percent")),
        sa.Column("exit_reason", sa.Text, nullable=False),
        *(
            sa.Column(name, Money, nullable=False)
            for name in (
                "leverage", "gross_pnl", "fees", "funding", "r_multiple", "max_favourable_r", "max_adverse_r",
            )
        ),
        sa.Column("score", sa.Double),
    )  # fmt: skip
    op.create_index("trades_by_owner_and_exit", "trades", ["source", "mode", "account", "exit_time"])
    op.create_table(
        "trade_fills",
        sa.Column("trade_id", sa.Text, sa.ForeignKey("trades.trade_id"), primary_key=True),
        sa.Column("exec_id", sa.Text, primary_key=True),
        sa.Column("time", UtcTime, nullable=False),
        *(sa.Column(name, Money, nullable=False) for name in ("qty", "price", "fee")),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("closing", sa.Boolean, nullable=False),
    )
    op.create_table(
        "trade_stats_cache",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("source", "mode", "account", "period")),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("total_trades", "wins", "losses")),
        sa.Column("win_rate", sa.Double, nullable=False),
        *(sa.Column(name, Money, nullable=False) for name in ("total_pnl", "avg_win", "avg_loss")),
        sa.Column("profit_factor", sa.Double),
        sa.Column("best_trade_pnl", Money),
        sa.Column("worst_trade_pnl", Money),
        sa.Column("updated_at", UtcTime, nullable=False),
    )


def downgrade() -> None:
    """Refuse: it would destroy records."""
    raise NotImplementedError("going back would drop every candle and trade; restore a backup instead")

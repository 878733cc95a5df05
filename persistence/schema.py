"""The tables, for PostgreSQL and SQLite alike."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from domain.source import Source

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

metadata = sa.MetaData()


class Money(sa.types.TypeDecorator[Decimal]):
    """Exact decimals: NUMERIC in PostgreSQL, text in SQLite, which would make floats of them."""

    impl = sa.Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> sa.types.TypeEngine[Any]:
        """Pick the column type."""
        return dialect.type_descriptor(sa.Numeric() if dialect.name == "postgresql" else sa.Text())

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        """Write a decimal."""
        return value if value is None or dialect.name == "postgresql" else format(value, "f")

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:  # noqa: ARG002  fixed by the base
        """Read a decimal."""
        return None if value is None else Decimal(value)


class UtcTime(sa.types.TypeDecorator[datetime]):
    """Aware UTC times: timestamptz in PostgreSQL, naive UTC in SQLite."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Write a time."""
        if value is None or dialect.name == "postgresql":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Read a time."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


series = sa.Table(
    "series",
    metadata,
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


def _candle_table(source: Source) -> sa.Table:
    # PostgreSQL would check the key row by row, for half of the time of a backfill; no series is ever deleted
    key = sa.ForeignKey("series.id", info={"only": "sqlite"})
    return sa.Table(
        f"ohlcv_{source.value}",
        metadata,
        sa.Column("series_id", sa.Integer, key, primary_key=True, autoincrement=False),
        sa.Column("open_time", sa.BigInteger, primary_key=True, autoincrement=False),
        *(
            sa.Column(name, sa.Double, nullable=False)
            for name in ("open", "high", "low", "close", "volume", "turnover")
        ),
        sa.Column("trades", sa.BigInteger),
        *([sa.Column("origin", sa.Text)] if source is Source.TEST else []),
        sqlite_with_rowid=False,
    )


candles = {source: _candle_table(source) for source in Source}

PERPETUAL_SOURCES = (Source.TEST, Source.BYBIT, Source.BINANCE, Source.OKX)
"""Sources that have mark prices and funding."""


def _mark_table(source: Source) -> sa.Table:
    return sa.Table(
        f"mark_{source.value}",
        metadata,
        sa.Column("series_id", sa.Integer, sa.ForeignKey("series.id"), primary_key=True, autoincrement=False),
        sa.Column("open_time", sa.BigInteger, primary_key=True, autoincrement=False),
        *(sa.Column(name, sa.Double, nullable=False) for name in ("open", "high", "low", "close")),
        sqlite_with_rowid=False,
    )


def _funding_table(source: Source) -> sa.Table:
    return sa.Table(
        f"funding_{source.value}",
        metadata,
        sa.Column("symbol", sa.Text, primary_key=True),
        sa.Column("time", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("rate", sa.Double, nullable=False),
        sqlite_with_rowid=False,
    )


marks = {source: _mark_table(source) for source in PERPETUAL_SOURCES}
fundings = {source: _funding_table(source) for source in PERPETUAL_SOURCES}

trades = sa.Table(
    "trades",
    metadata,
    sa.Column("trade_id", sa.Text, primary_key=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("mode", sa.Text, nullable=False),
    sa.Column("account", sa.Text, nullable=False),
    sa.Column("symbol", sa.Text, nullable=False),
    sa.Column("side", sa.Text, nullable=False),
    sa.Column("strategy_name", sa.Text, nullable=False),
    sa.Column("timeframe", sa.Text, nullable=False),
    sa.Column("entry_price", Money, nullable=False),
    sa.Column("exit_price", Money, nullable=False),
    sa.Column("quantity", Money, nullable=False),
    sa.Column("entry_time", UtcTime, nullable=False),
    sa.Column("exit_time", UtcTime, nullable=False),
    sa.Column("pnl_usd", Money, nullable=False),
    sa.Column("pnl_percent", Money, nullable=False),
    sa.Column("exit_reason", sa.Text, nullable=False),
    sa.Column("leverage", Money, nullable=False),
    sa.Column("gross_pnl", Money, nullable=False),
    sa.Column("fees", Money, nullable=False),
    sa.Column("funding", Money, nullable=False),
    sa.Column("r_multiple", Money, nullable=False),
    sa.Column("max_favourable_r", Money, nullable=False),
    sa.Column("max_adverse_r", Money, nullable=False),
    sa.Column("score", sa.Double),
    sa.Column("touched", sa.Text, nullable=False, server_default=""),
    sa.Column("version", sa.Integer, nullable=False, server_default="0"),
    sa.Index("trades_by_owner_and_exit", "source", "mode", "account", "exit_time"),
)

trade_fills = sa.Table(
    "trade_fills",
    metadata,
    sa.Column("trade_id", sa.Text, sa.ForeignKey("trades.trade_id"), primary_key=True),
    sa.Column("exec_id", sa.Text, primary_key=True),
    sa.Column("time", UtcTime, nullable=False),
    sa.Column("qty", Money, nullable=False),
    sa.Column("price", Money, nullable=False),
    sa.Column("fee", Money, nullable=False),
    sa.Column("cause", sa.Text, nullable=False),
    sa.Column("closing", sa.Boolean, nullable=False),
)

trade_conflicts = sa.Table(
    "trade_conflicts",
    metadata,
    sa.Column("trade_id", sa.Text, primary_key=True),
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("found_at", UtcTime, nullable=False),
)

trade_versions = sa.Table(
    "trade_versions",
    metadata,
    sa.Column("trade_id", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("replaced_at", UtcTime, nullable=False),
)
"""What amended trades were before."""

ledger_refuge = sa.Table(
    "ledger_refuge",
    metadata,
    *(sa.Column(name, sa.Text, primary_key=True) for name in ("source", "mode", "account", "key")),
    sa.Column("after", sa.BigInteger, nullable=False),
    sa.Column("place", sa.BigInteger, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
)

latches = sa.Table(
    "latches",
    metadata,
    *(sa.Column(name, sa.Text, primary_key=True) for name in ("source", "mode", "account", "kind")),
    sa.Column("body", sa.Text, nullable=False),
)

leases = sa.Table(
    "leases",
    metadata,
    *(sa.Column(name, sa.Text, primary_key=True) for name in ("source", "mode", "account")),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("renewed_at", UtcTime, nullable=False),
)

trade_stats_cache = sa.Table(
    "trade_stats_cache",
    metadata,
    *(sa.Column(name, sa.Text, primary_key=True) for name in ("source", "mode", "account", "period")),
    *(sa.Column(name, sa.Integer, nullable=False) for name in ("total_trades", "wins", "losses")),
    sa.Column("win_rate", sa.Double, nullable=False),
    *(sa.Column(name, Money, nullable=False) for name in ("total_pnl", "avg_win", "avg_loss")),
    sa.Column("profit_factor", sa.Double),
    sa.Column("best_trade_pnl", Money),
    sa.Column("worst_trade_pnl", Money),
    sa.Column("updated_at", UtcTime, nullable=False),
)

phantom_trades_live = sa.Table(
    "phantom_trades_live",
    metadata,
    sa.Column("chain", sa.Text, primary_key=True),
    sa.Column("n", sa.BigInteger, primary_key=True, autoincrement=False),
    *(sa.Column(name, sa.Text, nullable=False) for name in ("source", "mode", "account", "phantom_id", "kind")),
    *(sa.Column(name, sa.Text, nullable=False) for name in ("symbol", "side", "strategy_name", "timeframe", "gate")),
    sa.Column("was_executed", sa.Boolean, nullable=False),
    sa.Column("ml_score", sa.Double),
    sa.Column("signal_time", sa.BigInteger, nullable=False),
    *(sa.Column(name, Money, nullable=False) for name in ("entry_price", "stop_loss", "take_profit")),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("exit_time", sa.BigInteger, nullable=False),
    sa.Column("exit_reason", sa.Text, nullable=False),
    *(sa.Column(name, Money, nullable=False) for name in ("exit_price", "realized_rr", "pnl_percent")),
    sa.Column("features", sa.Text),
    sa.Column("schema", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    *(sa.Column(name, sa.Text, nullable=False) for name in ("previous", "hash")),
    sa.UniqueConstraint("source", "mode", "account", "phantom_id", "kind", name="phantom_told_once"),
    sa.Index("phantoms_by_strategy", "source", "strategy_name", "kind", "signal_time"),
)

audit_archives = sa.Table(
    "audit_archives",
    metadata,
    sa.Column("chain", sa.Text, primary_key=True),
    sa.Column("until_n", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("until_time", sa.BigInteger, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Column("file", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("still_open", sa.Text, nullable=False, server_default="[]"),
    sa.Column("archived_at", UtcTime, nullable=False),
)

state = sa.Table(
    "state",
    metadata,
    *(sa.Column(name, sa.Text, primary_key=True) for name in ("space", "key", "field")),
    sa.Column("place", sa.BigInteger, nullable=False),
    sa.Column("value", sa.LargeBinary, nullable=False),
    sa.Column("expires_at", UtcTime),
)

ml_runs = sa.Table(
    "ml_runs",
    metadata,
    sa.Column("run_id", sa.Text, primary_key=True),
    *(sa.Column(name, sa.Text, nullable=False) for name in ("source", "strategy", "verdict", "reason", "schema")),
    sa.Column("trained_at", UtcTime, nullable=False),
    sa.Column("seconds", sa.Double, nullable=False),
    *(sa.Column(name, sa.Integer, nullable=False) for name in ("lessons", "executed", "phantoms")),
    *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("data_from", "data_until")),
    sa.Column("report", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Index("ml_runs_by_strategy", "source", "strategy", "trained_at"),
)

absent_bars = sa.Table(
    "absent_bars",
    metadata,
    sa.Column("series_id", sa.Integer, sa.ForeignKey("series.id"), primary_key=True, autoincrement=False),
    sa.Column("start_time", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("end_time", sa.BigInteger, nullable=False),
    sa.Column("confirmed_at", UtcTime, nullable=False),
)

candle_quarantine = sa.Table(
    "candle_quarantine",
    metadata,
    *(sa.Column(name, sa.Text, primary_key=True) for name in ("source", "symbol", "timeframe", "digest")),
    sa.Column("open_time", sa.BigInteger, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("found_at", UtcTime, nullable=False),
)

data_sync_log = sa.Table(
    "data_sync_log",
    metadata,
    sa.Column("sync_id", sa.Text, primary_key=True),
    *(sa.Column(name, sa.Text, nullable=False) for name in ("sync_type", "source", "symbol", "timeframe", "status")),
    *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("range_start", "range_end")),
    *(
        sa.Column(name, sa.BigInteger, nullable=False)
        for name in ("records_processed", "records_added", "records_updated", "records_refused")
    ),
    sa.Column("error_message", sa.Text, nullable=False),
    sa.Column("started_at", UtcTime, nullable=False),
    sa.Column("completed_at", UtcTime),
    sa.Index("data_sync_log_by_series", "source", "symbol", "timeframe", "started_at"),
)

data_quality = sa.Table(
    "data_quality",
    metadata,
    sa.Column("series_id", sa.Integer, sa.ForeignKey("series.id"), primary_key=True, autoincrement=False),
    sa.Column("checked_at", UtcTime, primary_key=True),
    *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("date_range_start", "date_range_end")),
    *(
        sa.Column(name, sa.BigInteger, nullable=False)
        for name in ("total_expected_records", "total_actual_records", "absent_records", "missing_records")
    ),
    sa.Column("completeness_percentage", sa.Double, nullable=False),
    *(sa.Column(name, sa.Boolean, nullable=False) for name in ("has_gaps", "has_anomalies")),
    *(sa.Column(name, sa.Text, nullable=False) for name in ("gaps", "anomalies")),
)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    *(sa.Column(name, UtcTime) for name in ("started_at", "ended_at", "until")),
    *(sa.Column(name, sa.Text, nullable=False) for name in ("status", "said", "owner")),
    sa.Column("failures", sa.Integer, nullable=False),
)

job_parts = sa.Table(
    "job_parts",
    metadata,
    sa.Column("job", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    *(sa.Column(name, sa.Text, nullable=False) for name in ("run", "body", "status", "worker", "said")),
    sa.Column("due_at", UtcTime, nullable=False),
    sa.Column("until", UtcTime),
    *(sa.Column(name, sa.Integer, nullable=False) for name in ("attempts", "series", "failed")),
    *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("records", "done", "wanted")),
)
"""What each worker does of a job, and what is left to do of it."""

symbols = sa.Table(
    "symbols",
    metadata,
    *(sa.Column(name, sa.Text, primary_key=True) for name in ("source", "symbol")),
    *(sa.Column(name, sa.BigInteger) for name in ("listed", "delisted")),
    sa.Column("active", sa.Boolean, nullable=False),
    sa.Column("rank", sa.Integer),
    sa.Column("refreshed_at", UtcTime, nullable=False),
)

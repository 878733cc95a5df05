"""What history needs: two more sources, where bars came from, what is absent, refused, fetched and judged."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from persistence.schema import UtcTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

NEW = ("coingecko", "cryptocompare")
WITH_TURNOVER = ("synthetic", "mock", "bybit", "bybit_testnet", "binance", "okx", "alpaca", "polygon", "cryptocompare")
BEST_FIRST = ("bybit", "binance", "okx", "alpaca", "polygon", "cryptocompare", "coingecko")
OTHERS = ("test", "coingecko")
PERPETUAL = ("test", "bybit", "binance", "okx")
PRICES = ("open", "high", "low", "close", "volume", "turnover")


def upgrade() -> None:
    """Create the tables and the views; the older program does not mind them."""
    for source in NEW:
        op.create_table(
            f"ohlcv_{source}",
            sa.Column("series_id", sa.Integer, sa.ForeignKey("series.id"), primary_key=True, autoincrement=False),
            sa.Column("open_time", sa.BigInteger, primary_key=True, autoincrement=False),
            *(sa.Column(name, sa.Double, nullable=False) for name in PRICES),
            sa.Column("trades", sa.BigInteger),
            sqlite_with_rowid=False,
        )
    op.add_column("ohlcv_test", sa.Column("origin", sa.Text))
    if op.get_bind().dialect.name == "postgresql":
        for source in (*WITH_TURNOVER, *OTHERS):
            # checked row by row, it takes half of the time of a backfill, and no series is ever deleted
            op.execute(f"ALTER TABLE ohlcv_{source} DROP CONSTRAINT IF EXISTS ohlcv_{source}_series_id_fkey")
    for source in (*WITH_TURNOVER, *OTHERS):
        if source not in NEW:
            op.execute(f"DROP VIEW candles_{source}")
        op.execute(_view(source))
    op.execute(_best())
    _create_books()
    for source in PERPETUAL:
        _create_perpetual(source)
    op.execute(
        "CREATE VIEW historical_data_range AS SELECT s.source, s.symbol, s.timeframe, "
        f"{_time('s.earliest')} AS earliest_date, {_time('s.latest')} AS latest_date, s.rows AS total_records, "
        "(SELECT q.missing_records = 0 FROM data_quality q WHERE q.series_id = s.id "
        "ORDER BY q.checked_at DESC LIMIT 1) AS is_complete, s.last_synced FROM series s"
    )


def downgrade() -> None:
    """Refuse: it would destroy records."""
    raise NotImplementedError("going back would drop records; restore a backup instead")


def _time(column: str) -> str:
    postgres = op.get_bind().dialect.name == "postgresql"
    return f"to_timestamp({column} / 1000.0)" if postgres else f"datetime({column} / 1000, 'unixepoch')"


def _view(source: str) -> str:
    columns = [f"o.{name}" for name in PRICES]
    if source in WITH_TURNOVER:
        columns.append("CASE WHEN o.volume > 0 THEN o.turnover / o.volume END AS vwap")
    if source == "test":
        columns.append("o.origin")
    return (
        f"CREATE VIEW candles_{source} AS SELECT s.symbol, s.timeframe, {_time('o.open_time')} AS timestamp, "
        f"{', '.join(columns)} FROM ohlcv_{source} o JOIN series s ON s.id = o.series_id"
    )


def _best() -> str:
    columns = ", ".join(f"o.{name}" for name in PRICES)
    every = " UNION ALL ".join(
        f"SELECT s.symbol, s.timeframe, o.open_time, {columns}, '{source}' AS source, {place} AS place "
        f"FROM ohlcv_{source} o JOIN series s ON s.id = o.series_id"
        for place, source in enumerate(BEST_FIRST)
    )
    plain = ", ".join(PRICES)
    return (
        f"CREATE VIEW ohlcv_best AS SELECT symbol, timeframe, open_time, {_time('open_time')} AS timestamp, {plain}, "
        "source FROM (SELECT *, row_number() OVER (PARTITION BY symbol, timeframe, open_time ORDER BY place) AS nth "
        f"FROM ({every}) AS every_source) AS ranked WHERE nth = 1"
    )


def _create_perpetual(source: str) -> None:
    op.create_table(
        f"mark_{source}",
        sa.Column("series_id", sa.Integer, sa.ForeignKey("series.id"), primary_key=True, autoincrement=False),
        sa.Column("open_time", sa.BigInteger, primary_key=True, autoincrement=False),
        *(sa.Column(name, sa.Double, nullable=False) for name in PRICES[:4]),
        sqlite_with_rowid=False,
    )
    op.create_table(
        f"funding_{source}",
        sa.Column("symbol", sa.Text, primary_key=True),
        sa.Column("time", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("rate", sa.Double, nullable=False),
        sqlite_with_rowid=False,
    )


def _create_books() -> None:
    op.create_table(
        "absent_bars",
        sa.Column("series_id", sa.Integer, sa.ForeignKey("series.id"), primary_key=True, autoincrement=False),
        sa.Column("start_time", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("end_time", sa.BigInteger, nullable=False),
        sa.Column("confirmed_at", UtcTime, nullable=False),
    )
    op.create_table(
        "candle_quarantine",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("source", "symbol", "timeframe", "digest")),
        sa.Column("open_time", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("found_at", UtcTime, nullable=False),
    )
    counts = ("records_processed", "records_added", "records_updated", "records_refused")
    op.create_table(
        "data_sync_log",
        sa.Column("sync_id", sa.Text, primary_key=True),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("sync_type", "source", "symbol", "timeframe", "status")
        ),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("range_start", "range_end", *counts)),
        sa.Column("error_message", sa.Text, nullable=False),
        sa.Column("started_at", UtcTime, nullable=False),
        sa.Column("completed_at", UtcTime),
    )
    op.create_index("data_sync_log_by_series", "data_sync_log", ["source", "symbol", "timeframe", "started_at"])
    figures = ("total_expected_records", "total_actual_records", "absent_records", "missing_records")
    op.create_table(
        "data_quality",
        sa.Column("series_id", sa.Integer, sa.ForeignKey("series.id"), primary_key=True, autoincrement=False),
        sa.Column("checked_at", UtcTime, primary_key=True),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("date_range_start", "date_range_end", *figures)),
        sa.Column("completeness_percentage", sa.Double, nullable=False),
        *(sa.Column(name, sa.Boolean, nullable=False) for name in ("has_gaps", "has_anomalies")),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("gaps", "anomalies")),
    )
    op.create_table(
        "jobs",
        sa.Column("name", sa.Text, primary_key=True),
        *(sa.Column(name, UtcTime) for name in ("started_at", "ended_at", "until")),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("status", "said", "owner")),
        sa.Column("failures", sa.Integer, nullable=False),
    )
    op.create_table(
        "symbols",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("source", "symbol")),
        *(sa.Column(name, sa.BigInteger) for name in ("listed", "delisted")),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("rank", sa.Integer),
        sa.Column("refreshed_at", UtcTime, nullable=False),
    )

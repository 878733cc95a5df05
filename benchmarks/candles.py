"""Closed bars of fifty symbols saved and loaded, beside COPY and beside the way of the bot that this one succeeds."""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import NullPool

from benchmarks.measured import Measured, compared, in_turns
from benchmarks.stores import bare_table, with_postgres
from domain.candle import COLUMNS, Bars, Series
from domain.source import Source
from persistence.binary_copy import encoded
from persistence.candles import PostgresCandleStorage

if TYPE_CHECKING:
    from persistence.database import Database

SYMBOLS, ROUNDS, SLOW_ROUNDS, STEP = 50, 40, 9, 180_000
HELD, LOADED = 500, 200
SERIES = [Series(f"COIN{i}/USDT:USDT", "3m") for i in range(SYMBOLS)]


class Base(DeclarativeBase):
    """Declarative base of the re-created original."""


class Candle(Base):
    """The original's table: surrogate key, unique (symbol, timestamp)."""

    __tablename__ = "original_candles"
    __table_args__ = (sa.UniqueConstraint("symbol", "timeframe", "timestamp"),)
    id: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=True)
    symbol: Mapped[str] = mapped_column(sa.String(20), index=True)
    timeframe: Mapped[str] = mapped_column(sa.String(4))
    timestamp: Mapped[int] = mapped_column(sa.BigInteger, index=True)
    open: Mapped[float]
    high: Mapped[float]
    low: Mapped[float]
    close: Mapped[float]
    volume: Mapped[float]


def bars(first: int, count: int, seed: int = 0) -> Bars:
    """Return so many bars from the one with number ``first`` on."""
    rng = np.random.default_rng((first, count, seed))
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.002, count)))
    opened = np.r_[100.0, close[:-1]]
    high, low, volume = np.maximum(opened, close) * 1.001, np.minimum(opened, close) * 0.999, rng.random(count) + 1
    return Bars(np.arange(first, first + count) * STEP, opened, high, low, close, volume, close * volume)


def measure() -> list[Measured]:
    """Measure saving a batch, saving whole windows, and loading."""
    return with_postgres(_measure)


def _measure(database: Database, raw: Any) -> list[Measured]:
    return [_batch(database, raw, 1, 1.6), _batch(database, raw, 10, 2.5), _frames(database), _load(database, raw)]


def _batch(database: Database, raw: Any, count: int, limit: float) -> Measured:
    storage = PostgresCandleStorage(database, Source.SYNTHETIC)
    batches = [
        {series: bars(number * count, count, i) for i, series in enumerate(SERIES)} for number in range(ROUNDS + 1)
    ]
    raw_rows = [encoded(dict(enumerate(batch.values()))) for batch in batches]
    bare_table(raw)

    def copy(number: int) -> None:
        with raw.cursor() as cursor:
            cursor.copy_expert("COPY bare FROM STDIN (FORMAT binary)", io.BytesIO(raw_rows[number]))
        raw.commit()

    pairs = in_turns(lambda number: storage.save_all_frames(batches[number]), copy, ROUNDS)
    with database.transaction() as connection:
        connection.execute(sa.text("TRUNCATE ohlcv_synthetic"))
    what = f"50 symbols x {count} closed bars saved to PostgreSQL; COPY of the same rows into a bare table"
    return compared(f"candle_batch_{count}", what, "ms", pairs, limit)


def _frames(database: Database) -> Measured:
    storage = PostgresCandleStorage(database, Source.SYNTHETIC)
    url = database.url.set(drivername="postgresql+psycopg2")
    engine = sa.create_engine(url, poolclass=NullPool)
    Base.metadata.create_all(engine)
    whole = [bars(0, HELD + SLOW_ROUNDS + 2, i) for i in range(SYMBOLS)]

    def windows(number: int) -> dict[Series, Bars]:
        return {series: held[number : number + HELD] for series, held in zip(SERIES, whole, strict=True)}

    storage.save_all_frames(windows(0))
    pairs = in_turns(
        lambda number: storage.save_all_frames(windows(number + 1)),
        lambda number: _original(engine, {series: one[-1:] for series, one in windows(number + 1).items()}),
        SLOW_ROUNDS,
    )
    engine.dispose()
    what = "50 windows of 500 bars saved, one bar of each new; the original's way with the new bars alone"
    return compared("candle_frames", what, "ms", pairs, 0.02)


def _original(engine: sa.Engine, frames: dict[Series, Bars]) -> None:
    """Save row by row: look, then insert or update, with a new connection for every symbol."""
    for series, held in frames.items():
        with Session(engine) as session:
            for row in held.rows():
                key = {"symbol": series.symbol[:20], "timeframe": series.timeframe, "timestamp": row.open_time}
                known = session.scalars(sa.select(Candle).filter_by(**key)).first()
                values = {"open": row.open, "high": row.high, "low": row.low, "close": row.close, "volume": row.volume}
                if known is None:
                    session.add(Candle(**key, **values))
                else:
                    for name, value in values.items():
                        setattr(known, name, value)
            session.commit()


def _load(database: Database, raw: Any) -> Measured:
    storage = PostgresCandleStorage(database, Source.SYNTHETIC)
    wanted = dict.fromkeys(SERIES, LOADED)
    storage.save_all_frames({series: bars(0, 1_000, i) for i, series in enumerate(SERIES)})
    with database.transaction() as connection:
        connection.execute(sa.text("ANALYZE ohlcv_synthetic"))
    with database.transaction() as connection:
        numbers = [row[0] for row in connection.execute(sa.text("SELECT id FROM series ORDER BY id"))]
    query = (
        "COPY (SELECT c.* FROM unnest(ARRAY[" + ",".join(map(str, numbers)) + "]) AS w (id) CROSS JOIN LATERAL"
        f" (SELECT series_id, open_time, {', '.join(COLUMNS)} FROM ohlcv_synthetic WHERE series_id = w.id"
        f" ORDER BY open_time DESC LIMIT {LOADED}) c) TO STDOUT (FORMAT binary)"
    )
    fields = [("n", ">i2"), ("s1", ">i4"), ("id", ">i4"), ("s2", ">i4"), ("time", ">i8")]
    row = np.dtype(fields + [item for name in COLUMNS for item in ((f"s_{name}", ">i4"), (name, ">f8"))])

    def limit(_: int) -> None:
        out = io.BytesIO()
        with raw.cursor() as cursor:
            cursor.copy_expert(query, out)
        raw.commit()
        rows = np.frombuffer(out.getbuffer(), row, SYMBOLS * LOADED, 19)
        columns = [rows["time"].astype(np.int64), *(rows[name].astype(np.float64) for name in COLUMNS)]
        assert all(len(column) == SYMBOLS * LOADED for column in columns)

    def ours(_: int) -> None:
        found = storage.load_frames(wanted)
        assert sum(map(len, found.values())) == SYMBOLS * LOADED

    began = time.perf_counter()
    singly = [storage.load_candles(series.symbol, LOADED, timeframe="3m") for series in SERIES]
    told = f"one series after the other {1000 * (time.perf_counter() - began):.0f} ms for {len(singly)}"
    pairs = in_turns(ours, limit, ROUNDS)
    what = "200 bars x 50 symbols loaded from PostgreSQL; lateral COPY BINARY, decoded by numpy"
    return compared("candle_load", what, "ms", pairs, 1.5, details=told)

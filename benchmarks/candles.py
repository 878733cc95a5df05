"""Saving closed bars: one batch through the storage, against the way the original bot did it."""

from __future__ import annotations

import statistics
import time

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import NullPool

from domain.candle import Bars, Series
from domain.source import Source
from persistence.candles import PostgresCandleStorage
from persistence.database import Database
from tests.servers import Postgres

SYMBOLS, ROUNDS = 50, 15
STEPS = {"3m": 180_000, "15m": 900_000}


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


def batch(number: int) -> dict[Series, Bars]:
    """Return one closed bar for every symbol and timeframe."""
    rng = np.random.default_rng(number)
    frames = {}
    for i in range(SYMBOLS):
        for timeframe, step in STEPS.items():
            price = float(rng.uniform(1, 100))
            row = (number * step, price, price * 1.01, price * 0.99, price, 5.0, 5.0 * price)
            frames[Series(f"COIN{i}/USDT:USDT", timeframe)] = Bars.of([row])
    return frames


def original(engine: sa.Engine, frames: dict[Series, Bars]) -> None:
    """Save row by row: look, then insert or update, with a new connection for every symbol."""
    for series, bars in frames.items():
        with Session(engine) as session:
            for row in bars.rows():
                key = {"symbol": series.symbol[:20], "timeframe": series.timeframe, "timestamp": row.open_time}
                held = session.scalars(sa.select(Candle).filter_by(**key)).first()
                values = {"open": row.open, "high": row.high, "low": row.low, "close": row.close, "volume": row.volume}
                if held is None:
                    session.add(Candle(**key, **values))
                else:
                    for name, value in values.items():
                        setattr(held, name, value)
            session.commit()


def measure() -> tuple[float, str]:
    """Return how many times faster the storage is, and the medians."""
    server = Postgres()
    server.start()
    try:
        return _measure(server)
    finally:
        server.close()


def _measure(server: Postgres) -> tuple[float, str]:
    url = server.dsn("postgres")
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg2://"), poolclass=NullPool)
    Base.metadata.create_all(engine)
    database = Database(url)
    storage = PostgresCandleStorage(database, Source.SYNTHETIC)
    storage.save_all_frames(batch(0))
    ours, theirs = [], []
    for number in range(1, ROUNDS + 1):
        frames = batch(number)
        for save, times in ((storage.save_all_frames, ours), (lambda held: original(engine, held), theirs)):
            began = time.perf_counter()
            save(frames)
            times.append(time.perf_counter() - began)
    database.close()
    engine.dispose()
    fast, slow = statistics.median(ours), statistics.median(theirs)
    return slow / fast, f"{fast * 1000:.2f} ms against {slow * 1000:.0f} ms"

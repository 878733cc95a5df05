"""History: a million bars stored, their gaps found, a month exported; and what a download costs beside its budget."""

from __future__ import annotations

import asyncio
import io
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import sqlalchemy as sa

from benchmarks.measured import Measured, compared, in_turns
from benchmarks.stores import bare_table, with_postgres
from domain.candle import Series, resample, timeframe_ms
from domain.coverage import Span, missing
from domain.source import Source
from history.chain import Chain
from history.export import Material, export, side_by_side
from history.sources import dialects
from history.sources.exchange import ExchangeSource
from persistence.binary_copy import encoded
from persistence.budget import SharedBudget
from persistence.database import Database
from persistence.history import CandleHistory
from tests.venues import Venues, served, walk

if TYPE_CHECKING:
    from collections.abc import Callable

BARS, ROUNDS, STEP, START = 1_000_000, 5, 60_000, 1_577_836_800_000
SERIES = Series("BTC/USDT", "1m")
WINDOW = Span(START, START + BARS * STEP)
MONTH = 44_640
TIMEFRAMES = ("1m", "5m", "15m", "1h", "4h", "1d")
RAW_BYTES = 48
"""Of a bar in numpy: time and five values."""


def measure_bulk() -> list[Measured]:
    """Measure storing a million bars, new ones and the same again."""
    return with_postgres(_bulk)


def _bulk(database: Database, raw: Any) -> list[Measured]:
    bars, store = walk(BARS, START, STEP), CandleHistory(database)
    payload = encoded({1: bars})

    def copy(_: int) -> None:
        bare_table(raw)
        with raw.cursor() as cursor:
            cursor.copy_expert("COPY bare FROM STDIN (FORMAT binary)", io.BytesIO(payload))
        raw.commit()

    def save(number: int, expected: int) -> None:
        assert store.save(Source.BINANCE, SERIES._replace(symbol=f"COIN{number}/USDT"), bars).added == expected

    fresh = in_turns(lambda number: save(number, BARS), copy, ROUNDS, 1)
    again = in_turns(lambda number: save(number, 0), copy, ROUNDS, 1)
    beside = "raw binary COPY into a bare table with the same key"
    return [
        compared("candle_bulk", f"a million bars stored in an empty range; {beside}", "s", fresh, 1.6),
        compared("candle_bulk_again", f"the same million bars once more; {beside}", "s", again, 1.2),
        _storage(database),
    ]


def _storage(database: Database) -> Measured:
    with database.transaction(600) as connection:
        size, count = connection.execute(
            sa.text("SELECT pg_total_relation_size('ohlcv_binance'), (SELECT count(*) FROM ohlcv_binance)")
        ).one()
    what = "bytes of a stored bar in PostgreSQL, indexes included; raw numpy"
    return compared("storage", what, "bytes", [(size / count, RAW_BYTES)], 3, details=f"{count:,} bars")


def measure_gaps() -> list[Measured]:
    """Measure finding exact gaps in a million stored bars."""
    return with_postgres(_gaps)


def _gaps(database: Database, raw: Any) -> list[Measured]:
    bars, store = walk(BARS, START, STEP), CandleHistory(database)
    keep = np.random.default_rng(1).random(BARS) > 0.001
    store.save(Source.BINANCE, SERIES, bars.where(keep))
    with database.transaction(600) as connection:
        connection.execute(sa.text("ANALYZE ohlcv_binance"))
    found = 0
    row = np.dtype([("fields", ">i2"), ("size", ">i4"), ("time", ">i8")])

    def gaps(_: int) -> None:
        nonlocal found
        found = len(missing(store.times(Source.BINANCE, SERIES, WINDOW), WINDOW, STEP))

    def reference(_: int) -> None:
        out = io.BytesIO()
        with raw.cursor() as cursor:
            cursor.copy_expert("COPY (SELECT open_time FROM ohlcv_binance ORDER BY 1) TO STDOUT (FORMAT binary)", out)
        raw.commit()
        held = np.frombuffer(out.getbuffer(), row, int(keep.sum()), 19)["time"].astype(np.int64)
        assert (np.diff(held) > STEP).sum() > 0

    pairs = in_turns(gaps, reference, ROUNDS)
    what = "exact gaps of a million stored bars; COPY BINARY of the times and numpy's diff"
    return [compared("gaps", what, "ms", pairs, 1.5, details=f"{found} gaps")]


def measure_export() -> list[Measured]:
    """Measure exporting a month to freqtrade."""
    return with_postgres(_export)


def _export(database: Database, raw: Any) -> list[Measured]:
    del raw
    bars, store = walk(MONTH, START, STEP), CandleHistory(database)
    window = Span(START, START + MONTH * STEP)
    held = {one: bars if one == "1m" else resample(bars, timeframe_ms(one), STEP) for one in TIMEFRAMES}
    for timeframe, own in held.items():
        store.save(Source.BINANCE, Series("BTC/USDT", timeframe), own)
    with tempfile.TemporaryDirectory() as folder:

        def read(timeframe: str) -> Material:
            series = Series("BTC/USDT", timeframe)
            return Material(series, window, store.load(Source.BINANCE, series, window), ())

        def ours(_: int) -> None:
            export(side_by_side(read, TIMEFRAMES), Path(folder), "feather", "spot")

        def plain(_: int) -> None:
            for timeframe, own in held.items():
                times = pa.array(own.open_time.astype("datetime64[ms]"), pa.timestamp("ms", tz="UTC"))
                values = (own.open, own.high, own.low, own.close, own.volume)
                table = pa.table([times, *values], names=["date", "open", "high", "low", "close", "volume"])
                pyarrow.feather.write_feather(table, Path(folder) / f"plain-{timeframe}.feather", compression="lz4")

        pairs = in_turns(ours, plain, 3 * ROUNDS)
    what = "a month of 1m bars exported to six freqtrade feather files; arrays in memory to the same files"
    return [compared("export", what, "ms", pairs, 6)]


def measure_download() -> list[Measured]:
    """Measure what a download takes of a core while its rate budget holds it back."""
    venues = Venues()
    venues.put("bybit", "BTC/USDT:USDT", "1m", walk(200_000, START, STEP))
    with tempfile.TemporaryDirectory() as folder, served(venues):
        database = Database(f"sqlite:///{folder}/history.sqlite")
        store = CandleHistory(database)
        budget = SharedBudget(Path(folder) / "host.rate", 600, 5, 0.5)
        source = ExchangeSource(dialects.Bybit(), lambda _: budget, address=venues.address)

        async def download() -> None:
            chain = Chain([source], store, lambda *_: None)
            await chain.fill(Series("BTC/USDT:USDT", "1m"), Span(START, START + 200_000 * STEP))
            await chain.close()

        lasted, busy = _busy(lambda: asyncio.run(download()))
        database.close()
    what = "seconds that a download keeps its loop busy; how long its rate budget makes it last"
    return [
        compared("download", what, "s", [(busy, lasted)], 0.5, details=f"200,000 bars, {200 / lasted:.0f} requests/s")
    ]


def _busy(work: Callable[[], object]) -> tuple[float, float]:
    began, busy = time.perf_counter(), time.thread_time()
    work()
    return time.perf_counter() - began, time.thread_time() - busy

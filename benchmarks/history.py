"""History: a million bars upserted, their gaps found, exported; and what a download costs beside its rate budget."""

from __future__ import annotations

import asyncio
import io
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from domain.candle import COLUMNS, Series
from domain.coverage import Span, missing
from domain.source import Source
from formats import freqtrade
from history.chain import Chain
from history.export import Material, export
from history.sources import dialects
from history.sources.exchange import ExchangeSource
from persistence import candles as stored
from persistence.budget import SharedBudget
from persistence.database import Database
from persistence.history import CandleHistory
from tests.servers import Postgres
from tests.venues import Venues, served, walk

if TYPE_CHECKING:
    from collections.abc import Callable

BARS, ROUNDS, STEP, START = 1_000_000, 3, 60_000, 1_577_836_800_000
SERIES = Series("BTC/USDT", "1m")
WINDOW = Span(START, START + BARS * STEP)


def _timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _with_server(measure: Callable[[Database, Any], tuple[float, str]]) -> tuple[float, str]:
    server = Postgres()
    server.start()
    database = Database(server.dsn("postgres"))
    try:
        with database.transaction(600) as connection:
            return measure(database, connection.connection.driver_connection)
    finally:
        database.close()
        server.close()


def measure_upsert() -> tuple[float, str]:
    """Return the rate of an upsert as a share of a raw COPY of the same rows into a bare table with the same key."""

    def measure(database: Database, raw: Any) -> tuple[float, str]:
        bars, store, ours, theirs = walk(BARS, START, STEP), CandleHistory(database), [], []
        payload = stored._copy_rows({1: bars})
        with raw.cursor() as cursor:
            columns = ", ".join(f"{name} float8" for name in COLUMNS)
            cursor.execute(
                f"CREATE TABLE bare (series_id int, open_time bigint, {columns}, PRIMARY KEY (series_id, open_time))"
            )
            raw.commit()
            for number in range(ROUNDS):
                series = SERIES._replace(symbol=f"COIN{number}/USDT")
                ours.append(_timed(lambda series=series: store.save(Source.BINANCE, series, bars)))
                cursor.execute("TRUNCATE bare")
                raw.commit()

                def copy() -> None:
                    cursor.copy_expert("COPY bare FROM STDIN (FORMAT binary)", io.BytesIO(payload))
                    raw.commit()

                theirs.append(_timed(copy))
        fast, slow = statistics.median(theirs), statistics.median(ours)
        return fast / slow, f"{BARS / slow:,.0f} bars/s against COPY's {BARS / fast:,.0f}"

    return _with_server(measure)


def measure_gaps() -> tuple[float, str]:
    """Return how many times as long exact gaps take as COPY of the times and numpy's diff."""

    def measure(database: Database, raw: Any) -> tuple[float, str]:
        bars, store = walk(BARS, START, STEP), CandleHistory(database)
        keep = np.random.default_rng(1).random(BARS) > 0.001
        store.save(Source.BINANCE, SERIES, type(bars)(*(column[keep] for column in bars.columns())))
        ours, theirs, found = [], [], 0

        def gaps() -> None:
            nonlocal found
            found = len(missing(store.times(Source.BINANCE, SERIES, WINDOW), WINDOW, STEP))

        def reference() -> None:
            out = io.BytesIO()
            with raw.cursor() as cursor:
                cursor.copy_expert(
                    "COPY (SELECT open_time FROM ohlcv_binance ORDER BY 1) TO STDOUT (FORMAT binary)", out
                )
            held = np.frombuffer(out.getbuffer(), np.dtype([("f", ">i2"), ("s", ">i4"), ("t", ">i8")]), keep.sum(), 19)[
                "t"
            ]
            assert (np.diff(held) > STEP).sum() >= found - 2

        for _ in range(ROUNDS):
            ours.append(_timed(gaps))
            theirs.append(_timed(reference))
        fast, slow = statistics.median(ours), statistics.median(theirs)
        return fast / slow, f"{fast * 1000:.0f} ms for {found} gaps against {slow * 1000:.0f} ms"

    return _with_server(measure)


def measure_export() -> tuple[float, str]:
    """Return how many times as long an export takes as reading the bars and writing them by pyarrow."""

    def measure(database: Database, raw: Any) -> tuple[float, str]:
        del raw
        bars, store, ours, theirs = walk(BARS, START, STEP), CandleHistory(database), [], []
        store.save(Source.BINANCE, SERIES, bars)
        with tempfile.TemporaryDirectory() as folder:

            def whole() -> None:
                held = store.load(Source.BINANCE, SERIES, WINDOW)
                export([Material(SERIES, WINDOW, held, ())], Path(folder), "feather", "spot")

            def plain() -> None:
                held = store.load(Source.BINANCE, SERIES, WINDOW)
                (Path(folder) / "plain.feather").write_bytes(freqtrade.encode_bars(held, "feather"))

            for _ in range(ROUNDS):
                ours.append(_timed(whole))
                theirs.append(_timed(plain))
        fast, slow = statistics.median(ours), statistics.median(theirs)
        return fast / slow, f"{fast:.2f} s against {slow:.2f} s for a million bars"

    return _with_server(measure)


def measure_download() -> tuple[float, str]:
    """Return the share of a core that a download from a local server takes while its rate budget holds it back."""
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

        began, busy = time.perf_counter(), time.thread_time()
        asyncio.run(download())
        lasted, busy = time.perf_counter() - began, time.thread_time() - busy
        database.close()
    return busy / lasted, f"200,000 bars in {lasted:.1f} s, {200 / lasted:.0f} requests/s, the loop busy {busy:.1f} s"

"""The event loop while the page's overview is open behind 100,000 closed trades, and one more closes every second."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import sys
import tempfile
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa
import uvicorn
from msgspec.structs import replace

from app.desk import Desk
from benchmarks.lag import P99_MS, idle, probe
from benchmarks.measured import Measured, compared
from benchmarks.stores import with_postgres
from daemon.live import TURN_S
from dashboard.access import Access
from dashboard.app import build
from dashboard.metrics import Exposed
from dashboard.services import Services
from dashboard.stream import Hub
from persistence import schema
from persistence.journal import Journal
from persistence.ledger import LayeredLedger
from persistence.trade_table import COLUMNS
from persistence.trades import TradeTrackerPostgres
from tests.page_desk import TOKEN, MadeUpStored, MadeUpWorks
from tests.torture import writer

if TYPE_CHECKING:
    from domain.trade import Trade
    from persistence.database import Database

TRADES, OPEN_S, SYMBOLS, APART_S, FILLED_S = 100_000, 30, 50, 300, 120.0
OVERVIEW = ("equity", "results/day?count=7", "statistics", "trades?sort=pnl_usd")
PERSON = """
import sys, time, urllib.request
began = time.monotonic()
while time.monotonic() - began < float(sys.argv[2]):
    for path in sys.argv[3:]:
        urllib.request.urlopen(f"{sys.argv[1]}/api/v1/{path}", timeout=20).read()
    time.sleep(1)
"""


def measure() -> list[Measured]:
    """Measure the lag of the loop with the page open beside that of the same loop idle."""
    return with_postgres(lambda database, _: asyncio.run(_measure(database)))


async def _measure(database: Database) -> list[Measured]:
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "journal", writer.WHO)
        tracker = TradeTrackerPostgres(database, LayeredLedger(journal), writer.WHO, lambda: writer.NOW)
        await asyncio.to_thread(_fill, database, tracker)
        held = len(tracker.trades())
        desk = _desk(tracker)
        turn = sys.getswitchinterval()
        # as the daemon does
        sys.setswitchinterval(TURN_S)
        tracker.start()
        gc.collect()
        gc.freeze()
        quiet, lags = await idle(), await _opened(desk, tracker)
        gc.unfreeze()
        sys.setswitchinterval(turn)
        desk.close()
        await asyncio.to_thread(tracker.close, 5)
        journal.close()
    p99, still = (float(np.percentile(one, 99)) for one in (lags, quiet))
    told = f"{held:,} trades at hand, max {max(lags):.1f} ms; {', '.join(OVERVIEW)} asked again and again"
    what = f"loop lag p99 with the page open, {TRADES:,} closed trades, one more each second; idle"
    return [compared("page_lag", what, "ms", [(p99, still)], P99_MS, absolute=True, details=told)]


def _fill(database: Database, tracker: TradeTrackerPostgres) -> None:
    rows = [{name: getattr(trade, name) for name in COLUMNS} for trade in map(_trade, range(TRADES))]
    with database.transaction(FILLED_S) as connection:
        connection.execute(sa.insert(schema.trades), rows)
    tracker.load()


def _trade(number: int) -> Trade:
    one = writer.trade(1)
    apart = timedelta(seconds=APART_S * (number - TRADES))
    return replace(
        one, trade_id=f"page-{number}", symbol=f"C{number % SYMBOLS}/USDT:USDT", exit_time=writer.NOW + apart, legs=(),
        entry_time=writer.NOW + apart - timedelta(hours=1), pnl_usd=Decimal(number * 7_919 % 1_900 - 900) / 100,
        source=writer.WHO.source, mode=writer.WHO.mode, account=writer.WHO.account,
    )  # fmt: skip


def _desk(tracker: TradeTrackerPostgres) -> Desk:
    bot: Any = SimpleNamespace(
        parts=SimpleNamespace(trades=tracker), pulse=dict, feed=SimpleNamespace(prices={}),
        runtime=SimpleNamespace(market_time=lambda: writer.NOW.timestamp() * 1000),
    )  # fmt: skip
    ground: Any = SimpleNamespace(settings=None, who=writer.WHO, symbols=[f"C{n}/USDT:USDT" for n in range(SYMBOLS)])
    recent: Any = None
    return Desk(ground, bot, recent)


async def _opened(desk: Desk, tracker: TradeTrackerPostgres) -> list[float]:
    """Have a person's browser look at the overview, in a process of its own."""
    lags: list[float] = []
    hub, stored = Hub(desk.pulse), MadeUpStored()
    access = Access("", TOKEN, viewer="", open=True, session_s=3600)

    async def audit(_: dict[str, Any]) -> None:
        """Nothing is done that would be noted."""

    services = Services(desk, stored, MadeUpWorks(), access, hub, audit)
    app = build(services, Exposed(desk, stored, hub), ("127.0.0.1",), 1_000.0)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        person = await asyncio.create_subprocess_exec(sys.executable, "-c", PERSON, address, str(OPEN_S), *OVERVIEW)
        tasks = [asyncio.create_task(one) for one in (probe(lags), _closing(tracker))]
        try:
            async with asyncio.timeout(4 * OPEN_S):
                assert await person.wait() == 0, "the page did not answer"
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if person.returncode is None:
                person.kill()
            server.should_exit = True
            with contextlib.suppress(asyncio.CancelledError):
                await serving
    return lags


async def _closing(tracker: TradeTrackerPostgres) -> None:
    number = TRADES
    while True:
        number += 1
        await asyncio.to_thread(tracker.add_trade, _trade(number))
        await asyncio.sleep(1)

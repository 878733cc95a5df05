"""A restart on a journal of many trades: how long until the bot trades again."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
import zlib
from datetime import timedelta
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from domain import ids
from domain.exits import ExitPlan
from domain.ids import Identity
from domain.order import Cause, OrderKind, OrderSide, Side
from domain.records import Close, Fill, Intent, Opening, Record
from domain.trade import Leg
from persistence.journal import SCHEMA, Header, segments_of
from tests.torture import writer
from tests.torture.world import World, learn_churn

WHO = Identity("synthetic", "synthetic", "1000001")
PER_SEGMENT = 10_000


def records(number: int, begin: int) -> list[Record]:
    """Return what one closed trade leaves in the journal: intent, entry, exit, close."""
    time_ms = begin + number * 1_000
    digest = ids.signal_digest(WHO, "churn", "BTC/USDT:USDT", "3m", time_ms)
    entry = ids.order_id(digest, "e", 0, paper=False)
    opening = Opening("churn", "3m", time_ms, Side.LONG, D(100), D(99), D(101), ExitPlan(), D(5))
    intent = Intent(time=time_ms, order_id=entry, symbol="BTC/USDT:USDT", side=OrderSide.BUY, kind=OrderKind.MARKET,
                    qty=D(1), opening=opening)  # fmt: skip
    fills = [
        Fill(time=time_ms + i, exec_id=f"made-{number}-{i}", order_id=entry if not i else "", venue_order_id=f"v{number}-{i}",
             symbol="BTC/USDT:USDT", side=OrderSide.SELL if i else OrderSide.BUY, qty=D(1), price=D(100 + i), fee=D("0.055"),
             closed_qty=D(i), cause=Cause.TAKE_PROFIT if i else Cause.ENTRY)
        for i in (0, 1)
    ]  # fmt: skip
    end = writer.NOW + timedelta(milliseconds=time_ms - begin)
    legs = tuple(Leg(exec_id=f.exec_id, time=end, qty=f.qty, price=f.price, fee=f.fee, cause=f.cause.value, closing=bool(f.closed_qty))
                 for f in fills)  # fmt: skip
    trade = replace(writer.trade(number), trade_id=ids.trade_id(digest), symbol="BTC/USDT:USDT", exit_time=end, legs=legs,
                    source=WHO.source, mode=WHO.mode, account=WHO.account)  # fmt: skip
    return [intent, *fills, Close(time=time_ms + 1, trade=trade)]


def write_journal(folder: Path, trades: int, begin: int) -> int:
    """Put so many trades into a journal, after what is there; return its size in bytes."""
    number = max((int(path.stem) for path in segments_of(folder)), default=0)
    last = sum(path.read_bytes().count(b"\n") - 1 for path in segments_of(folder))
    encode, size = msgspec.json.encode, 0
    for first in range(0, trades, PER_SEGMENT):
        number += 1
        lines = [_seal(encode(Header(SCHEMA, number, *WHO, first=last + 1)))]
        for i in range(first, min(trades, first + PER_SEGMENT)):
            for record in records(i, begin):
                last += 1
                lines.append(_seal(b'{"n":%d,"r":%b}' % (last, encode(record))))
        data = b"".join(lines)
        (folder / f"{number:06d}.jsonl").write_bytes(data)
        size += len(data)
    return size


def run(folder: Path, trades: int = 100_000, restarts: int = 3) -> dict[str, Any]:
    """Fill a journal, kill the bot, and measure from process start to trading."""
    learn_churn()
    world = World(folder, REVENANT__SANDBOX__SPEED="60", REVENANT__SANDBOX__SYMBOLS="50", REVENANT__TRADING__TOP="50",
                  REVENANT__TRADING__HISTORY_BARS="1000")  # fmt: skip
    began = time.monotonic()
    took, recovery = [], []
    try:
        world.start_for_real()
        world.bot.wait_ready()
        world.bot.wait_for("bars to be stored", lambda s: s["candles_waiting"] == 0)
        os.kill(world.bot.process.pid, signal.SIGKILL)
        world.bot.process.wait()
        with sqlite3.connect(world.bot.practice_folder() / "exchange.sqlite") as db:
            begin = (
                int(db.execute("SELECT body FROM meta WHERE name = 'processed_until'").fetchone()[0])
                - trades * 1_000
                - 86_400_000
            )
        (journal,) = (world.bot.data / "journal").iterdir()
        size = write_journal(journal, trades, begin)
        for _ in range(restarts):
            (world.bot.data / "dashboard.json").unlink(missing_ok=True)
            start = time.monotonic()
            world.start_for_real()
            status = world.bot.wait_for("to trade again", lambda s: s["ready"], 120)
            took.append(time.monotonic() - start)
            recovery.append(status["recovery_s"])
            world.bot.wait_for("trades to settle", lambda s: s["tiers"]["database"]["waiting"] == 0, 240)
            os.kill(world.bot.process.pid, signal.SIGKILL)
            world.bot.process.wait()
        settled = int(world.postgres.sql("SELECT count(*) FROM trades")[0][0])
    finally:
        world.close()
    return {
        "trades": trades, "journal_mb": round(size / 1e6, 1), "start_to_trading_s": [round(one, 2) for one in took],
        "recovery_s": recovery, "settled": settled, "clean": max(took) <= 10 and settled >= trades,
        "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip


def _seal(body: bytes) -> bytes:
    return b"%08x %b\n" % (zlib.crc32(body), body)

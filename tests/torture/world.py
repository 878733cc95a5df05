"""What the tortured bot lives in: its folder, its servers, the proxy before them, and the judgement at the end."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import settings as settings_module
from bootstrap import inspection, parts
from daemon import live
from dashboard.logs import Recent
from domain.ids import parse_order_id
from domain.records import Level
from domain.source import Source
from persistence.trades import TradeTrackerPostgres
from sandbox.delays import LISTS
from strategies.table import TABLE
from tests import servers
from tests.bot import Bot
from tests.pace import followable
from tests.proxy import ProxyProcess
from tests.torture.churn import Churn

ROOT = Path(__file__).parents[2]


TRADING = {
    "REVENANT__SANDBOX__SPEED": str(followable(900)), "REVENANT__ML__RULE_FLOOR": "0",
    "REVENANT__STRATEGIES": "{churn: {parameters: {reach: 0.01}, exits: {partial_r: 0.6, timeout_bars: 6}}}",
}  # fmt: skip
"""Lets the strategy that trades all the time do so: its orders arrive before the price has left their stop and target
behind, and the rule does not refuse them for their costs."""


def learn_churn() -> None:
    """Let the bot of this process know the strategy that trades all the time."""
    TABLE["churn"] = Churn  # type: ignore[index]


@dataclass
class Judgement:
    """What was found at the end."""

    acknowledged: int
    trades: int
    closed_on_exchange: int
    lost: int
    doubled: int
    missing: int
    differing: int
    audited: int
    audit_faults: int
    unaudited: int
    partial_targets: int
    partial_wrong: int

    @property
    def clean(self) -> bool:
        wrong = self.lost or self.doubled or self.missing or self.differing or self.audit_faults or self.partial_wrong
        return not wrong


class World:
    """A folder with a bot, its database behind a proxy, and its practice exchange as the witness."""

    def __init__(self, folder: Path, *, postgres: bool = True, redis: bool = False, **more: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.postgres = servers.Postgres() if postgres else None
        self.redis = servers.Redis() if redis else None
        self.proxy: ProxyProcess | None = None
        environment = {
            "REVENANT__SANDBOX__SPEED": str(followable(3600)), "REVENANT__SANDBOX__SYMBOLS": "4",
            "REVENANT__SANDBOX__WALLET": "10000000",
            "REVENANT__TRADING__HISTORY_BARS": "100", "REVENANT__RISK__PERCENT": "0.01",
            "REVENANT__RISK__DAILY_LOSS_PERCENT": "99", "REVENANT__RISK__PROTECTIONS": "[]",
            "REVENANT__STRATEGIES": "{churn: {exits: {partial_r: 0.6, timeout_bars: 6}}}",
            "REVENANT_CONFIG": str(folder / "none.yaml"),
        }  # fmt: skip
        if self.postgres is not None:
            self.postgres.start()
            self.proxy = ProxyProcess(self.postgres.port)
            environment["DATABASE_URL"] = f"postgresql://revenant@127.0.0.1:{self.proxy.port}/postgres"
        if self.redis is not None:
            self.redis.start()
            environment["REDIS_URL"] = self.redis.url
        self.bot = Bot(folder, **{**environment, **more})
        self.acks = folder / "acks"
        self.acks.touch()

    def fork(self) -> int:
        """Start the bot as a fork of this process, which must have no threads; return its process id."""
        pid = os.fork()
        if pid:
            return pid
        code = 99
        try:
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)
            out = os.open(self.folder / "bot.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(out, 1)
            os.dup2(out, 2)
            random.seed()
            code = self._live()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def _live(self) -> int:
        for name, value in self.bot.environment.items():
            os.environ[name] = value
        os.chdir(self.folder)
        settings = settings_module.load()
        parts.configure_logging(settings)
        self.log_acknowledgements()
        return asyncio.run(live.run(settings, Recent()))

    def log_acknowledgements(self) -> None:
        """Write down, as the bot's user would, each trade that was acknowledged."""
        handle = os.open(self.acks, os.O_WRONLY | os.O_APPEND)
        real = TradeTrackerPostgres.add_trade

        def add_trade(tracker: TradeTrackerPostgres, trade: Any) -> Level:
            level = real(tracker, trade)
            if level > Level.MEMORY:
                os.write(handle, f"{trade.trade_id}\n".encode())
            return level

        TradeTrackerPostgres.add_trade = add_trade  # type: ignore[method-assign]

    def start_for_real(self) -> subprocess.Popen[bytes]:
        """Start the bot as a fresh process."""
        with (self.folder / "bot.log").open("ab") as log:
            self.bot.process = subprocess.Popen(
                [sys.executable, "-m", "tests.torture.bot", str(self.acks)], cwd=ROOT,
                env={**self.bot.environment, "PYTHONPATH": str(ROOT)}, stdout=log, stderr=log,
            )  # fmt: skip
        return self.bot.process

    def finish(self) -> Judgement:
        """Give the bot one undisturbed life, let it settle and stop, and compare everything."""
        if self.proxy is not None:
            self.proxy.tell("pass")
        with contextlib.suppress(StopIteration, FileNotFoundError):
            # there may have been no time for an exchange to begin
            self.bot.tell_exchange(reset=True)
        (self.bot.data / "dashboard.json").unlink(missing_ok=True)
        self.start_for_real()
        self.bot.wait_for("recovery", lambda s: "recovery has not finished" not in s["reasons"], 120)
        return self.finish_running()

    def finish_running(self) -> Judgement:
        """Stop trading, close everything, let it settle, end the bot, and compare everything."""
        self.bot.manage("stop")
        self.bot.manage("forceexit", "all")
        self.bot.wait_for("all positions to be closed", lambda s: not s["open"] and not s["pending"], 60)
        self.bot.manage("trades", "reconcile")
        self.bot.wait_for("everything to be settled", lambda s: s["tiers"]["database"]["waiting"] == 0, 60)
        # signals go on being followed, so something may always be on its way; the stop carries it, or it is counted
        self.bot.wait_for("the audit to follow", lambda s: s["tiers"]["audit"]["waiting"] < 10, 60)
        self.bot.wait_for("candles to be home", lambda s: s["candles_waiting"] < 100, 60)
        verdict = json.loads(self.bot.manage("trades", "verify", "--json").stdout)
        if verdict["details"]:
            print(verdict["details"])
        assert self.bot.stop() == 0, self.bot.log()[-3000:]
        audit = json.loads(self.bot.manage("audit", "verify", "--json").stdout)
        for fault in audit["faults"][:5]:
            print(fault)
        acknowledged = set(self.acks.read_text().split())
        table = self.table()
        gone = acknowledged - set(table)
        closed = closed_positions(self.bot)
        counted = {exec_id for legs in table.values() for exec_id in legs}
        missing = [run for run in closed if not run <= counted]
        each = [exec_id for legs in table.values() for exec_id in legs]
        return Judgement(
            acknowledged=len(acknowledged), trades=len(table), closed_on_exchange=len(closed),
            lost=len(gone) + verdict["lost"], doubled=len(each) - len(set(each)) + verdict["doubled"],
            missing=len(missing) + verdict["missing"], differing=verdict["differing"],
            audited=audit["rows"], audit_faults=len(audit["faults"]), unaudited=audit["unsettled"],
            **partial_targets(self.bot),
        )  # fmt: skip

    def table(self) -> dict[str, list[str]]:
        """Return the trades in the database with the executions that they count, funding left out."""
        query = (
            "SELECT t.trade_id, f.exec_id FROM trades t JOIN trade_fills f USING (trade_id) WHERE f.cause <> 'funding'"
        )
        if self.postgres is not None:
            rows = self.postgres.sql(query)
        else:
            with self.bot.database() as db:
                rows = db.execute(query).fetchall()
        held: dict[str, list[str]] = {}
        for trade_id, exec_id in rows:
            held.setdefault(str(trade_id), []).append(str(exec_id))
        return held

    def close(self) -> None:
        self.bot.close()
        if self.proxy is not None:
            self.proxy.close()
        for server in (self.postgres, self.redis):
            if server is not None:
                server.close()


def trouble_exchange(bot: Bot, draw: random.Random) -> str:
    """Have the exchange do what real ones do: fill in slices, end what it accepted, show lists late; return which."""
    kind = draw.choice(["none", "none", "slices", "ends", "late"])
    switches: dict[str, Any] = {"reset": True}
    if kind == "slices":
        switches["slices"] = {"parts": draw.randint(2, 8), "apart_ms": draw.choice([0, 100, 400])}
    elif kind == "ends":
        switches["end_orders"] = {
            "leg": draw.choice(["e", "p", "x"]), "times": draw.randint(1, 3), "share": draw.choice([0, 0.01, 0.4, 0.9]),
            "after_ms": draw.choice([0, 200]),
        }  # fmt: skip
    elif kind == "late":
        late = draw.sample([*LISTS, "execution", "order", "position"], 3)
        switches["delay_lists"] = {one: draw.randint(50, 1_500) for one in late}
    with contextlib.suppress(OSError, StopIteration, ValueError, KeyError):
        # it may not have been started yet
        bot.tell_exchange(**switches)
    return kind


def partial_targets(bot: Bot) -> dict[str, int]:
    """Count, by the exchange's own record, partial targets, and those that are not half of what their entry filled."""
    filled: dict[str, Decimal] = {}
    first: dict[str, tuple[str, Decimal]] = {}
    for order in sorted(bot.exchange_rows("orders"), key=lambda row: row["sequence"]):
        name = parse_order_id(order["link_id"])
        if name is not None and name.leg == "e":
            filled[name.digest] = Decimal(order["filled"])
        elif name is not None and name.leg == "p":
            first.setdefault(name.digest, (order["symbol"], Decimal(order["qty"])))
    rules = parts.known_rules(settings_module.load(environment=bot.environment), Source.SYNTHETIC)
    wrong = [
        digest for digest, (symbol, qty) in first.items()
        if qty != rules[symbol].floor_qty(filled.get(digest, Decimal(0)) / 2)
    ]  # fmt: skip
    return {"partial_targets": len(first), "partial_wrong": len(wrong)}


def closed_positions(bot: Bot) -> list[set[str]]:
    """Return, by the exchange's own record, the executions of each position that was opened and closed again."""
    net: dict[str, Decimal] = {}
    current: dict[str, set[str]] = {}
    closed = []
    with sqlite3.connect(f"file:{bot.practice_folder() / 'exchange.sqlite'}?mode=ro", uri=True) as db:
        rows = [json.loads(row[0]) for row in db.execute("SELECT body FROM executions ORDER BY sequence")]
    for row in rows:
        if row["kind"] != "Trade":
            continue
        symbol = row["symbol"]
        net[symbol] = net.get(symbol, Decimal(0)) + Decimal(row["qty"]) * (1 if row["side"] == "Buy" else -1)
        current.setdefault(symbol, set()).add(row["id"])
        if not net[symbol]:
            closed.append(current.pop(symbol))
    return closed


def wait_for_end(pid: int, seconds: float) -> int | None:
    """Wait so long for a child; return its status, None when it still runs."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    return None


def verify(world: World) -> Any:
    """Run the bot's own comparison in this process."""
    settings = settings_module.load(environment=world.bot.environment)
    return asyncio.run(inspection.verify(settings, running=None))

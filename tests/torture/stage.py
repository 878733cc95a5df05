"""A whole bot that trades for real on a practice exchange, with a liar between them, and all that can be done to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import mmap
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

from commands.running import OwnConnection
from tests import servers
from tests.bot import PATIENCE, Bot, exchange_alone, until
from tests.pace import followable
from tests.torture.bot import FROZEN
from tests.torture.liar import LiarProcess
from tests.torture.trouble import Trouble, compiler
from tests.torture.world import TRADING

ROOT = Path(__file__).parents[2]
SYMBOLS = 4
LIVE = {
    "REVENANT__TRADING__MODE": "live", "REVENANT__ML__UNTRAINED": "rule", "LIVE_CONFIRM": "1000001",
    "BYBIT_API_KEY": "practice-key", "BYBIT_API_SECRET": "practice-secret",
    "REVENANT__TRADING__HISTORY_BARS": "100", "REVENANT__RISK__PERCENT": "0.01", "REVENANT__RISK__PROTECTIONS": "[]",
    "REVENANT__RISK__DAILY_LOSS_PERCENT": "99", "REVENANT__ML__EXECUTED_MIN": "100000", **TRADING,
}  # fmt: skip
PLAIN = {"REVENANT__STRATEGIES": "{}"}
"""What a command that runs without the bot is given: it knows nothing of the strategy of the tests."""

ASK_S = 10.0


class Stage:
    """Exchange, liar, database and bot; ``host`` says whether its host can be troubled as well."""

    def __init__(self, folder: Path, *, postgres: bool = False, host: bool = False) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self._stack = contextlib.ExitStack()
        settings = self._stack.enter_context(exchange_alone(folder, followable(300), SYMBOLS))
        self.liar = LiarProcess(settings["REVENANT__BYBIT__REST"].removeprefix("http://"))
        self._stack.callback(self.liar.close)
        settings["REVENANT__BYBIT__REST"] = f"http://127.0.0.1:{self.liar.port}"
        settings["REVENANT__BYBIT__STREAMS"] = json.dumps([f"ws://127.0.0.1:{self.liar.port}"])
        self.postgres = servers.Postgres() if postgres else None
        if self.postgres is not None:
            self.postgres.start()
            self._stack.callback(self.postgres.close)
            settings["DATABASE_URL"] = self.postgres.dsn("postgres")
        self.bot = Bot(folder / "bot", **settings, **LIVE, REVENANT_CONFIG=str(folder / "none.yaml"))
        self._stack.callback(self.bot.close)
        self.trouble = Trouble(folder, self.bot.data) if host and compiler() else None
        self._page = self._frozen_page()
        self._acks = folder / "acks"
        self._acks.touch()

    def _frozen_page(self) -> mmap.mmap:
        path = self.folder / "frozen"
        path.write_bytes(FROZEN.pack(0.0))
        with path.open("r+b") as opened:
            return mmap.mmap(opened.fileno(), FROZEN.size)

    def start(self) -> None:
        """Start the bot."""
        (self.bot.data / "dashboard.json").unlink(missing_ok=True)
        environment = {**self.bot.environment, "PYTHONPATH": str(ROOT)}
        if self.trouble is not None:
            environment |= self.trouble.environment
        with (self.bot.folder / "bot.log").open("ab") as log:
            self.bot.process = subprocess.Popen(
                [sys.executable, "-m", "tests.torture.bot", str(self._acks), str(self.folder / "frozen")], cwd=ROOT,
                env=environment, stdout=log, stderr=log, preexec_fn=servers.die_with_parent,
            )  # fmt: skip

    def alive(self) -> bool:
        """Return whether the bot's process runs."""
        return self.bot.process is not None and self.bot.process.poll() is None

    def ask(self, path: str, **body: Any) -> dict[str, Any]:
        """Ask the bot as the owner does, or have it do something; a refusal has the key ``error``."""
        connection = OwnConnection(self.bot.data / "bot.sock", ASK_S)
        try:
            sent = json.dumps({"confirm": True, **body}).encode() if body else None
            connection.request("POST" if body else "GET", f"/api/v1{path}", sent, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            told = json.loads(answer.read())
            return told if answer.status < http.HTTPStatus.BAD_REQUEST else {"error": told}
        except (OSError, http.client.HTTPException, ValueError) as error:
            return {"error": repr(error)}
        finally:
            connection.close()

    def wait_ready(self, seconds: float = 60.0) -> dict[str, Any]:
        """Wait until the bot may trade; raises AssertionError with what keeps it."""

        def ready() -> dict[str, Any] | None:
            assert self.alive(), (
                f"the bot ended with {self.bot.process and self.bot.process.poll()}: {self.end_of_log()}"
            )
            status = self.ask("/status")
            return status if status.get("ready") else None

        try:
            return dict(until(ready, "the bot to be ready", seconds))
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.ask('/status').get('reasons')}") from error

    def let_in(self) -> None:
        """Let entries in."""
        until(lambda: "error" not in self.ask("/switch", state="running", reason="torture"), "entries to be let in")

    def wait_open(self, count: int = 1) -> dict[str, Any]:
        """Wait for open positions."""
        return dict(until(
            lambda: (s := self.ask("/status")).get("open", 0) >= count and s, f"open positions {self.ask('/status')}",
        ))  # fmt: skip

    def wait_flat(self, seconds: float = 60.0) -> None:
        """Wait until bot and exchange have nothing open any more."""
        until(
            lambda: (s := self.ask("/status")).get("open") == 0 and not s["pending"] and not self.open_there(),
            "everything to be closed", seconds,
        )  # fmt: skip

    def open_there(self) -> dict[str, Decimal]:
        """Return what is open by the exchange's own record of executions: the witness."""
        net: dict[str, Decimal] = {}
        with sqlite3.connect(f"file:{self.folder / 'exchange' / 'exchange.sqlite'}?mode=ro", uri=True) as db:
            rows = [json.loads(row[0]) for row in db.execute("SELECT body FROM executions ORDER BY sequence")]
        for row in rows:
            if row["kind"] == "Trade":
                sign = 1 if row["side"] == "Buy" else -1
                net[row["symbol"]] = net.get(row["symbol"], Decimal(0)) + sign * Decimal(row["qty"])
        return {symbol: qty for symbol, qty in net.items() if qty}

    def bot_symbols(self, symbols: Iterable[str]) -> list[str]:
        """Return how the bot calls symbols of the exchange's record."""
        return [one if "/" in one else f"{one.removesuffix('USDT')}/USDT:USDT" for one in symbols]

    def manage(
        self, *arguments: str, alone: bool = False, troubled: bool = False, within: float = 60.0
    ) -> tuple[int, dict[str, Any], str]:  # fmt: skip
        """Run an operator's command; return its exit code, what it answered, and what it complained of.

        ``alone`` where no bot runs that could do it; ``troubled`` where the trouble of the host is the command's too.
        """
        environment = {**self.bot.environment, **(PLAIN if alone else {})}
        if troubled and self.trouble is not None:
            environment |= self.trouble.environment
        done = subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), *arguments, "--json"], cwd=self.bot.folder, env=environment,
            capture_output=True, text=True, check=False, timeout=within * PATIENCE,
        )  # fmt: skip
        try:
            body = json.loads(done.stdout or "{}")
        except ValueError:
            body = {"error": done.stdout}
        return done.returncode, body, done.stderr

    def frozen_s(self) -> float:
        """Return for how long the loop did not turn, at most, since this was asked last."""
        (longest,) = FROZEN.unpack(self._page[:])
        self._page[:] = FROZEN.pack(0.0)
        return float(longest)

    def failures(self) -> list[str]:
        """Return what tasks of the bot have died of so far, except of what it expects."""
        held = [line for line in self.bot.lines() if line["event"] == "task failed" and "exception" in line]
        return [f"{line['task']}: {line['reason'][:300]}" for line in held]

    def end_of_log(self) -> str:
        """Return the newest lines of the bot's log."""
        return self.bot.log()[-3000:]

    def end(self) -> int:
        """Stop the bot in good order; return its exit code."""
        assert self.bot.process is not None
        self.bot.process.send_signal(signal.SIGTERM)
        return self.bot.process.wait(60)

    def verdict(self) -> dict[str, int]:
        """Compare everything; return what is lost, doubled, missing and differing."""
        code, told, said = self.manage("trades", "verify", alone=not self.alive())
        figures = {name: int(told.get(name, -1)) for name in ("lost", "doubled", "missing", "differing")}
        return {**figures, "verify": code} if "error" not in told and figures["lost"] >= 0 else {
            **figures, "verify": code, "said": said[-500:],
        }  # type: ignore[dict-item]  # fmt: skip

    def close(self) -> None:
        """End everything."""
        if self.postgres is not None:
            self.postgres.thaw()
        self._stack.close()


def timed(began: float) -> float:
    """Return the seconds since then."""
    return round(time.monotonic() - began, 2)

"""The whole bot as a process, for tests that start, watch and kill it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from tests.pace import followable
from tests.preloaded import Started

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parent.parent
WAIT_S = 60.0
SPEED = str(followable(900))
"""How many times faster than real the market of a test goes: two bots at once have to follow it."""
LIVELY = {
    "REVENANT__STRATEGIES__SCALP__MARKETS": "all",
    "REVENANT__STRATEGIES__SCALP__PARAMETERS": json.dumps({
        "wick_min": 0.05, "body_min": 0.05, "volume_min": 0.3, "band_rank_min": 0.1, "distance_atr_max": 4, "reward_r": 1.0,
        "cooldown_bars": 1, "stop_atr": 0.2, "stop_min": 0.003, "stop_min_atr": 0.3,
    }),
    # the same three on every source, as a practice exchange may stand for any
    **{f"REVENANT__STRATEGIES__{name}__MARKETS": "all" for name in ("TREND_PULLBACK", "MEAN_REVERSION", "SCALP")},
    "REVENANT__STRATEGIES__BREAKOUT__ENABLED": "false",
    "REVENANT__RISK__PROTECTIONS": "[]", "REVENANT__RISK__DAILY_LOSS_PERCENT": "100", "REVENANT__RISK__MAX_COST_R": "0",
}  # fmt: skip
"""A strategy that gives ten times as many signals, and nothing that holds it back: most tests wait for trades."""
PATIENCE = 8
"""How many times slower than usual a machine may be: what is waited for in vain only fails later."""


def until(check: Callable[[], Any], what: str, seconds: float = WAIT_S) -> Any:
    """Ask again and again until the answer is true, and return it; ``seconds`` is how long that takes at most usually."""
    deadline, pause = time.monotonic() + seconds * PATIENCE, 0.05
    while time.monotonic() < deadline:
        found = check()
        if found:
            return found
        # what takes long is asked about less often: answering takes from the bot what it needs to get there
        time.sleep(pause)
        pause = min(0.5, pause * 1.1)
    raise AssertionError(f"waited {seconds * PATIENCE:.0f} s for {what}")


def control(note: dict[str, Any], path: str, **body: Any) -> None:
    """Have a practice exchange, of which ``note`` is the endpoint.json, do something."""
    request = urllib.request.Request(
        f"http://{note['host']}:{note['port']}/control/{path}", data=json.dumps(body).encode(), method="POST",
        headers={"Authorization": f"Bearer {note['token']}"},
    )  # fmt: skip
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert answer.status == 200


class Bot:
    """live_bot.py on a data folder, with settings from the environment."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        clean = {
            name: value for name, value in os.environ.items() if not name.startswith(("REVENANT", "DATABASE", "REDIS"))
        }
        self.environment = {
            **clean, "REVENANT__DATA_DIR": str(folder / "data"), "PORT": "0", "REVENANT__LOG_FORMAT": "json",
            "REVENANT__SANDBOX__SPEED": SPEED, "REVENANT__SANDBOX__SYMBOLS": "12", "REVENANT_CONFIG": str(ROOT / "config.yaml"),
            **LIVELY, **settings,
        }  # fmt: skip
        self.process: subprocess.Popen[bytes] | Started | None = None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def start(self, *arguments: str) -> None:
        (self.data / "dashboard.json").unlink(missing_ok=True)
        self.process = Started("live_bot", arguments, self.folder, self.environment, self.folder / "bot.log")

    def wait_ready(self) -> dict[str, Any]:
        def ready() -> dict[str, Any] | None:
            assert self.process is not None
            assert self.process.poll() is None, f"the bot ended: {self.log()[-3000:]}"
            status = self.status()
            return status if status and status["ready"] else None

        return until(ready, f"the bot to be ready ({self.status()})")

    def wait_for(self, what: str, check: Callable[[dict[str, Any]], bool], seconds: float = WAIT_S) -> dict[str, Any]:
        def asked() -> dict[str, Any] | None:
            status = self.status()
            return status if status and check(status) else None

        return until(asked, what, seconds)

    def get(self, path: str) -> tuple[int, dict[str, Any]] | None:
        try:
            note = json.loads((self.data / "dashboard.json").read_text())
            with urllib.request.urlopen(f"http://{note['host']}:{note['port']}{path}", timeout=5) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
        except (OSError, ValueError):
            return None

    def status(self) -> dict[str, Any] | None:
        answer = self.get("/api/v1/status")
        return answer[1] if answer else None

    def kill9(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(timeout=30 * PATIENCE)

    def log(self) -> str:
        return (self.folder / "bot.log").read_text()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]

    def manage(self, *arguments: str, within: float = 60) -> subprocess.CompletedProcess[str]:
        with tempfile.TemporaryDirectory() as told:
            out, err = Path(told) / "out", Path(told) / "err"
            command = Started("manage", arguments, self.folder, self.environment, out, err)
            try:
                code = command.wait(within * PATIENCE)
            finally:
                command.kill()
            return subprocess.CompletedProcess(arguments, code, out.read_text(), err.read_text())

    def practice_folder(self) -> Path:
        return next(self.data.glob("practice-*"))

    def exchange_note(self) -> dict[str, Any]:
        """Return where the bot's practice exchange listens, and its process."""
        return dict(json.loads((self.practice_folder() / "endpoint.json").read_text()))

    def tell_exchange(self, **switches: Any) -> None:
        """Set fault switches of the bot's practice exchange."""
        control(self.exchange_note(), "faults", **switches)

    def exchange_rows(self, table: str) -> list[dict[str, Any]]:
        """Return the practice exchange's own record: the witness."""
        with sqlite3.connect(f"file:{self.practice_folder() / 'exchange.sqlite'}?mode=ro", uri=True) as db:
            return [json.loads(row[0]) for row in db.execute(f"SELECT body FROM {table} ORDER BY rowid")]

    def database(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{self.data / 'revenant.sqlite'}?mode=ro", uri=True)

    def close(self) -> None:
        """End the bot and its practice exchange."""
        if self.process is not None and self.process.poll() is None:
            self.kill9()
        for note in self.data.glob("practice-*/endpoint.json"):
            try:
                exchange = psutil.Process(json.loads(note.read_text())["pid"])
                exchange.kill()
                exchange.wait(5)
            except (psutil.Error, OSError, ValueError):
                continue


def holes(times: list[int], step_ms: int) -> int:
    """Return how many bars are missing between the first and the last."""
    return (times[-1] - times[0]) // step_ms + 1 - len(times) if times else 0


@contextlib.contextmanager
def exchange_alone(folder: Path, speed: float = float(SPEED), symbols: int = 12) -> Iterator[dict[str, str]]:
    """Run a practice exchange by itself; yield the settings that make bots take it for Bybit."""
    state = folder / "exchange"
    command = [sys.executable, str(ROOT / "manage.py"), "sandbox", "serve", "--state", str(state)]
    command += ["--speed", str(speed), "--symbols", str(symbols)]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    try:
        until((state / "endpoint.json").exists, "the exchange to start")
        port = json.loads((state / "endpoint.json").read_text())["port"]
        yield {
            "DATA_SOURCE": "bybit", "REVENANT__BYBIT__REST": f"http://127.0.0.1:{port}",
            "REVENANT__BYBIT__STREAMS": json.dumps([f"ws://127.0.0.1:{port}"]),
        }  # fmt: skip
    finally:
        process.terminate()
        assert process.wait(timeout=10 * PATIENCE) == 0

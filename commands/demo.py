"""A minute that shows what the bot is for: it trades, is killed, and comes back with its books whole."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import psutil
import typer
from rich.console import Console

from commands import running
from domain.errors import Unavailable
from domain.lean import lazily

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import settings as settings_module
else:
    settings_module = lazily("settings")

ROOT = Path(__file__).resolve().parents[1]
SPEED, MARKETS = 600, 12
OPEN = 2
"""How many positions are open, at least, when the bot is killed."""

AWAY_S, LOOK_S, WAIT_S, END_S = 6.0, 0.5, 120.0, 30.0

Status = dict[str, Any]


class Stage:
    """A bot in a folder of its own, on a practice exchange of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._environment = {
            **settings_module.bare_environment(), "REVENANT_CONFIG": str(ROOT / "config.yaml"),
            "REVENANT__DATA_DIR": str(folder / "data"), "PORT": "0",
            "REVENANT__SANDBOX__SPEED": str(SPEED), "REVENANT__SANDBOX__SYMBOLS": str(MARKETS),
        }  # fmt: skip
        self._settings = settings_module.load(ROOT / "config.yaml", self._environment)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the bot."""
        with (self.folder / "bot.log").open("ab") as log:
            self._process = self._run("live_bot.py", stdout=log, stderr=log)

    def status(self) -> Status:
        """Return what the bot tells of itself, nothing while it does not answer. Raises Unavailable if it has ended."""
        if self._process is None or self._process.poll() is not None:
            raise Unavailable(f"the bot has ended; its log is {self.folder / 'bot.log'}")
        try:
            answer = running.ask(self._settings) or {}
        except Unavailable:
            return {}
        return {} if "error" in answer else answer

    def wait(self, reached: Callable[[Status], bool], seen: Callable[[Status], None] = lambda _: None) -> Status:
        """Return the first status that is as wanted; each one on the way is ``seen``."""
        given_up = time.monotonic() + WAIT_S
        while time.monotonic() < given_up:
            status = self.status()
            if status:
                seen(status)
                if reached(status):
                    return status
            time.sleep(LOOK_S)
        raise Unavailable(f"that took longer than {WAIT_S:.0f} s: this machine is too busy; the log is {self.folder}")

    def kill(self) -> None:
        """Kill the bot as a crash would: nothing is told to it, nothing is saved."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def command(self, *arguments: str) -> Any:
        """Return what a command of manage.py answers in JSON."""
        with self._run("manage.py", *arguments, "--json", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as asked:
            out, _ = asked.communicate(timeout=WAIT_S)
        return json.loads(out)

    def close(self) -> None:
        """Stop the bot in good order, and the practice exchange with it."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(END_S)
            except subprocess.TimeoutExpired:
                self.kill()
        for note in self.folder.glob("data/practice-*/endpoint.json"):
            # it outlives a bot that was killed, for that one to find it again
            with contextlib.suppress(psutil.Error, OSError, ValueError, KeyError):
                psutil.Process(json.loads(note.read_text())["pid"]).kill()

    def _run(self, program: str, *arguments: str, **more: Any) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(ROOT / program), *arguments]
        return subprocess.Popen(  # noqa: S603  our own programs, our own arguments
            command, cwd=self.folder, env=self._environment, stdin=subprocess.DEVNULL, **more
        )


class Told:
    """Tells the story, with the seconds since it began."""

    def __init__(self) -> None:
        self._out = Console(highlight=False, soft_wrap=True)
        self._began = time.monotonic()
        self._known: set[str] = set()

    def say(self, text: str) -> None:
        """Tell one thing."""
        self._out.print(f"[dim]{time.monotonic() - self._began:5.1f} s[/dim]  {text}")

    def positions(self, status: Status) -> None:
        """Tell of positions that are new."""
        for one in status["positions"]:
            if one["id"] not in self._known and not one["pending"]:
                self._known.add(one["id"])
                guard = f"stop {one['stop']}" + (f", target {one['target']}" if float(one["target"]) else "")
                self.say(f"{one['side']:5} {one['symbol']:<20} {one['qty']} at {float(one['entry']):g}, {guard}")


@contextlib.contextmanager
def _stage() -> Iterator[Stage]:
    with tempfile.TemporaryDirectory(prefix="revenant-demo-") as folder:
        stage = Stage(Path(folder))
        try:
            yield stage
        finally:
            stage.close()


def demo(
    trades: Annotated[int, typer.Option(min=0, max=100, help="Closed trades to wait for before the kill.")] = 8,
) -> None:
    """Show in a minute what the bot is for: it trades, is killed, and comes back with its books whole."""
    told = Told()
    with _stage() as stage:
        told.say(f"starting a bot and a practice exchange of {MARKETS} made-up markets, {SPEED} times faster than real")
        stage.start()
        ready = stage.wait(lambda one: bool(one["ready"]))
        told.say(f"[bold]ready[/bold]: {ready['candles_fetched']} candles fetched; waiting for {trades} trades")
        before = stage.wait(lambda one: one["closed"] >= trades and _held(one) >= OPEN, told.positions)
        told.say(f"{before['closed']} trades have closed, {_held(before)} positions are open")
        stage.kill()
        told.say(
            f"[bold red]killed[/bold red] (kill -9). The exchange goes on; stops and targets lie there. "
            f"{AWAY_S:.0f} seconds pass: {AWAY_S * SPEED / 60:.0f} minutes of the market"
        )
        time.sleep(AWAY_S)
        stage.start()
        after = stage.wait(lambda one: bool(one["ready"]))
        told.say(
            f"[bold green]back[/bold green]: able to trade {after['recovery_s']:.1f} s after its start, with "
            f"{after['candles_loaded']} candles of its own and the {after['candles_fetched']} that it had missed"
        )
        _tell_what_became(told, before, after)
        stage.wait(lambda one: one["closed"] > after["closed"], told.positions)
        verdict = stage.command("trades", "verify")
        names = ("exchange_checked", "lost", "doubled", "missing", "differing")
        figures = ", ".join(f"{name.replace('exchange_', '')} {verdict[name]}" for name in names)
        tone, words = ("green", "nothing lost, nothing doubled") if verdict["clean"] else ("red", "not clean")
        told.say(f"the trades compared with the exchange's own record: {figures}. [bold {tone}]{words}[/bold {tone}]")
    told.say("all of it is gone again; make run starts a bot that stays")
    raise typer.Exit(0 if verdict["clean"] else 1)


def _held(status: Status) -> int:
    return sum(not one["pending"] for one in status["positions"])


def _tell_what_became(told: Told, before: Status, after: Status) -> None:
    kept = {one["id"] for one in after["positions"]}
    for one in before["positions"]:
        if not one["pending"]:
            state = "still open, managed on" if one["id"] in kept else "closed meanwhile at the exchange, and recorded"
            told.say(f"{one['side']:5} {one['symbol']:<20} {state}")

"""A whole bot that loses part of what it kept, dead or alive, and is asked afterwards whether anything is missing."""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.torture import memory
from tests.torture.memory import TENTHS, truncate
from tests.torture.world import TRADING, World, closed_positions, learn_churn

JOURNAL, DATABASE, SNAPSHOT = "journal", "revenant.sqlite", "trade_history.json"
FEW, MORE = 4, 10
PANIC_S = 120

Damage = Callable[["Forgetful"], None]


class Forgetful:
    """A world whose bot loses its memory; ``older`` is a copy of what it kept when it had closed a few trades."""

    def __init__(self, folder: Path, seed: int, *, redis: bool) -> None:
        self.draw, self.older = random.Random(seed), folder / "older"
        self.world = World(
            folder, postgres=False, redis=redis,
            **{**TRADING, "REVENANT__SANDBOX__SYMBOLS": "6", "REVENANT__TRADING__TOP": "6"},
        )  # fmt: skip
        self.data = self.world.bot.data

    @property
    def journal(self) -> Path:
        """The folder of the journal's segments."""
        return next(one for one in (self.data / JOURNAL).iterdir() if one.is_dir())

    def start(self) -> None:
        """Start the bot, have it let entries in, and wait until it is ready."""
        bot = self.world.bot
        (self.data / "dashboard.json").unlink(missing_ok=True)
        self.world.start_for_real()
        bot.wait_for("recovery", lambda s: "recovery has not finished" not in s["reasons"])
        bot.manage("start")
        bot.wait_ready()

    def trade(self, count: int) -> None:
        """Wait until so many more trades have been closed, and a position is open."""
        bot = self.world.bot
        before = (bot.status() or {"closed": 0})["closed"]
        bot.wait_for("trades", lambda s: s["closed"] >= before + count and s["open"] >= 1)

    def kill(self) -> None:
        """End the bot as a power cut would."""
        process = self.world.bot.process
        assert process is not None
        process.send_signal(signal.SIGKILL)
        process.wait()

    def keep(self) -> None:
        """Take the copy."""
        self.older.mkdir()
        for path in self._tiers():
            (shutil.copytree if path.is_dir() else shutil.copy2)(path, self.older / path.name)

    def forget(self) -> None:
        """Delete everything that is kept about trades."""
        for path in self._tiers():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def bring_back(self, *names: str) -> None:
        """Put older copies in the place of what there is."""
        for path in self._tiers():
            if path.name.startswith(names):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for path in self.older.iterdir():
            if path.name.startswith(names):
                (shutil.copytree if path.is_dir() else shutil.copy2)(path, self.data / path.name)

    def cut(self, tenth: int) -> None:
        """Cut the journal off at so many tenths."""
        truncate(self.journal, tenth)

    def _tiers(self) -> list[Path]:
        held = [one for name in (DATABASE, SNAPSHOT) for one in self.data.glob(f"{name}*")]
        return [*held, *[one for one in (self.data / JOURNAL,) if one.exists()]]


def damages() -> dict[str, Damage]:
    """Return what is done to a bot that is dead, by name."""
    cuts: dict[str, Damage] = {
        f"cut at {tenth} of 10": lambda one, tenth=tenth: one.cut(tenth) for tenth in range(TENTHS)
    }  # type: ignore[misc]
    return {
        **cuts,
        "journal and database older": lambda one: one.bring_back(JOURNAL, DATABASE),
        "all gone": lambda one: one.forget(),
        "journal older": lambda one: one.bring_back(JOURNAL),
        "database older": lambda one: one.bring_back(DATABASE),
        "snapshot older": lambda one: one.bring_back(SNAPSHOT),
        "redis emptied": lambda one: one.world.redis.client.flushall() if one.world.redis is not None else None,
    }


DELETED = "deleted under the running bot"


def judged(bot: Forgetful) -> dict[str, Any]:
    """Close everything by panic, and compare what is kept with the exchange's own record."""
    world, found = bot.world, {}
    done = world.bot.manage("panic", "--seconds", str(PANIC_S), "--json", within=PANIC_S)
    found["panic"] = done.returncode
    world.bot.wait_for("trades to settle", lambda s: s["tiers"]["database"]["waiting"] == 0)
    verified = world.bot.manage("trades", "verify", "--json")
    verdict = json.loads(verified.stdout or "{}")
    table = world.table()
    counted = [exec_id for legs in table.values() for exec_id in legs]
    missing = [run for run in closed_positions(world.bot) if not run <= set(counted)]
    return {
        **found, "verify": verified.returncode, "trades": len(table),
        "lost": len(set(world.acks.read_text().split()) - set(table)) + verdict.get("lost", 1),
        "doubled": len(counted) - len(set(counted)), "missing": len(missing) + verdict.get("missing", 1),
        "told": verdict.get("details", verified.stderr[-500:]),
    }  # fmt: skip


def run(folder: Path, count: int, every: int, seeds: int, seed: int, told: Any = None) -> dict[str, Any]:
    """Lose memory in every way: so many times with a whole bot, and on virtual time; return the figures."""
    whole = losses(folder, count, seed, redis=shutil.which("redis-server") is not None and count > 5)
    virtual = memory.lives(every, seeds, seed, told)
    return {
        **whole, "virtual": virtual, "clean": whole["clean"] and virtual["clean"],
        "seconds": round(whole["seconds"] + virtual["seconds"], 1),
    }  # fmt: skip


def losses(folder: Path, count: int, seed: int, *, redis: bool = False) -> dict[str, Any]:
    """Have one bot lose its memory so many times; return the figures."""
    learn_churn()
    began, bot = time.monotonic(), Forgetful(folder, seed, redis=redis)
    chosen = dict(bot.draw.sample(sorted(damages().items()), min(count - 1, len(damages()))))
    wrong: dict[str, Any] = {}
    totals = {"lost": 0, "doubled": 0, "missing": 0}
    trades = 0
    try:
        bot.start()
        bot.trade(FEW)
        bot.kill()
        bot.keep()
        for name in (DELETED, *chosen):
            bot.start()
            bot.trade(MORE)
            if name == DELETED:
                bot.forget()
                bot.trade(FEW)
            bot.kill()
            if name != DELETED:
                chosen[name](bot)
            bot.start()
            found = judged(bot)
            totals = {key: value + found[key] for key, value in totals.items()}
            trades = max(trades, found["trades"])
            if found["panic"] or found["verify"] or any(found[key] for key in totals):
                wrong[name] = found
            bot.kill()
    finally:
        bot.world.close()
    return {
        "seed": seed, "times": 1 + len(chosen), "trades": trades, **totals, "wrong": wrong, "clean": not wrong,
        "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip

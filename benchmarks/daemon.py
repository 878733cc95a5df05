"""The whole daemon as a process: how long it takes to be able to trade, and what each further symbol costs it."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import psutil

from benchmarks.measured import Measured, compared, took
from tests.bot import ROOT, Bot, exchange_alone, until

if TYPE_CHECKING:
    from collections.abc import Iterator

SYMBOLS, STARTS, START_S, MB = 50, 5, 3.0, 1 << 20
SIZES, WATCHED_S, SPEED, SETTLED_S = (50, 200, 500, 1_000), 60.0, 6, 20.0
STEPS_MS, SEEN_S, SYMBOL_MCORE = (180_000, 900_000), 10.0, 0.3
MEMORY_MB, LIVED_S = 200, 600.0
STRATEGIES = "{trend_pullback: {}, mean_reversion: {}, scalp: {}}"
LEFT_OUT = frozenset({"apport_python_hook", "sitecustomize"})


def measure_start() -> list[Measured]:
    """Measure a start on a warm store, with 50 symbols, beside importing what it imports of others."""
    # the exchange is there already, as a real one is
    with (
        tempfile.TemporaryDirectory() as folder,
        exchange_alone(Path(folder), speed=1, symbols=SYMBOLS) as there,
        _bot(Path(folder), SYMBOLS, 1, **there) as bot,
    ):
        _launched(bot)
        bot.wait_ready()
        bot.wait_for("bars to be stored", lambda s: s["candles_waiting"] == 0)
        modules = _imported(bot)
        pairs = []
        for _ in range(STARTS):
            _ended(bot)
            began = time.perf_counter()
            _launched(bot)
            _ready(bot)
            pairs.append((time.perf_counter() - began, took(_import, modules)))
    seconds = statistics.median(own for own, _ in pairs)
    what = f"process start to able to trade, warm store, {SYMBOLS} symbols; importing the same packages of others"
    told = f"{len(modules)} modules of others; at most {START_S:g} s wanted"
    return [compared("start", what, "s", pairs, 1.5, also=seconds <= START_S, details=told)]


def measure_memory() -> list[Measured]:
    """Measure the resident memory after ten minutes, with 50 symbols."""
    with tempfile.TemporaryDirectory() as folder, _bot(Path(folder), SYMBOLS, SPEED) as bot:
        process = psutil.Process(_launched(bot))
        bot.wait_ready()
        time.sleep(LIVED_S)
        held = process.memory_info().rss / MB
    what = f"resident memory after ten minutes at {SPEED} times the market's speed, {SYMBOLS} symbols; what is wanted"
    return [compared("memory", what, "MB", [(held, MEMORY_MB)], 1)]


class _Watched(NamedTuple):
    """Of a bot for a minute: thousandths of a core, megabytes, the loop's lag, bars that closed and that it saw."""

    symbols: int
    cpu: float
    memory: float
    lag_p99_ms: float
    due: int
    seen: int


def measure_scale() -> list[Measured]:
    """Measure what each further symbol costs, up to a thousand, and whether every bar that was due was seen."""
    watched = [_watched(size) for size in SIZES]
    base, lines = watched[0], []
    for before, one in pairwise(watched):
        further = one.symbols - before.symbols
        cost = (one.cpu - before.cpu) / further
        told = (
            f"{1024 * (one.memory - before.memory) / further:.0f} KB each, the whole {one.cpu:.0f} mcore and "
            f"{one.memory:.0f} MB; {one.seen} of {one.due} bars seen; "
            f"loop lag p99 {one.lag_p99_ms:g} ms against {base.lag_p99_ms:g}"
        )
        what = (
            f"CPU of each symbol from {before.symbols} to {one.symbols} at {SPEED} times the market's speed, a frame a "
            f"market minute and topic; of one among {base.symbols}"
        )
        pairs = [(cost, base.cpu / base.symbols)]
        seen = all(each.seen >= each.due for each in (before, one))
        name = f"scale_{one.symbols}"
        lines.append(compared(name, what, "mcore", pairs, SYMBOL_MCORE, also=seen, details=told, absolute=True))
    return lines


def _watched(size: int) -> _Watched:
    with tempfile.TemporaryDirectory() as folder, _bot(Path(folder), size, SPEED) as bot:
        process = psutil.Process(_launched(bot))
        bot.wait_ready()
        time.sleep(SETTLED_S)
        first, before = _status(bot), sum(process.cpu_times()[:2])
        began = time.monotonic()
        time.sleep(WATCHED_S)
        share = (sum(process.cpu_times()[:2]) - before) / (time.monotonic() - began)
        last = _status(bot)
        closed = (last["market_time"] // step - first["market_time"] // step for step in STEPS_MS)
        due = size * sum(closed)
        # the moment may be that in which they are handed on
        deadline, seen = time.monotonic() + SEEN_S, last["bars"] - first["bars"]
        while seen < due and time.monotonic() < deadline:
            time.sleep(0.2)
            seen = _status(bot)["bars"] - first["bars"]
        lag = float(last["loop_lag_p99_ms"])
        return _Watched(size, 1000 * share, process.memory_info().rss / MB, lag, due, seen)


def _status(bot: Bot) -> dict[str, Any]:
    status = bot.status()
    assert status is not None, f"no answer: {bot.log()[-2000:]}"
    return status


@contextmanager
def _bot(folder: Path, symbols: int, speed: float, **more: str) -> Iterator[Bot]:
    bot = Bot(
        folder, REVENANT__SANDBOX__SPEED=str(speed), REVENANT__SANDBOX__SYMBOLS=str(symbols),
        REVENANT__TRADING__TOP=str(symbols), REVENANT__STRATEGIES=STRATEGIES, **more,
    )  # fmt: skip
    try:
        yield bot
    finally:
        bot.close()


def _launched(bot: Bot) -> int:
    """Start the program as people do, a process of its own."""
    (bot.data / "dashboard.json").unlink(missing_ok=True)
    with (bot.folder / "bot.log").open("ab") as log:
        bot.process = subprocess.Popen(
            [sys.executable, str(ROOT / "live_bot.py")], cwd=bot.folder, env=bot.environment, stdout=log, stderr=log
        )
    return bot.process.pid


def _ready(bot: Bot) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        told = bot.get("/readyz")
        if told and told[0] == 200:
            return
        time.sleep(0.02)
    raise AssertionError(f"not able to trade: {bot.log()[-2000:]}")


def _ended(bot: Bot) -> None:
    assert bot.process is not None
    bot.process.terminate()
    until(lambda: bot.process is not None and bot.process.poll() is not None, "the bot to end")


def _imported(bot: Bot) -> list[str]:
    """Return the modules of other people that the program has loaded by the time it trades."""
    told = (
        "import sys, os, sysconfig, runpy, json\n"
        "site = sysconfig.get_paths()['purelib']\n"
        "import live_bot, daemon.live, daemon.page, telegram_bot.port\n"
        "held = [n for n, m in list(sys.modules.items()) if (getattr(m, '__file__', None) or '').startswith(site)]\n"
        "print(json.dumps(sorted(held)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", told], cwd=ROOT, env=bot.environment, capture_output=True, text=True, check=True
    )
    import json

    return [name for name in json.loads(done.stdout) if name not in LEFT_OUT]


def _import(modules: list[str]) -> None:
    lines = "\n".join(f"import {name}" for name in modules)
    subprocess.run([sys.executable, "-c", lines], check=True, env=dict(os.environ), capture_output=True)

"""Other people's backtesters on the same bars and rules, each in an environment of its own, made on demand."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.measured import Measured, compared
from domain.candle import timeframe_ms
from tests.venues import Venues, served, walk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from domain.candle import Bars

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
ENVIRONMENTS = ROOT / ".rivals"
ROUNDS, LONGEST_S, START = 3, 900, 1_600_000_000_000
FAST, SLOW, STOP, TARGET, FEE = 5, 20, 0.01, 0.02, 0.0005


@dataclass(frozen=True, slots=True)
class Rival:
    """Another backtester: what to install, the script that runs the cross by it, and how many times faster to be."""

    package: str
    script: str
    wanted: float


RIVALS = {
    "freqtrade": Rival("freqtrade==2026.9", "freqtrade_cross.py", 10),
    "backtesting.py": Rival("backtesting==0.6.6", "backtesting_cross.py", 3),
    "nautilus_trader": Rival("nautilus_trader==1.221.0", "nautilus_cross.py", 20),
}
CASES = (("1h", 43_800), ("1m", 526_000))


@dataclass(frozen=True, slots=True)
class Run:
    """One whole process: seconds from its start to its end, those of the backtest alone, and how many trades."""

    whole: float
    seconds: float
    trades: int


def measure() -> list[Measured]:
    """Measure a crossing of averages with stop and target beside every other backtester, on both timeframes."""
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for timeframe, count in CASES:
            step = timeframe_ms(timeframe)
            bars = walk(count, START // step * step, step, price=30_000.0)
            ours = _runs([sys.executable, "-m", "benchmarks.cross"], _saved(bars, Path(folder)), timeframe)
            for name, runs in _rivals(bars, Path(folder), timeframe):
                pairs = [(count / own.seconds, count / other.seconds) for own, other in zip(ours, runs, strict=True)]
                whole, theirs = (statistics.median(run.whole for run in held) for held in (ours, runs))
                told = f"{ours[0].trades} trades against {runs[0].trades}; "
                told += f"the whole process {whole:.2f} s against {theirs:.2f}"
                what = f"EMA cross with stop and target on {count:,} bars of {timeframe}; {RIVALS[name].package}"
                lines.append(compared(
                    f"backtest_{timeframe}_{name.split('.')[0]}", what, "bars/s", pairs, RIVALS[name].wanted,
                    at_least=True, also=whole < theirs, details=told,
                ))  # fmt: skip
    return lines


def _rivals(bars: Bars, folder: Path, timeframe: str) -> Iterator[tuple[str, list[Run]]]:
    for name, rival in RIVALS.items():
        python = _environment(name, rival)
        with ExitStack() as stack:
            extra = []
            if name == "freqtrade":
                # it asks its exchange for the markets, even to trade on stored bars
                venues = Venues()
                venues.put("binance", "BTC/USDT", timeframe, bars[:10])
                stack.enter_context(served(venues))
                extra = [venues.address]
            script = str(HERE / rival.script)
            yield name, _runs([str(python), script], _saved(bars, folder), timeframe, extra)


def _saved(bars: Bars, folder: Path) -> Path:
    names = ("open_time", "open", "high", "low", "close", "volume", "turnover")
    file = folder / "bars.npz"
    np.savez(file, **dict(zip(names, bars.columns(), strict=True)))
    return file


def _runs(command: Sequence[str], file: Path, timeframe: str, extra: Sequence[str] = ()) -> list[Run]:
    told = [json.dumps(value) for value in (str(file), timeframe, FAST, SLOW, STOP, TARGET, FEE)]
    return [_run([*command, *told, *extra]) for _ in range(ROUNDS)]


def _run(command: Sequence[str]) -> Run:
    began = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LONGEST_S, check=False)
    whole = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:2])} failed: {done.stderr[-2000:]}")
    said = json.loads(done.stdout.strip().splitlines()[-1])
    return Run(whole, said["seconds"], said["trades"])


def _environment(name: str, rival: Rival) -> Path:
    """Return the interpreter of a rival's environment, which is made when there is none."""
    folder = ENVIRONMENTS / name
    python, ready = folder / "bin" / "python", folder / "ready"
    if not ready.exists() or ready.read_text() != rival.package:
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", rival.package, "pyarrow"]
        subprocess.run(install, check=True)
        ready.write_text(rival.package)
    return python

"""Runs the proof, part by part, and prints one table. ``--quick`` takes minutes, the full set hours.

The quick set draws every kind of fault that the full one draws, only less often.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.torture import (
    amnesia,
    denial,
    episodes,
    fuzz,
    handovers,
    kills,
    lies,
    machine,
    memory,
    model,
    power,
    reconnect,
    restart,
    sigterm,
    soak,
    storm,
    syscalls,
)

Told = Callable[[int], None]
SEED = int(time.time())


def parts(base: Path, quick: bool, seed: int) -> dict[str, tuple[int, Callable[[Told], dict[str, Any]]]]:
    """Return each part: how many steps it tells of, and how to run it. Those that fork come first: no threads yet."""

    def size(small: int, full: int) -> int:
        return small if quick else full

    cycles, stops = size(72, 10_000), size(14, 200)
    return {
        "kills": (cycles, lambda told: kills.run(base / "kills", cycles, seed, told=told)),
        "trouble": (cycles, lambda told: kills.run(base / "trouble", cycles, seed, troubled=True, told=told)),
        "sigterm": (stops, lambda told: sigterm.run(base / "sigterm", stops, seed, told=told)),
        "episodes": (size(500, 10_000), lambda told: episodes.run(size(500, 10_000), seed, told=told)),
        "memory": (size(24, 100 * 24), lambda told: memory.lives(size(4, 1), size(4, 100), seed, told=told)),
        "machine": (1, lambda _: machine.run(size(200, 5_000))),
        "corruption": (1, lambda _: syscalls.corruption(size(4, 1))),
        "fuzz": (1, lambda _: fuzz.run(size(1, 10) / 10, seed)),
        **(
            {
                "system calls": (size(65, 2_400), lambda told: syscalls.run(size(40, 1), told=told)),
                "power": (
                    size(75, 5_000),
                    lambda told: power.run(seed, every=size(23, 1), more=size(1, 9), told=told),
                ),
            }
            if shutil.which("strace")
            else {}
        ),
        **({} if quick else {"amnesia": (9, lambda told: amnesia.run(base / "amnesia", told))}),
        "model": (len(model.MUTANTS), lambda told: model.run(quick=quick, told=told)),
        "denial": (size(11, 40), lambda told: denial.run(base / "denial", quick=quick, told=told)),
        "lies": (size(lies.QUICK, 6_000), lambda told: lies.run(base / "lies", seed, quick=quick, told=told)),
        "handovers": (1, lambda _: handovers.run(base / "handovers", size(30, 100))),
        "storm": (1, lambda _: storm.run(base / "storm", size(30, 600), seed=seed)),
        "reconnect": (1, lambda _: reconnect.run(base / "reconnect", size(2, 20))),
        "restart": (1, lambda _: restart.run(base / "restart", size(8_000, 100_000), size(1, 5))),
        "soak": (size(60, 3_600), lambda told: soak.run(base / "soak", size(60, 3_600) / 60, seed, told=told)),
        "trouble sigterm": (
            stops,
            lambda told: sigterm.run(base / "trouble-sigterm", stops, seed, troubled=True, told=told),
        ),
        "trouble soak": (
            size(300, 3_600),
            lambda told: soak.run(base / "trouble-soak", size(300, 3_600) / 60, seed, troubled=True, told=told),
        ),
    }


def main() -> int:
    """Run what was asked for; return 0 only when nothing was lost, doubled, missing or wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("only", nargs="*", help="parts to run; all without")
    parser.add_argument("--quick", action="store_true", help="minutes instead of hours")
    parser.add_argument("--seed", type=int, default=SEED, help="the seed that a failure named")
    parser.add_argument("--until", type=int, help="begin no part after this time (seconds since 1970), and say which")
    parser.add_argument("--json", type=Path, help="file to write all figures to")
    asked = parser.parse_args()
    structlog.configure(processors=[_silence], cache_logger_on_first_use=False)
    base = Path(tempfile.mkdtemp(prefix="revenant-torture-"))
    base.chmod(0o755)
    console, results = Console(stderr=True), {}
    try:
        chosen = {
            name: part
            for name, part in parts(base, asked.quick, asked.seed).items()
            if not asked.only or name in asked.only
        }
        for name, (steps, work) in chosen.items():
            if asked.until and time.time() > asked.until:
                console.print(f"{name}: LEFT OUT, there was no time left for it", style="bold red")
                results[name] = {"clean": True, "seconds": "left out"}
                continue
            console.print(f"{name}, seed {asked.seed}", style="bold")
            results[name] = _watched(console, steps, work)
            console.print_json(json.dumps(results[name], default=str))
    finally:
        if all(one.get("clean") for one in results.values()):
            shutil.rmtree(base, ignore_errors=True)
        else:
            console.print(f"what was left behind is in {base}")
    if asked.json:
        asked.json.write_text(json.dumps(results, default=str, indent=2))
    _show(results)
    return 0 if results and all(one["clean"] for one in results.values()) else 1


def _watched(console: Console, steps: int, work: Callable[[Told], dict[str, Any]]) -> dict[str, Any]:
    if not console.is_terminal:
        return work(lambda _: None)
    columns = (BarColumn(), TextColumn("{task.completed}/{task.total}"), TimeElapsedColumn())
    # no refreshing thread: some parts fork
    with Progress(*columns, console=console, auto_refresh=False) as progress:
        task = progress.add_task("", total=steps)

        def told(done: int) -> None:
            progress.update(task, completed=done, refresh=True)

        return work(told)


def _show(results: dict[str, dict[str, Any]]) -> None:
    table = Table("part", "runs", "lost", "doubled", "missing", "clean", "seconds")
    for name, one in results.items():
        runs = next(
            (
                one[key]
                for key in ("cycles", "times", "episodes", "cases", "handovers", "examples", "trades", "flips")
                if key in one
            ),
            "",
        )
        missing = one.get("missing", one.get("candles_missing", ""))
        cells = (
            name,
            runs,
            one.get("lost", ""),
            one.get("doubled", ""),
            missing,
            "not run" if one["seconds"] == "left out" else "yes" if one["clean"] else "NO",
            one["seconds"],
        )
        table.add_row(*(str(cell) for cell in cells))
    Console(width=110).print(table)


def _silence(_: Any, __: str, event: Any) -> Any:
    raise structlog.DropEvent


if __name__ == "__main__":
    sys.exit(main())

"""Random kill -9 of the bot, while the database dies in every way, and the exchange fills, ends and shows as it likes."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.torture.world import TRADING, World, learn_churn, trouble_exchange, wait_for_end

REAL_STARTS = 10
FAULTS = ("none", "none", "kill", "freeze", "cut", "cutack", "hang", "slow")
LIFE_S = (0.05, 3.0)
"""Long enough to trade after a recovery, on a slow machine too; short enough to die in the midst of everything."""


def run(
    folder: Path, cycles: int, seed: int, *, real_starts: int = REAL_STARTS, troubled: bool = False, told: Any = None
) -> dict[str, Any]:  # fmt: skip
    """Kill the bot so many times; return the figures. A ``troubled`` exchange ends, slices and shows late at random."""
    draw = random.Random(seed)
    learn_churn()
    world = World(
        folder,
        REVENANT__SANDBOX__SYMBOLS="10",
        REVENANT__TRADING__TOP="10",
        REVENANT__RISK__MAX_OPEN_TRADES="10",
        **TRADING,
    )
    began = time.monotonic()
    faults: dict[str, int] = {}
    next_fault = dealt(draw, FAULTS)
    early = 0
    real = set(draw.sample(range(cycles), min(real_starts, cycles)))
    try:
        for cycle in range(cycles):
            life = draw.uniform(*LIFE_S)
            process = world.start_for_real() if cycle in real else None
            pid = process.pid if process is not None else world.fork()
            life += 3.0 if process is not None else 0.0
            fault = next(next_fault)
            faults[fault] = faults.get(fault, 0) + 1
            if troubled:
                trouble = f"exchange: {trouble_exchange(world.bot, draw)}"
                faults[trouble] = faults.get(trouble, 0) + 1
            time.sleep(life / 2)
            strike(world, fault, draw)
            time.sleep(life / 2)
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                early += 1
            code = process.wait() if process is not None else wait_for_end(pid, 10)
            early += code != -signal.SIGKILL
            heal(world, fault)
            if told is not None:
                told(cycle + 1)
        judged = world.finish()
        return {
            "seed": seed, "cycles": cycles, "faults": faults, "ended_by_itself": early, **vars(judged),
            "clean": judged.clean and not early and (cycles < 100 or judged.acknowledged > cycles // 10), "seconds": round(time.monotonic() - began, 1),
        }  # fmt: skip
    finally:
        world.close()


def dealt(draw: random.Random, faults: Sequence[str]) -> Iterator[str]:
    """Yield each of them as often as any other, in random order: none is left out, however few are asked for."""
    while True:
        yield from draw.sample(faults, len(faults))


def strike(world: World, fault: str, draw: random.Random) -> None:
    assert world.postgres is not None
    assert world.proxy is not None
    if fault == "kill":
        world.postgres.kill9()
    elif fault == "freeze":
        world.postgres.freeze()
    elif fault in {"cut", "cutack", "hang"}:
        world.proxy.tell(fault)
    elif fault == "slow":
        world.proxy.tell(f"slow {draw.choice([50, 500, 2000])}")


def heal(world: World, fault: str) -> None:
    assert world.postgres is not None
    assert world.proxy is not None
    if fault == "kill":
        world.postgres.start()
    elif fault == "freeze":
        world.postgres.thaw()
    world.proxy.tell("pass")

"""SIGTERM in every state: while starting, trading, with the database dead, frozen or slow; and twice in a row."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

from tests.pace import slowness
from tests.torture.kills import dealt, heal, strike
from tests.torture.world import World, learn_churn, trouble_exchange, wait_for_end

FAULTS = ("none", "none", "kill", "freeze", "hang", "slow")
LIMIT_S = 2.5
"""On an ordinary machine; one that needs longer for everything may need as much longer for this."""


def run(folder: Path, times: int, seed: int, *, troubled: bool = False, told: Any = None) -> dict[str, Any]:
    """Stop the bot so many times; return how long it took. A ``troubled`` exchange is one as kills has."""
    draw = random.Random(seed)
    learn_churn()
    world = World(folder)
    slower = slowness()
    began = time.monotonic()
    took: list[float] = []
    codes: dict[int, int] = {}
    faults: dict[str, int] = {}
    next_fault = dealt(draw, FAULTS)
    try:
        for number in range(times):
            pid = world.fork()
            fault = next(next_fault)
            faults[fault] = faults.get(fault, 0) + 1
            time.sleep(draw.uniform(0.1, 1.2))
            strike(world, fault, draw)
            if troubled:
                trouble_exchange(world.bot, draw)
            time.sleep(draw.uniform(0.0, 1.0))
            asked = time.monotonic()
            os.kill(pid, signal.SIGTERM)
            if draw.random() < 0.3:
                time.sleep(draw.uniform(0, 0.3))
                with_luck(pid)
            code = wait_for_end(pid, 20 * slower)
            took.append(time.monotonic() - asked)
            if code is None:
                os.kill(pid, signal.SIGKILL)
                code = wait_for_end(pid, 5) or 0
            codes[code] = codes.get(code, 0) + 1
            heal(world, fault)
            if told is not None:
                told(number + 1)
        judged = world.finish()
    finally:
        world.close()
    took.sort()
    p99 = took[min(len(took) - 1, int(len(took) * 0.99))]
    return {
        "seed": seed, "times": times, "faults": faults, "exit_codes": codes, "p50_s": round(took[len(took) // 2], 2),
        "p99_s": round(p99, 2), "max_s": round(took[-1], 2), "slowness": round(slower, 1), **vars(judged),
        "clean": judged.clean and p99 <= LIMIT_S * slower and set(codes) == {0}, "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip


def with_luck(pid: int) -> None:
    """Ask again, if it still lives."""
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return

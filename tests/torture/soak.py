"""Fifty symbols at twenty times the speed of the market, for an hour: nothing may grow but what trades leave behind."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from tests.torture.world import World, trouble_exchange

MB = 1 << 20
SAMPLE_S = 5.0
WARMUP = 1 / 6
GROWTH_MB_H = 1.0
OWN = "{trend_pullback: {}, mean_reversion: {}, scalp: {}}"
"""The product's own strategies: each trade is kept in memory, a few kilobytes, so their number is part of the matter."""


def run(folder: Path, minutes: float, seed: int, *, troubled: bool = False, told: Any = None) -> dict[str, Any]:
    """Let the bot run for so long and sample its process; the first sixth is warming up and does not count.

    A ``troubled`` exchange slices, ends what it accepted and shows lists late, in turns of a few seconds.
    """
    draw = random.Random(seed)
    world = World(
        folder, redis=True, REVENANT__SANDBOX__SPEED="20", REVENANT__SANDBOX__SYMBOLS="50", REVENANT__TRADING__TOP="50",
        REVENANT__TRADING__HISTORY_BARS="1000", REVENANT__STRATEGIES=OWN, REVENANT__ML__RULE_FLOOR="0",
    )  # fmt: skip
    began = time.monotonic()
    rows: list[tuple[float, float, int, int, int]] = []
    try:
        process = psutil.Process(world.start_for_real().pid)
        world.bot.wait_ready()
        start = time.monotonic()
        while time.monotonic() - start < minutes * 60:
            if troubled:
                trouble_exchange(world.bot, draw)
            time.sleep(SAMPLE_S)
            status = world.bot.status() or {}
            with process.oneshot():
                rows.append((
                    time.monotonic() - start, process.memory_info().rss / MB, process.num_fds(), process.num_threads(),
                    int(status.get("tasks", 0)),
                ))  # fmt: skip
            if told is not None:
                told(int(rows[-1][0]))
        if troubled:
            world.bot.tell_exchange(reset=True)
        figures = world.bot.status() or {}
        judged = world.finish_running()
    finally:
        world.close()
    table = np.array(rows)[int(len(rows) * WARMUP) :]
    slope, bound = _growth(table[:, 0] / 3600, table[:, 1])
    drift = {name: _drift(table[:, i]) for i, name in ((2, "files"), (3, "threads"), (4, "tasks"))}
    return {
        "minutes": minutes, "bars": figures.get("bars"), "closed": figures.get("closed"), "loop_lag_p99_ms": figures.get("loop_lag_p99_ms"), "loop_lag_max_ms": figures.get("loop_lag_max_ms"),
        "naked_seconds": figures.get("naked_seconds"),
        "rss_mb": round(float(table[-1, 1]), 1), "growth_mb_h": round(slope, 2), "growth_bound_mb_h": round(bound, 2),
        "drift": drift, **vars(judged), "seconds": round(time.monotonic() - began, 1),
        "clean": judged.clean and (bound < GROWTH_MB_H or minutes < 30),
    }  # fmt: skip


def _growth(hours: Any, megabytes: Any) -> tuple[float, float]:
    """Return slope and its upper 95 % bound, by least squares over means of one minute."""
    groups = max(3, int((hours[-1] - hours[0]) * 60))
    x = np.array([part.mean() for part in np.array_split(hours, groups)])
    y = np.array([part.mean() for part in np.array_split(megabytes, groups)])
    slope, intercept = np.polyfit(x, y, 1)
    rest = y - slope * x - intercept
    error = np.sqrt((rest**2).sum() / max(1, len(x) - 2) / ((x - x.mean()) ** 2).sum())
    return float(slope), float(slope + 1.645 * error)


def _drift(counts: Any) -> int:
    """Return how far the median of the last third lies from that of the first."""
    third = max(1, len(counts) // 3)
    return int(np.median(counts[-third:]) - np.median(counts[:third]))

"""How busy the machine is, as Linux tells it; elsewhere nothing is told of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

CPU, MEMORY = Path("/proc/stat"), Path("/proc/meminfo")
LOOK_S = 0.2


async def load() -> dict[str, list[float] | float]:
    """Return how busy each processor is, over a moment, and the memory in use, in percent."""
    before = await asyncio.to_thread(_times)
    await asyncio.sleep(LOOK_S)
    after = await asyncio.to_thread(_times)
    busy = [_share(old, new) for old, new in zip(before, after, strict=False)]
    return {"cpu_pct": busy, "ram_pct": await asyncio.to_thread(_memory)}


def _times() -> list[tuple[int, int]]:
    """Return of each processor the time in which it did nothing, and all of its time."""
    if not CPU.exists():
        return []
    rows = [line.split() for line in CPU.read_text().splitlines() if line.startswith("cpu")]
    # user, nice, system, idle, iowait and more; the first line is of all processors together
    held = [[int(part) for part in row[1:9]] for row in rows[1:]]
    return [(row[3] + row[4], sum(row)) for row in held]


def _share(before: tuple[int, int], after: tuple[int, int]) -> float:
    whole = after[1] - before[1]
    return round(100 * (1 - (after[0] - before[0]) / whole), 1) if whole > 0 else 0.0


def _memory() -> float:
    if not MEMORY.exists():
        return 0.0
    held = {
        name: int(rest.split()[0])
        for name, _, rest in (line.partition(":") for line in MEMORY.read_text().splitlines())
    }
    return round(100 * (1 - held["MemAvailable"] / held["MemTotal"]), 1)

"""How late the event loop is, kept as counts per millisecond, so that an hour of it costs no memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

BUCKETS = 1_000
PAUSE_S = 0.05


class Lags:
    """Counts delays; quantiles are exact to a millisecond, up to a second."""

    def __init__(self) -> None:
        self._counts = [0] * (BUCKETS + 1)
        self._total = 0
        self.max_ms = 0.0

    def note(self, milliseconds: float) -> None:
        """Count one delay."""
        self._counts[min(BUCKETS, max(0, int(milliseconds)))] += 1
        self._total += 1
        self.max_ms = max(self.max_ms, milliseconds)

    def quantile_ms(self, share: float) -> int:
        """Return the delay that ``share`` of all delays do not exceed, 0 when there are none."""
        left = share * self._total
        for milliseconds, count in enumerate(self._counts):
            left -= count
            if left <= 0:
                return milliseconds if self._total else 0
        return BUCKETS

    def report(self) -> dict[str, float]:
        """Return median, 99th percentile and maximum in milliseconds."""
        return {"p50": self.quantile_ms(0.5), "p99": self.quantile_ms(0.99), "max": round(self.max_ms, 1)}


async def measure(lags: Lags, beat: Callable[[], None]) -> None:
    """Note how late the event loop is, and call ``beat`` each time that it turns, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + PAUSE_S
        await asyncio.sleep(PAUSE_S)
        beat()
        lags.note((loop.time() - due) * 1000)

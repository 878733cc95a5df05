"""How late the event loop is, kept as counts per millisecond, so that an hour of it costs no memory."""

from __future__ import annotations

import asyncio
import bisect
import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

BUCKETS = 1_000
PAUSE_S = 0.05
HALF_S = 30.0
SWALLOWED_MAX = 10_000


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
        return quantile_ms(share, self)

    def report(self) -> dict[str, float]:
        """Return median, 99th percentile and maximum in milliseconds."""
        return {"p50": self.quantile_ms(0.5), "p99": self.quantile_ms(0.99), "max": round(self.max_ms, 1)}

    def counts(self) -> list[int]:
        """Return how often there was each delay, by whole milliseconds; those of a second and more are the last."""
        return self._counts


def quantile_ms(share: float, *held: Lags) -> int:
    """Return the delay that ``share`` of all the delays counted do not exceed, 0 when there are none."""
    up_to = list(itertools.accumulate(map(sum, zip(*(one.counts() for one in held), strict=True))))
    return min(BUCKETS, bisect.bisect_left(up_to, share * up_to[-1]))


class LoopLag:
    """How late the event loop is: quantiles of the last half to whole minute, and the maximum since it began.

    There is one for the life of a process; whoever notes and whoever asks have the same. A loop that stands still is
    asked nothing meanwhile, so one long delay stands for all the turns that it swallowed (G. Tene, How NOT to Measure
    Latency, 2013): without them a freeze of a second would not show in the 99th percentile.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Forget what was before: how late the loop was while everything was loaded says nothing about trading."""
        self._newer, self._older, self._until = Lags(), Lags(), 0.0
        self.max_ms = 0.0

    def note(self, milliseconds: float, now: float) -> None:
        """Count one delay that ended at ``now`` (the loop's time in seconds)."""
        if now >= self._until:
            self._newer, self._older = Lags(), self._newer if now < self._until + HALF_S else Lags()
            self._until = now + HALF_S
        self.max_ms = max(self.max_ms, milliseconds)
        for swallowed in range(1 + min(SWALLOWED_MAX, max(0, int(milliseconds / (1000 * PAUSE_S))))):
            self._newer.note(milliseconds - 1000 * PAUSE_S * swallowed)

    def quantile_ms(self, share: float) -> int:
        """Return the delay that ``share`` of the turns of late did not exceed, 0 when there were none."""
        return quantile_ms(share, self._newer, self._older)


async def measure(lag: LoopLag, beat: Callable[[], None]) -> None:
    """Note how late the event loop is, and call ``beat`` each time that it turns, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + PAUSE_S
        await asyncio.sleep(PAUSE_S)
        beat()
        lag.note((loop.time() - due) * 1000, loop.time())

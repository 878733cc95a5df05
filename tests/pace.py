"""How fast the market of a test may go on this machine."""

from __future__ import annotations

import functools
import statistics
import time

ORDINARY_S = 0.009
"""What the measured work takes on an ordinary machine."""


@functools.cache
def slowness() -> float:
    """Return how many times longer than an ordinary machine this one needs for the same work, 1 at least."""
    return max(1.0, statistics.median(_work() for _ in range(11)) / ORDINARY_S)


def followable(speed: float) -> int:
    """Return the speed that this machine follows as easily as an ordinary one follows that.

    A market that outruns its bot tests only that it was outrun: candles are never home, requests never answered.
    """
    return max(1, round(speed / slowness()))


def _work() -> float:
    began = time.perf_counter()
    total = 0
    for number in range(200_000):
        total += number
    assert total
    return time.perf_counter() - began

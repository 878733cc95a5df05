"""How long to wait before what failed is tried again: twice as long each time, up to a limit, and spread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

DOUBLINGS_MAX = 32
"""More of them make no difference to any limit, and a number too large for a float would."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that are at most ``first_s`` after one failure, and at most ``longest_s`` after however many.

    Whoever waits counts the failures, and brings the chance: ``draw`` gives a number between two.
    """

    first_s: float
    longest_s: float

    def bound_s(self, failures: int) -> float:
        """Return the longest wait after so many failures in a row, counted from one."""
        return min(self.longest_s, self.first_s * 2.0 ** min(max(0, failures - 1), DOUBLINGS_MAX))

    def wait_s(self, failures: int, draw: Callable[[float, float], float]) -> float:
        """Return a wait after so many failures: between half the first and the bound."""
        return draw(self.first_s / 2, self.bound_s(failures))

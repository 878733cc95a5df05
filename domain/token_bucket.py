"""How often something may be tried."""

from __future__ import annotations


class TokenBucket:
    """``size`` tries in a row, regained evenly over ``window_s``; it begins full. Times are monotonic seconds."""

    def __init__(self, size: int, window_s: float) -> None:
        self._size, self._each_s = float(size), window_s / size
        self._left, self._looked = float(size), 0.0

    def take(self, now: float) -> float:
        """Use up a try; return how many seconds it has to wait for."""
        self._regain(now)
        self._left -= 1
        return max(0.0, -self._left * self._each_s)

    def allows(self, now: float) -> bool:
        """Use up a try where one is left; return whether there was."""
        self._regain(now)
        allowed = self._left >= 1
        self._left -= allowed
        return allowed

    def _regain(self, now: float) -> None:
        self._left = min(self._size, self._left + max(0.0, now - self._looked) / self._each_s)
        self._looked = now

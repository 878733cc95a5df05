"""Keeps a dead service from being asked again and again."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from domain.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable

FAILURES_MAX = 3
PAUSE = Backoff(0.2, 30.0)


class Breaker:
    """Lets calls through until three in a row have failed; then one probe at a time, after growing random pauses.

    The pause is drawn between nothing and its bound ("full jitter"), which doubles from 0.2 s to 30 s.
    ``clock`` is monotonic, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, draw: Callable[[], float] = random.random) -> None:
        self._clock, self._draw = clock, draw
        self._retry_at = 0.0
        self.failures = 0

    @property
    def open(self) -> bool:
        """Whether calls are held back at the moment."""
        return self.failures >= FAILURES_MAX and self._clock() < self._retry_at

    def wait_s(self) -> float:
        """Return how long to wait before the next attempt, 0 when it may be made now."""
        return max(0.0, self._retry_at - self._clock()) if self.failures else 0.0

    def failed(self) -> None:
        """Take note of a failure."""
        self.failures += 1
        self._retry_at = self._clock() + PAUSE.bound_s(self.failures) * self._draw()

    def succeeded(self) -> None:
        """Take note of a success: everything is let through again."""
        self.failures = 0

"""Deadlines of many calls, watched by one thread: to start one for each would cost more than most calls do."""

from __future__ import annotations

import contextlib
import itertools
import math
import threading
import time
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")


class Deadlines(Generic[T]):
    """Has ``cut`` end what takes longer than it may. The thread is there only while there is something to watch."""

    def __init__(self, cut: Callable[[T], None], name: str = "deadlines") -> None:
        self._cut, self._name = cut, name
        self._watched: dict[int, tuple[float, T]] = {}
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._wakes = -math.inf
        """When the thread looks next; before all time while there is none."""

    @contextlib.contextmanager
    def within(self, seconds: float, what: T) -> Iterator[None]:
        """Cut ``what`` unless the block ends in time."""
        number = next(self._numbers)
        self._watch(number, time.monotonic() + seconds, what)
        try:
            yield
        finally:
            with self._changed:
                self._watched.pop(number, None)

    def _watch(self, number: int, due: float, what: T) -> None:
        with self._changed:
            self._watched[number] = due, what
            if self._wakes == -math.inf:
                self._wakes = due
                threading.Thread(target=self._run, name=self._name, daemon=True).start()
            elif due < self._wakes:
                self._changed.notify()

    def _run(self) -> None:
        while late := self._next():
            for what in late:
                self._cut(what)

    def _next(self) -> list[T]:
        """Wait for deadlines that pass, and return what they were of; [] once there is nothing to watch."""
        with self._changed:
            while self._watched:
                now = time.monotonic()
                late = [number for number, (due, _) in self._watched.items() if due <= now]
                if late:
                    return [self._watched.pop(number)[1] for number in late]
                self._wakes = min(due for due, _ in self._watched.values())
                self._changed.wait(self._wakes - now)
            self._wakes = -math.inf
            return []

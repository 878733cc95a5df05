"""Ends a process whose event loop has frozen, so that a fresh start can recover."""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

FROZEN_CODE = 70
LOOKS = 10


def _leave() -> None:
    faulthandler.dump_traceback(file=sys.__stderr__ or sys.stderr, all_threads=True)
    os._exit(FROZEN_CODE)


class Watchdog:
    """A thread that calls ``leave`` when nobody has called ``beat`` for ``limit_s`` seconds.

    A pause of the whole machine or process is not a frozen loop: when the thread itself was late, it looks again.
    """

    def __init__(
        self, limit_s: float, leave: Callable[[], None] = _leave, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit_s, self._leave, self._clock = limit_s, leave, clock
        self._ended = threading.Event()
        self._beaten_at = self._looked_at = clock()

    def beat(self) -> None:
        """Say that the event loop turns."""
        self._beaten_at = self._clock()

    def start(self) -> None:
        """Begin to watch."""
        self.beat()
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Watch no more."""
        self._ended.set()

    def look(self) -> bool:
        """Look once, and say whether the loop is frozen."""
        now = self._clock()
        late = now - self._looked_at > self._limit_s / 2
        self._looked_at = now
        if late:
            # everything stood still, we too: give the loop its time
            self._beaten_at = now
        return now - self._beaten_at > self._limit_s

    def _run(self) -> None:
        while not self._ended.wait(self._limit_s / LOOKS):
            if self.look():
                print(
                    f"event loop frozen for more than {self._limit_s:.0f} s: leaving with code {FROZEN_CODE}",
                    file=sys.__stderr__,
                    flush=True,
                )
                self._leave()
                return

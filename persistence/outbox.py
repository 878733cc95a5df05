"""Carries records to a tier behind everybody's back: in batches, with patience, each until it has arrived."""

from __future__ import annotations

import threading
import time
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import structlog

from domain.errors import ConfigError, Rejected, Unavailable
from persistence.breaker import Breaker

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

log = structlog.get_logger(__name__)

BATCH = 500
IDLE_S = 60.0
HURRY_S = 0.05


T = TypeVar("T")


class Sink(Protocol[T]):
    """A tier that keeps records such as trades, each once however often it is handed in."""

    def write(self, records: list[T], /) -> None:
        """Keep records, all or none; raises Unavailable (try again), Rejected (never), ConfigError (refused access)."""
        ...

    def rest(self) -> None:
        """Do what is due when nothing waits, such as looking whether the tier still has what it was given."""
        ...


class Outbox(Generic[T]):
    """One tier's queue and the thread that empties it.

    After three failures in a row the tier is left alone for growing random pauses. A record that the tier refuses for
    good is parked with the reason and does not hold back the others. Above ``size`` waiting ones the oldest is let
    go; 0 means that none ever is. ``every_s`` is the least time between two batches.
    """

    def __init__(
        self,
        name: str,
        sink: Sink[T],
        *,
        size: int = 0,
        every_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self._sink, self._size, self._every_s, self._clock = name, sink, size, every_s, clock
        # begins by looking whether the tier still has what earlier lives gave it
        self._tried_at = clock() - IDLE_S - every_s
        self._rested_at = clock() - IDLE_S
        self._wake = threading.Condition()
        self._waiting: dict[str, tuple[T, float]] = {}
        self._busy = False
        self._closed = False
        self._hurry = self._hurried = False
        self._thread: threading.Thread | None = None
        self.breaker = Breaker(clock)
        self.parked: dict[str, str] = {}
        self.error = ""
        self.written = 0
        self.dropped = 0

    def __contains__(self, key: str) -> bool:
        return key in self._waiting

    @property
    def waiting(self) -> int:
        """How many records have not arrived yet, parked ones included."""
        return len(self._waiting)

    @property
    def oldest_s(self) -> float:
        """How long the oldest of them has been waiting."""
        with self._wake:
            first = next(iter(self._waiting.values()), None)
        return self._clock() - first[1] if first else 0.0

    def report(self) -> dict[str, Any]:
        """Return the tier's state, what waits for it, and how long the oldest has been waiting."""
        return {
            "state": "down" if self.error else "ok", "waiting": self.waiting, "parked": len(self.parked),
            "oldest_s": round(self.oldest_s, 1), "written": self.written, "reason": self.error,
        }  # fmt: skip

    def put(self, records: Mapping[str, T]) -> None:
        """Queue records, each under a key: its id, or another one when one of that id may be waiting already."""
        with self._wake:
            now = self._clock()
            for key, record in records.items():
                self._waiting.setdefault(key, (record, now))
            excess = len(self._waiting) - self._size if self._size else 0
            for key in list(islice(self._waiting, max(0, excess))):
                self._waiting.pop(key)
                self.dropped += 1
            self._wake.notify_all()

    def start(self) -> None:
        """Begin to carry."""
        self._thread = threading.Thread(target=self._run, name=f"outbox {self.name}", daemon=True)
        self._thread.start()

    def flush(self, seconds: float) -> bool:
        """Try without patience until nothing but parked records waits; say whether that came about in time.

        Without a thread of its own, the work is done here and now, once.
        """
        if self._thread is None:
            self._carry()
            return not self._due()
        deadline = self._clock() + seconds
        with self._wake:
            while (self._due() or self._busy) and self._clock() < deadline:
                self._hurry = True
                self._wake.notify_all()
                self._wake.wait(HURRY_S)
            return not self._due()

    def hurry(self) -> None:
        """Try what waits now, without patience; nobody waits for the outcome."""
        with self._wake:
            self._hurry = bool(self._due())
            self._wake.notify_all()

    def close(self, seconds: float = 0.0) -> None:
        """Carry what can be carried in so many seconds, then let the thread end."""
        if seconds:
            self.flush(seconds)
        with self._wake:
            self._closed = True
            self._wake.notify_all()

    def _run(self) -> None:
        while self._next():
            try:
                self._carry()
            except Exception as error:
                # a fault of ours must not end the carrying: it waits, is told, and is tried again
                log.exception("outbox failed", tier=self.name)
                self._failed(repr(error))

    def _next(self) -> bool:
        """Wait until there is something to do; say False when closed instead."""
        with self._wake:
            self._busy = False
            self._wake.notify_all()
            while not self._closed and not self._hurry and (pause := self._pause_s()) > 0:
                self._wake.wait(pause)
            self._hurried, self._hurry, self._busy = self._hurry, False, not self._closed
            self._tried_at = self._clock()
            return not self._closed

    def _pause_s(self) -> float:
        if self._due():
            return max(self.breaker.wait_s(), self._tried_at + self._every_s - self._clock())
        return self._tried_at + IDLE_S - self._clock()

    def _due(self) -> list[str]:
        return [key for key in self._waiting if key not in self.parked]

    def _carry(self) -> None:
        with self._wake:
            batch = {key: self._waiting[key][0] for key in self._due()[:BATCH]}
        try:
            if batch:
                self._sink.write(list(batch.values()))
            else:
                self._rested_at = self._clock()
                self._sink.rest()
        except (Unavailable, ConfigError) as error:
            self._failed(str(error))
        except Rejected as error:
            self._one_by_one(batch, error)
        else:
            self._arrived(batch)
            # a tier that gets something all the time is looked at all the same
            neglected = self._clock() - self._rested_at >= IDLE_S and not self._hurried
            if (self._thread is None and self._due()) or (neglected and not self._due()):
                self._carry()

    def _one_by_one(self, batch: dict[str, T], first: Rejected) -> None:
        # one refused row must not hold back the others: find it, park it, say so
        for key, record in batch.items():
            try:
                self._sink.write([record])
            except Rejected as error:
                self.parked[key] = str(error)
                log.error("parked: this tier refuses it for good", tier=self.name, record=key,
                          reason=str(error), way_out="the journal keeps it; mend the cause and restart")  # fmt: skip
            except (Unavailable, ConfigError) as error:
                self._failed(str(error))
                return
            else:
                self._arrived([key])
        if not batch:
            self._failed(str(first))

    def _arrived(self, keys: Collection[str]) -> None:
        if self.error:
            log.info("tier is back", tier=self.name)
        self.breaker.succeeded()
        self.error = ""
        self.written += len(keys)
        with self._wake:
            for key in keys:
                self._waiting.pop(key, None)

    def _failed(self, reason: str) -> None:
        self.breaker.failed()
        if not self.error:
            log.warning("tier does not answer: records wait", tier=self.name, waiting=len(self._waiting), reason=reason)
        self.error = reason

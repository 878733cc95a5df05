"""What workers and beats leave in Redis, so that one beat counts the time and an operator sees who is there."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from persistence.keyvalue import Redis

BEAT, BEAT_SEEN, TICK, WORKERS = "revenant:beat", "revenant:beat:seen", "revenant:tick", "revenant:workers"
QUEUE, LOWEST = "revenant", 9
QUEUES = (QUEUE, *(f"{QUEUE}\x06\x16{step}" for step in range(1, LOWEST + 1)))
"""The lists in which Celery's tasks wait, the most important first, as kombu names them."""
BEAT_S = 90
"""A beat that has not come back for so long is replaced by one that stands by."""
TICK_S = 300
ALIVE_S = 60
"""A worker that has left no sign for so long is shown as lost, and after a day no more."""
FORGOTTEN_S = 86_400

_HOLD = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
"""


class BeatSeen(NamedTuple):
    """The beat that counts: its name, how long ago it was seen, and how far its clock is ahead of Redis's, in s."""

    name: str
    seen_s: float
    drift_s: float


class WorkerSeen(NamedTuple):
    """A worker: its name, how many processes it has, and how long ago it was seen, in s."""

    name: str
    processes: int
    seen_s: float

    @property
    def lost(self) -> bool:
        """Whether it has left no sign for too long."""
        return self.seen_s > ALIVE_S


class ClusterState:
    """The signs in Redis. Synchronous, each call at most half a second; raises Unavailable and Rejected."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._hold = redis.client.register_script(_HOLD)

    def hold_beat(self, name: str) -> float | None:
        """Be the only beat, or go on being it; return how far our clock is ahead in s, None when another one is it."""
        with self._redis.translated():
            client = self._redis.client
            if not self._hold(keys=[BEAT], args=[name, BEAT_S]):
                return None
            now = self._now()
            drift = time.time() - now
            client.set(BEAT_SEEN, json.dumps({"name": name, "at": now, "drift": drift}), ex=FORGOTTEN_S)
            return drift

    def release_beat(self, name: str) -> None:
        """Let another beat take over at once."""
        with self._redis.translated():
            if self._redis.client.get(BEAT) == name.encode():
                self._redis.client.delete(BEAT)

    def ask_tick(self) -> bool:
        """Return whether a tick may be sent: one at a time waits for a worker."""
        with self._redis.translated():
            return bool(self._redis.client.set(TICK, b"1", nx=True, ex=TICK_S))

    def tick_begun(self) -> None:
        """Note that a worker has the tick that was sent."""
        with self._redis.translated():
            self._redis.client.delete(TICK)

    def sign(self, worker: str, processes: int) -> None:
        """Leave a worker's sign of life."""
        with self._redis.translated():
            row = json.dumps({"at": self._now(), "processes": processes})
            self._redis.client.hset(WORKERS, worker, row)

    def leave(self, worker: str) -> None:
        """Note that a worker has ended as it should."""
        with self._redis.translated():
            self._redis.client.hdel(WORKERS, worker)

    def beat(self) -> BeatSeen | None:
        """Return the beat that was seen last, None when none was for a day."""
        with self._redis.translated():
            row = _read(self._redis.client.get(BEAT_SEEN))
            return BeatSeen(row["name"], self._now() - row["at"], row["drift"]) if row else None

    def workers(self) -> list[WorkerSeen]:
        """Return the workers that were seen within a day, by name."""
        with self._redis.translated():
            rows, now, client = self._redis.client.hgetall(WORKERS), self._now(), self._redis.client
            found = []
            for name, raw in sorted(rows.items()):
                row = _read(raw)
                if row is None or now - row["at"] > FORGOTTEN_S:
                    client.hdel(WORKERS, name)
                else:
                    found.append(WorkerSeen(name.decode(errors="replace"), row["processes"], now - row["at"]))
            return found

    def queued(self, queues: Sequence[str]) -> int:
        """Return how many tasks wait in queues."""
        with self._redis.translated():
            return sum(self._redis.client.llen(name) for name in queues)

    def tasks(self, queues: Sequence[str]) -> set[str]:
        """Return the ids of the tasks that wait in queues."""
        with self._redis.translated():
            bodies = [_read(raw) for name in queues for raw in self._redis.client.lrange(name, 0, -1)]
        return {str(one["headers"]["id"]) for one in bodies if one is not None and "id" in one.get("headers", {})}

    def _now(self) -> float:
        seconds, micros = self._redis.client.time()
        return float(seconds) + float(micros) / 1e6


def _read(raw: bytes | None) -> dict[str, Any] | None:
    try:
        row = json.loads(raw or b"null")
    except ValueError:
        return None
    return row if isinstance(row, dict) else None

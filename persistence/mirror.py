"""Copies of the newest trades for when the database is away: in Redis, and in a file that people can read."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import msgspec
import structlog

from domain.errors import Unavailable
from domain.trade import Trade

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from domain.ids import Identity
    from persistence.files import AtomicFile
    from persistence.keyvalue import Redis

log = structlog.get_logger(__name__)

MIRROR_MAX = 10_000
CHUNK = 500


class RedisMirror:
    """The last 10,000 trades in Redis: hash ``trades:<owner>`` of JSON by id, sorted set ``trades:<owner>:by_exit``.

    ``newest`` returns what ought to be there; what Redis has forgotten (a flush, an eviction) is put back.
    """

    def __init__(self, redis: Redis, who: Identity, newest: Callable[[], list[Trade]]) -> None:
        self._redis, self._newest = redis, newest
        self._hash = ":".join(("trades", *who))
        self._index = f"{self._hash}:by_exit"

    def write(self, trades: list[Trade]) -> None:
        """Copy trades."""
        scores = {trade.trade_id: trade.exit_time.timestamp() for trade in trades}
        bodies = {trade.trade_id: msgspec.json.encode(trade) for trade in trades}
        with self._redis.pipeline() as pipe:
            pipe.hset(self._hash, mapping=bodies)
            pipe.zadd(self._index, scores)
        with self._redis.translated():
            surplus = self._redis.client.zrange(self._index, 0, -(MIRROR_MAX + 1))
        if surplus:
            with self._redis.pipeline() as pipe:
                pipe.hdel(self._hash, *surplus)
                pipe.zrem(self._index, *surplus)

    def rest(self) -> None:
        """Put back what Redis has forgotten."""
        wanted = {trade.trade_id: trade for trade in self._newest()}
        with self._redis.translated():
            there = {key.decode(errors="replace") for key in self._redis.client.hkeys(self._hash)}
        lacking = [trade for key, trade in wanted.items() if key not in there]
        for start in range(0, len(lacking), CHUNK):
            self.write(lacking[start : start + CHUNK])
        if lacking:
            log.warning("Redis had forgotten trades: copied again", trades=len(lacking))

    def load(self) -> list[Trade]:
        """Return the trades that Redis has; unreadable ones are passed over."""
        with self._redis.translated():
            bodies = self._redis.client.hvals(self._hash)
        return _decoded(bodies)


class SnapshotFile:
    """``trade_history.json``: the newest trades as a JSON list, replaced whole; a copy for people, never the truth."""

    def __init__(self, file: AtomicFile, newest: Callable[[], list[Trade]]) -> None:
        self._file, self._newest = file, newest
        self._breathe = threading.Event()
        self._written = 0

    def write(self, trades: list[Trade]) -> None:  # noqa: ARG002  the whole is written anew
        """Replace the file by all of the newest trades."""
        bodies = []
        newest = self._newest()
        for i, trade in enumerate(newest):
            bodies.append(msgspec.json.encode(trade))
            if i % CHUNK == 0:
                # thousands of trades take a while to encode: the event loop's thread goes first
                self._breathe.wait(0.001)
        try:
            self._file.write(b"[\n" + b",\n".join(bodies) + b"\n]\n")
        except OSError as error:
            raise Unavailable(f"{self._file}: {error.strerror}") from error
        self._written = len(newest)

    def load(self) -> list[Trade]:
        """Return the trades that the file has, none when it cannot be read; unreadable ones are passed over."""
        try:
            rows = msgspec.json.decode(self._file.read() or b"[]", type=list[msgspec.Raw])
        except (OSError, msgspec.MsgspecError, ValueError) as error:
            log.warning("snapshot of trades cannot be read", file=str(self._file), reason=str(error))
            return []
        return _decoded(bytes(row) for row in rows)

    def rest(self) -> None:
        """Write what has come without being queued, such as the trades of earlier lives."""
        if len(self._newest()) > self._written:
            self.write([])


def _decoded(bodies: Iterable[bytes]) -> list[Trade]:
    trades = []
    for body in bodies:
        try:
            trades.append(msgspec.json.decode(body, type=Trade))
        except (msgspec.MsgspecError, ValueError) as error:
            log.warning("copy of a trade cannot be read: passed over", reason=str(error))
    return trades

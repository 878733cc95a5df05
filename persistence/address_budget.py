"""One rate limit per host and outgoing address, shared by all machines that use the address, through Redis."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from domain.errors import RevenantError, Unavailable
from persistence import budget as files

if TYPE_CHECKING:
    from persistence.budget import SharedBudget
    from persistence.keyvalue import Redis

log = structlog.get_logger(__name__)

ASK_S = 0.25
"""How long a request waits for Redis's word: after that it goes by what this machine knows."""
REST_S = 5.0
"""How long nobody asks a Redis that did not answer."""
PENDING_MAX = 200
"""How many calls may wait for Redis: those that nobody waits for are dropped beyond that."""
KEPT_S = 172_800
"""How long Redis keeps a bucket that nobody touches: longer than any ban."""

_BUCKET = """
local cost, kept, capacity, rate = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local force, room, ban_s = ARGV[5] == '1', tonumber(ARGV[6]), tonumber(ARGV[7])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local row = redis.call('HMGET', KEYS[1], 'tokens', 'at', 'ban')
local tokens, at, ban = tonumber(row[1]) or capacity, tonumber(row[2]) or now, tonumber(row[3]) or 0
tokens = math.min(capacity, tokens + math.max(0, now - at) * rate)
if room >= 0 then tokens = math.min(tokens, room) end
if ban_s > 0 then tokens, ban = 0, math.max(ban, now + ban_s) end
local banned, wait = math.max(0, ban - now), 0
if force then tokens = math.max(-capacity, tokens - cost)
elseif banned > 0 and cost > 0 then wait = banned
elseif tokens - cost >= kept - 0.000001 then tokens = tokens - cost
elseif cost > 0 then wait = (cost + kept - tokens) / rate end
redis.call('HSET', KEYS[1], 'tokens', string.format('%.6f', tokens), 'at', string.format('%.6f', now),
           'ban', string.format('%.6f', ban))
redis.call('EXPIRE', KEYS[1], ARGV[8])
return {string.format('%.6f', wait), string.format('%.6f', banned)}
"""


class Answer(NamedTuple):
    """How long to wait before it is worth asking again, 0 when the tokens are taken, and how long a ban lasts, in s."""

    wait_s: float
    banned_s: float


class AddressRates:
    """The buckets of one outgoing address in Redis; calls run in a thread of their own, and the event loop never waits.

    ``address`` is the name of the address: machines that share one give the same name.
    """

    def __init__(self, redis: Redis, address: str) -> None:
        self._redis, self._address = redis, address
        self._bucket = redis.client.register_script(_BUCKET)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rates")
        self._resting = 0.0
        self._told = False
        self._room = threading.BoundedSemaphore(PENDING_MAX)

    def close(self) -> None:
        """End the thread, and close the connection."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._redis.close()

    async def ask(self, host: str, *amounts: object) -> Answer | None:
        """Return Redis's answer, None where it does not answer in time."""
        asked = self.send(host, *amounts)
        if asked is None:
            return None
        try:
            return await asyncio.wait_for(asyncio.wrap_future(asked), ASK_S)
        except (TimeoutError, RevenantError, CancelledError) as error:
            self._rest(str(error) or f"no answer within {ASK_S} s")
            return None

    def send(self, host: str, *amounts: object) -> Future[Answer] | None:
        """Send a call that nobody need wait for; None while Redis rests, or too many wait for it."""
        if time.monotonic() < self._resting or not self._room.acquire(blocking=False):
            return None
        sent = self._thread.submit(self._call, host, amounts)
        sent.add_done_callback(self._ended)
        return sent

    def _call(self, host: str, amounts: tuple[object, ...]) -> Answer:
        with self._redis.translated():
            key = f"rate:{self._address}:{host}"
            wait, banned = self._bucket(keys=[key], args=[*map(str, amounts), KEPT_S])
        if self._told:
            self._told = False
            log.info("Redis answers again: rate limits are shared with the other machines")
        return Answer(float(wait), float(banned))

    def _ended(self, sent: Future[Answer]) -> None:
        self._room.release()
        if not sent.cancelled() and (error := sent.exception()) is not None:
            self._rest(str(error))

    def _rest(self, why: str) -> None:
        self._resting = time.monotonic() + REST_S
        if not self._told:
            self._told = True
            log.warning("rate limits are kept on this machine alone while Redis does not answer", reason=why)


class AddressBudget:
    """A host's budget, of this machine and of all that share its address; each request keeps to both.

    What leaves no reserve (an exit) goes by this machine's budget alone, and is only reported to the others: it never
    waits for Redis. ``here`` is closed with it, ``there`` is not.
    """

    def __init__(self, here: SharedBudget, there: AddressRates) -> None:
        self.host = here.host
        self._here, self._there = here, there
        self._banned = 0.0

    def close(self) -> None:
        """Close the file."""
        self._here.close()

    async def take(self, cost: float = 1.0, *, reserve: float | None = None) -> None:
        """Wait until a request of that cost may go out.

        Raises:
            Unavailable: when that would take longer than anybody should wait.
        """
        deadline = time.monotonic() + files.PATIENCE_S
        await self._here.take(cost, reserve=reserve)
        share = self._here.reserve if reserve is None else reserve
        kept = self._here.capacity * share
        cost = min(cost, self._here.capacity - kept)
        if not share:
            self._report(cost, force=True)
            return
        while True:
            answer = await self._there.ask(self.host, *self._amounts(cost, kept))
            if answer is not None:
                self._banned = time.monotonic() + answer.banned_s
            if answer is None or not answer.wait_s:
                return
            if time.monotonic() + answer.wait_s > deadline:
                raise Unavailable(f"{self.host}: its rate limit leaves no room for {answer.wait_s:.0f} s")
            await asyncio.sleep(answer.wait_s * random.uniform(1.0, 1.1))  # noqa: S311  no secret

    def told(self, used: float) -> None:
        """Take the host's own word on how much of the limit has been used in this window."""
        self._here.told(used)
        self._report(0.0, room=max(0.0, self._here.limit - used))

    def ban(self, seconds: float) -> None:
        """Let nothing out for so long, neither from here nor from any other machine of this address."""
        self._here.ban(seconds)
        self._report(0.0, ban_s=seconds)

    def banned_s(self) -> float:
        """Return for how many seconds the host still lets nobody in, as far as was heard, 0 when it does."""
        return max(self._here.banned_s(), self._banned - time.monotonic(), 0.0)

    def _amounts(
        self, cost: float, kept: float, *, force: bool = False, room: float = -1.0, ban_s: float = 0.0
    ) -> tuple[Any, ...]:
        return cost, kept, self._here.capacity, self._here.rate, int(force), room, ban_s

    def _report(self, cost: float, *, force: bool = False, room: float = -1.0, ban_s: float = 0.0) -> None:
        sent = self._there.send(self.host, *self._amounts(cost, 0.0, force=force, room=room, ban_s=ban_s))
        if sent is not None:
            sent.add_done_callback(self._heard)

    def _heard(self, sent: Future[Answer]) -> None:
        with contextlib.suppress(RevenantError, CancelledError):
            self._banned = time.monotonic() + sent.result().banned_s

"""One WebSocket that is kept open: hosts in turn, capped and jittered pauses, heartbeats, an end to silence."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import socket
from typing import TYPE_CHECKING, Any, Protocol

import structlog
from aiohttp import ClientError, ClientSession, ClientTimeout, ClientWSTimeout, WSMsgType

from domain.backoff import Backoff
from domain.token_bucket import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import ClientWebSocketResponse

    from market.limits import FeedCounters, FeedLimits

log = structlog.get_logger(__name__)

CONNECT_WINDOW_S, FRAMES_AT_ONCE = 300.0, 50
OPEN_S, CLOSE_S = 10.0, 2.0
FRAME_BYTES_MAX = 1 << 20
REQUESTS_MAX = 1_000
DATA = {WSMsgType.TEXT, WSMsgType.BINARY}
EARNED_S = 5.0
"""A session that lasted so long earns a short pause before the next."""


class Conversation(Protocol):
    """What is said on a connection, in the words of one exchange."""

    def opened(self) -> Sequence[bytes]:
        """Return the requests to begin with; called each time the connection has been opened."""
        ...

    def take(self, frame: bytes) -> None:
        """Take a frame. Nothing may be raised, whatever it holds."""
        ...

    def heartbeat(self) -> bytes:
        """Return the request that keeps the connection alive."""
        ...

    def closed(self) -> None:
        """Learn that the connection is gone."""
        ...


class Connection:
    """Keeps one socket open, and knows nothing of what is said on it.

    ``frames`` counts what has arrived, pongs included: a socket is dead when none does, never because of what they
    do not hold.
    """

    def __init__(
        self, urls: Sequence[str], limits: FeedLimits, counters: FeedCounters, conversation: Conversation
    ) -> None:
        self._urls, self._limits, self._counters, self._conversation = urls, limits, counters, conversation
        self._jitter = random.Random()  # noqa: S311  spreads reconnects, guards nothing
        self._socket: ClientWebSocketResponse[Any] | None = None
        self._requests: asyncio.Queue[bytes] = asyncio.Queue(REQUESTS_MAX)
        self._silent = False
        self.frames = 0

    @property
    def open(self) -> bool:
        """Whether the socket is open."""
        return self._socket is not None

    async def run(self) -> None:
        """Keep the socket open until cancelled."""
        backoff, failures, hosts = Backoff(*self._limits.backoff_s), 1, itertools.cycle(self._urls)
        allowance = TokenBucket(self._limits.connects_max, CONNECT_WINDOW_S)
        while True:
            if wait := allowance.take(_now()):
                log.error("feed has used up its connection attempts: waiting", seconds=round(wait))
                await asyncio.sleep(wait)
            opened = _now()
            url = next(hosts)
            try:
                await self._session(url)
            except (OSError, ClientError, TimeoutError) as error:
                log.warning("feed connection lost", url=url, reason=str(error) or type(error).__name__)
            finally:
                self._socket = None
                self._conversation.closed()
            self._counters.failures += 1
            # a session that lasted earns a fresh start, one that did not waits longer
            failures = 1 if _now() - opened > EARNED_S else failures + 1
            await asyncio.sleep(backoff.wait_s(failures, self._jitter.uniform))

    def send(self, *requests: bytes) -> None:
        """Send requests soon; those that are not sent when the connection ends are dropped with it."""
        for request in requests:
            with contextlib.suppress(asyncio.QueueFull):
                self._requests.put_nowait(request)

    def cut(self) -> None:
        """End the connection without waiting for the other side; it is opened again."""
        raw_socket = self._socket.get_extra_info("socket") if self._socket is not None else None
        if raw_socket is not None:
            with contextlib.suppress(OSError):
                raw_socket.shutdown(socket.SHUT_RDWR)

    async def _session(self, url: str) -> None:
        async with ClientSession(timeout=ClientTimeout(total=None)) as client:
            async with asyncio.timeout(OPEN_S):
                stream = await client.ws_connect(
                    url, timeout=ClientWSTimeout(ws_close=CLOSE_S), max_msg_size=FRAME_BYTES_MAX, decode_text=False
                )
            async with stream:
                self._counters.connects += 1
                self._socket, self._silent = stream, False
                self._requests = asyncio.Queue(REQUESTS_MAX)
                self.send(*self._conversation.opened())
                async with asyncio.TaskGroup() as group:
                    beside = [
                        group.create_task(self._ping(), name="feed ping"),
                        group.create_task(self._speak(stream, self._requests), name="feed requests"),
                    ]
                    await self._listen(stream)
                    for task in beside:
                        task.cancel()
        raise ConnectionError(f"silent for {self._limits.silence_s:.0f} s" if self._silent else "closed")

    async def _listen(self, stream: ClientWebSocketResponse[Any]) -> None:
        """Take what comes until the connection ends.

        There is no deadline per frame: the pinging task watches for silence, and cuts the connection.
        """
        while (message := await stream.receive()).type in DATA:
            self._conversation.take(message.data)
            if not self.frames % FRAMES_AT_ONCE:
                # a full socket hands out hundreds without ever waiting, and all else would wait for them
                await asyncio.sleep(0)

    async def _speak(self, stream: ClientWebSocketResponse[Any], requests: asyncio.Queue[bytes]) -> None:
        while True:
            request = await requests.get()
            with contextlib.suppress(ClientError, ConnectionError):
                await stream.send_str(request.decode())

    async def _ping(self) -> None:
        # frames are counted, not timed: looking at the clock for each of them would cost more than decoding it
        pause = min(self._limits.ping_s, self._limits.silence_s / 2)
        seen, since = self.frames, _now()
        while True:
            await asyncio.sleep(pause)
            if self.frames != seen:
                seen, since = self.frames, _now()
            elif _now() - since > self._limits.silence_s:
                self._silent = True
                self.cut()
                return
            self.send(self._conversation.heartbeat())


def _now() -> float:
    return asyncio.get_running_loop().time()

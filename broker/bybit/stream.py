"""Bybit's private stream: executions, orders and positions of the account as they change.

Source: Bybit v5 documentation, "Connect": authentication, heartbeats, private topics.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from aiohttp import ClientError, ClientSession, ClientTimeout, ClientWSTimeout, WSMsgType

from domain.backoff import Backoff
from domain.order import StreamStatus

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from aiohttp import ClientWebSocketResponse

    from domain.ports import Told

    Socket = ClientWebSocketResponse[Any]

log = structlog.get_logger(__name__)

TOPICS = ("execution", "order", "position")
FRAME_BYTES_MAX = 1 << 22
EARLY_MAX = 1_000
EXPIRES_MS = 10_000
DATA = {WSMsgType.TEXT, WSMsgType.BINARY}


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """Every limit of the private stream, in seconds of the host's clock.

    Attributes:
        open_s: how long connecting, authentication and subscription may take together.
        close_s: how long a goodbye is waited for.
        ping_s: time between heartbeats.
        silence_s: a socket without any frame, not even the answer to a heartbeat, for so long is dead.
        backoff_s: first and longest pause before connecting again; the actual one is drawn below it.
        earned_s: a session that lasted so long earns a short pause before the next.
        down_s: how long the stream may be down before that is an obstacle.
    """

    open_s: float = 10.0
    close_s: float = 1.0
    ping_s: float = 8.0
    silence_s: float = 25.0
    backoff_s: tuple[float, float] = (0.5, 15.0)
    earned_s: float = 5.0
    down_s: float = 15.0


class PrivateStream:
    """Keeps one authenticated socket open, on the hosts in turn; ``read`` makes events of a topic's rows.

    It asks nothing over REST: a key that may only trade is enough.
    """

    def __init__(
        self,
        hosts: Sequence[str],
        key: str,
        secret: str,
        read: Callable[[str, Any], list[Told]],
        limits: StreamLimits | None = None,
        clock_ms: Callable[[], int] = lambda: int(time.time() * 1000),
    ) -> None:
        self._hosts, self._key, self._secret, self._read = list(hosts), key, secret, read
        self._limits, self._clock_ms = limits or StreamLimits(), clock_ms
        self._jitter = random.Random()  # noqa: S311  spreads reconnects, guards nothing
        self.status = StreamStatus()

    async def events(self) -> AsyncGenerator[Sequence[Told], None]:
        """Yield what is reported, and an empty list once each new connection has its subscriptions."""
        backoff, failures, loop = Backoff(*self._limits.backoff_s), 1, asyncio.get_running_loop()
        self._note(connected=False, reason="connecting")
        for host in itertools.cycle(self._hosts):
            opened, session = loop.time(), _Session(self._limits)
            try:
                early = await self._log_in(session, host)
                self._note(connected=True, reason="")
                yield []
                for messages in early:
                    yield messages
                while True:
                    if messages := self._take(await session.frame()):
                        yield messages
            except (OSError, ClientError, TimeoutError) as error:
                self._lost(host, str(error) or type(error).__name__)
            finally:
                await session.close()
                if self.status.connected:
                    self._note(connected=False, reason="closed")
            failures = 1 if loop.time() - opened > self._limits.earned_s else failures + 1
            await asyncio.sleep(backoff.wait_s(failures, self._jitter.uniform))

    def down_for(self) -> float:
        """Return for how many seconds the stream has been down, 0 while it is up or was never opened."""
        return 0.0 if self.status.connected or not self.status.since else time.monotonic() - self.status.since

    def obstacle(self) -> str:
        """Return since when the stream has been down, once that is too long; empty otherwise."""
        down = self.down_for()
        if down <= self._limits.down_s:
            return ""
        since = time.strftime("%H:%M:%S", time.gmtime(time.time() - down))
        return f"private stream down since {since} UTC ({self.status.reason})"

    async def _log_in(self, session: _Session, host: str) -> list[list[Told]]:
        """Connect, authenticate and subscribe; return what was reported before the exchange had confirmed that."""
        async with asyncio.timeout(self._limits.open_s):
            await session.open(f"{host}/v5/private")
            expires = self._clock_ms() + EXPIRES_MS
            signed = hmac.new(self._secret.encode(), f"GET/realtime{expires}".encode(), hashlib.sha256).hexdigest()
            early: list[list[Told]] = []
            for operation, args in (("auth", [self._key, expires, signed]), ("subscribe", list(TOPICS))):
                await session.send(operation, args)
                while (frame := await session.frame()).get("op") != operation:
                    if (messages := self._take(frame)) and len(early) < EARLY_MAX:
                        early.append(messages)
                if frame.get("success") is not True:
                    raise ConnectionError(f"{operation} refused: {str(frame.get('ret_msg'))[:200]}")
        return early

    def _take(self, frame: dict[str, Any]) -> list[Told]:
        topic = frame.get("topic")
        return self._read(topic, frame.get("data")) if isinstance(topic, str) and topic in TOPICS else []

    def _lost(self, host: str, reason: str) -> None:
        self.status.failures += 1
        self._note(connected=False, reason=reason)
        log.warning("private stream lost", host=host, reason=reason)

    def _note(self, *, connected: bool, reason: str) -> None:
        status = self.status
        if connected != status.connected or not status.since:
            status.since = time.monotonic()
        status.connects += connected
        status.connected, status.reason = connected, reason


class _Session:
    """One socket, from its opening to its end."""

    def __init__(self, limits: StreamLimits) -> None:
        self._limits = limits
        self._client: ClientSession | None = None
        self._socket: Socket | None = None
        self._numbers = itertools.count(1)
        self._heard = self._pinged = 0.0

    async def open(self, url: str) -> None:
        self._client = ClientSession(timeout=ClientTimeout(total=None))
        goodbye = ClientWSTimeout(ws_close=self._limits.close_s)
        self._socket = await self._client.ws_connect(url, timeout=goodbye, max_msg_size=FRAME_BYTES_MAX)
        self._heard = self._pinged = asyncio.get_running_loop().time()

    async def close(self) -> None:
        if self._socket is not None:
            await self._socket.close()
        if self._client is not None:
            await self._client.close()

    async def send(self, operation: str, args: list[Any] | None = None) -> None:
        assert self._socket is not None
        request: dict[str, Any] = {"req_id": f"{operation}-{next(self._numbers)}", "op": operation}
        async with asyncio.timeout(self._limits.open_s):
            await self._socket.send_str(
                msgspec.json.encode(request if args is None else {**request, "args": args}).decode()
            )

    async def frame(self) -> dict[str, Any]:
        """Return the next frame, pinging meanwhile; one that cannot be read is one of executions without rows.

        Raises:
            ConnectionError: when the socket was closed, or has been silent for too long.
        """
        assert self._socket is not None
        limits, loop = self._limits, asyncio.get_running_loop()
        while True:
            if loop.time() - self._pinged >= limits.ping_s:
                self._pinged = loop.time()
                await self.send("ping")
            try:
                message = await self._socket.receive(timeout=limits.ping_s / 2)
            except TimeoutError:
                if loop.time() - self._heard > limits.silence_s:
                    raise ConnectionError(f"silent for {limits.silence_s:.0f} s") from None
                continue
            if message.type not in DATA:
                raise ConnectionError("closed")
            self._heard = loop.time()
            return _decoded(message.data)


def _decoded(frame: str | bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(frame, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {"topic": TOPICS[0], "data": frame}

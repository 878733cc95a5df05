"""Bybit's private stream: executions, orders and positions of the account as they change.

Source: Bybit v5 documentation, "Connect": authentication, heartbeats, private topics.
"""

from __future__ import annotations

import asyncio
import contextlib
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

from domain.errors import Unavailable
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
        self._numbers = itertools.count(1)
        self._jitter = random.Random()  # noqa: S311  spreads reconnects, guards nothing
        self.status = StreamStatus()
        self.malformed = 0

    async def events(self) -> AsyncGenerator[Sequence[Told], None]:
        """Yield what is reported, and an empty list once each new connection has its subscriptions."""
        first, longest = self._limits.backoff_s
        pause, loop = first, asyncio.get_running_loop()
        self._note(connected=False, reason="connecting")
        for host in itertools.cycle(self._hosts):
            opened = loop.time()
            try:
                async with contextlib.aclosing(self._session(host)) as session:
                    async for told in session:
                        yield told
            except (OSError, ClientError, TimeoutError, Unavailable) as error:
                self._lost(host, str(error) or type(error).__name__)
            finally:
                if self.status.connected:
                    self._note(connected=False, reason="closed")
            pause = first if loop.time() - opened > self._limits.earned_s else min(longest, pause * 2)
            await asyncio.sleep(self._jitter.uniform(first / 2, pause))

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

    async def _session(self, host: str) -> AsyncGenerator[Sequence[Told], None]:
        limits = self._limits
        async with ClientSession(timeout=ClientTimeout(total=None)) as client:
            async with asyncio.timeout(limits.open_s):
                socket = await client.ws_connect(
                    f"{host}/v5/private", timeout=ClientWSTimeout(ws_close=limits.close_s), max_msg_size=FRAME_BYTES_MAX
                )
            async with socket:
                async with asyncio.timeout(limits.open_s):
                    early = await self._log_in(socket)
                self._note(connected=True, reason="")
                yield []
                for told in early:
                    yield told
                async with contextlib.aclosing(self._frames(socket)) as frames:
                    async for frame in frames:
                        if told := self._take(frame):
                            yield told
        raise ConnectionError("closed")

    async def _log_in(self, socket: Socket) -> list[list[Told]]:
        """Authenticate and subscribe; return what was reported before the exchange had confirmed that."""
        expires = self._clock_ms() + EXPIRES_MS
        signed = hmac.new(self._secret.encode(), f"GET/realtime{expires}".encode(), hashlib.sha256).hexdigest()
        await self._send(socket, "auth", [self._key, expires, signed])
        early: list[list[Told]] = []
        await self._confirmed(socket, "auth", early)
        await self._send(socket, "subscribe", list(TOPICS))
        await self._confirmed(socket, "subscribe", early)
        return early

    async def _confirmed(self, socket: Socket, operation: str, early: list[list[Told]]) -> None:
        while (message := await socket.receive()).type in DATA:
            frame = self._decoded(message.data)
            if frame.get("op") == operation:
                if frame.get("success") is True:
                    return
                raise ConnectionError(f"{operation} refused: {str(frame.get('ret_msg'))[:200]}")
            if (told := self._take(frame)) and len(early) < EARLY_MAX:
                early.append(told)
        raise ConnectionError(f"closed before {operation} was confirmed")

    async def _frames(self, socket: Socket) -> AsyncGenerator[dict[str, Any], None]:
        """Yield frames until the connection ends; raise when it has been silent for too long."""
        limits, loop = self._limits, asyncio.get_running_loop()
        heard = pinged = loop.time()
        while True:
            try:
                message = await socket.receive(timeout=limits.ping_s / 2)
            except TimeoutError:
                if loop.time() - heard > limits.silence_s:
                    raise ConnectionError(f"silent for {limits.silence_s:.0f} s") from None
            else:
                if message.type not in DATA:
                    return
                heard = loop.time()
                yield self._decoded(message.data)
            if loop.time() - pinged >= limits.ping_s:
                pinged = loop.time()
                await self._send(socket, "ping", None)

    async def _send(self, socket: Socket, operation: str, args: list[Any] | None) -> None:
        request = {"req_id": f"{operation}-{next(self._numbers)}", "op": operation}
        async with asyncio.timeout(self._limits.open_s):
            await socket.send_str(msgspec.json.encode(request if args is None else {**request, "args": args}).decode())

    def _decoded(self, frame: str | bytes) -> dict[str, Any]:
        try:
            return msgspec.json.decode(frame, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self.malformed += 1
            return {"topic": TOPICS[0], "data": frame}

    def _take(self, frame: dict[str, Any]) -> list[Told]:
        topic = frame.get("topic")
        # an execution.linear beside execution would be the same topic by another name
        name = topic.partition(".")[0] if isinstance(topic, str) else ""
        return self._read(name, frame.get("data")) if name in TOPICS else []

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

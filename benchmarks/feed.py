"""Receiving frames: the whole feed, against a websockets loop that looks at nothing."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import multiprocessing
import re
import socket
import time
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from websockets.asyncio.client import connect

from benchmarks.measured import Measured, compared
from broker.bybit import public_messages
from broker.bybit.public_messages import kline_topic
from domain.candle import Bars, Series
from market.feed import Feed
from market.frames import Frames
from market.limits import FeedLimits
from tests.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.synchronize import Event

    from domain.coverage import Span

SYMBOLS, BARS, PUSHES, ROUNDS = 500, 6, 15, 7
PACE, PACED = 1_000, 5_000
STEP = 180_000
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def frames_to_send() -> list[bytes]:
    """Return what an exchange would push: each bar a few times while it forms, then closed beside its successor."""
    sent = []
    for number in range(1, BARS + 1):
        for push in range(PUSHES):
            for i in range(SYMBOLS):
                items = [_item(number, confirm=False)]
                if push == 0 and number > 1:
                    items.insert(0, _item(number - 1, confirm=True))
                sent.append(_body(i, items, number))
    return sent


def _body(symbol: int, items: list[dict[str, object]], number: int) -> bytes:
    topic = kline_topic(f"COIN{symbol}USDT", "3m")
    return msgspec.json.encode({"topic": topic, "data": items, "ts": number * STEP, "type": "snapshot"})


def _item(number: int, *, confirm: bool) -> dict[str, object]:
    return {
        "start": number * STEP, "end": (number + 1) * STEP - 1, "interval": "3", "open": "65114.3", "close": "65120.5",
        "high": "65130.1", "low": "65100.2", "volume": "81.4904", "turnover": "5163411.7712", "confirm": confirm,
        "timestamp": number * STEP + 1,
    }  # fmt: skip


def push_frames(listening: socket.socket) -> None:
    """Serve: every client that has said something gets all frames, in pieces as large as the socket takes."""
    sent = b"".join(_framed(body) for body in frames_to_send())
    while True:
        with _client(listening) as client, contextlib.suppress(OSError):
            client.sendall(sent)
            client.recv(65_536)


def _framed(payload: bytes) -> bytes:
    # RFC 6455: final text frame, unmasked, with a 16-bit length
    return b"\x81\x7e" + len(payload).to_bytes(2, "big") + payload


async def bare(port: int, count: int) -> float:
    """Return messages per second of a loop that only receives."""
    settings = {"max_queue": 1024, "compression": None, "proxy": None, "ping_interval": None}
    async with connect(f"ws://127.0.0.1:{port}", **settings) as stream:
        await stream.send("go")
        await stream.recv(decode=False)
        began = time.perf_counter()
        for _ in range(count - 1):
            await stream.recv(decode=False)
        return (count - 1) / (time.perf_counter() - began)


class NoKlines:
    """Nothing is missing, so nothing is asked for."""

    async def closed(self, series: Series, start: int, end: int) -> Bars:
        """Return nothing."""
        raise AssertionError((series, start, end))

    def resting(self, series: Series, span: Span) -> tuple[Span, ...]:  # noqa: ARG002
        """Return nothing."""
        return ()

    async def newest(self, series: Series, count: int) -> Bars:
        """Return nothing."""
        raise AssertionError((series, count))

    async def latest(self, series: Series, count: int) -> Bars:
        """Return nothing."""
        raise AssertionError((series, count))


def _feed(port: int) -> Feed:
    series = [Series(f"COIN{i}/USDT:USDT", "3m") for i in range(SYMBOLS)]
    ids = {f"COIN{i}/USDT:USDT": f"COIN{i}USDT" for i in range(SYMBOLS)}
    limits = FeedLimits(topics_per_connection=SYMBOLS)
    return Feed(
        [f"ws://127.0.0.1:{port}"], ids, Frames(dict.fromkeys(series, 500)), NoKlines(), limits, public_messages
    )


async def whole(port: int, count: int) -> float:
    """Return messages per second of the feed: decoded, applied, batched and delivered."""
    feed, delivered = _feed(port), 0

    async def take(batch: list[object]) -> None:
        nonlocal delivered
        delivered += len(batch)

    task = asyncio.create_task(feed.run(take))
    while not feed.counters.frames:
        await asyncio.sleep(0)
    first, began = feed.counters.frames, time.perf_counter()
    while feed.counters.frames < count:
        await asyncio.sleep(0.005)
    rate = (feed.counters.frames - first) / (time.perf_counter() - began)
    while delivered < SYMBOLS * (BARS - 1):
        await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return rate


def measure() -> list[Measured]:
    """Measure how many frames a second are decoded and applied."""
    count = SYMBOLS * BARS * PUSHES
    with _serving(push_frames) as port:
        pairs = [(asyncio.run(whole(port, count)), asyncio.run(bare(port, count))) for _ in range(ROUNDS)]
    what = "frames decoded and applied to 500 symbols; received by websockets and not looked at"
    return [compared("feed", what, "frames/s", pairs, 0.7, at_least=True)]


def measure_latency() -> list[Measured]:
    """Measure how long a frame takes from the wire to its bar."""
    sent = multiprocessing.get_context("spawn").RawArray("d", PACED)
    with _serving(push_paced, sent) as port:
        pairs = []
        for _ in range(ROUNDS):
            bare_p99, own_p99 = (asyncio.run(heard(port, sent)) for heard in (_heard_bare, _heard_whole))
            pairs.append((1000 * own_p99, 1000 * bare_p99))
    what = "p99 from the wire to the bar at 1,000 frames a second; received by websockets and not looked at"
    return [compared("feed_latency", what, "ms", pairs, 2)]


async def _heard_bare(port: int, sent: Any) -> float:
    lags = []
    settings = {"max_queue": 1024, "compression": None, "proxy": None, "ping_interval": None}
    async with connect(f"ws://127.0.0.1:{port}", **settings) as stream:
        await stream.send("go")
        for number in range(PACED):
            await stream.recv(decode=False)
            lags.append(time.monotonic() - sent[number])
    return float(np.percentile(lags, 99))


class _Prices(dict[str, tuple[float, int]]):
    """Notes when a frame has been applied; its timestamp is its number."""

    def __init__(self, sent: Any) -> None:
        super().__init__()
        self.sent, self.lags = sent, list[float]()

    def __setitem__(self, symbol: str, told: tuple[float, int]) -> None:
        super().__setitem__(symbol, told)
        self.lags.append(time.monotonic() - self.sent[told[1]])


async def _heard_whole(port: int, sent: Any) -> float:
    feed = _feed(port)
    feed.prices = prices = _Prices(sent)

    async def take(_: list[object]) -> None:
        pass

    task = asyncio.create_task(feed.run(take))
    while len(prices.lags) < PACED:
        await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return float(np.percentile(prices.lags, 99))


def push_paced(listening: socket.socket, sent: Any) -> None:
    """Serve: every client that has said something gets 1,000 frames a second, and ``sent`` is when each left."""
    frames = []
    for number in range(PACED):
        bar = number // SYMBOLS + 1
        body = _body(number % SYMBOLS, [{**_item(bar, confirm=False), "timestamp": number}], bar)
        frames.append(_framed(body))
    while True:
        with _client(listening) as client, contextlib.suppress(OSError):
            began = time.monotonic()
            for number, frame in enumerate(frames):
                time.sleep(max(0.0, began + number / PACE - time.monotonic()))
                sent[number] = time.monotonic()
                client.sendall(frame)
            client.recv(65_536)


@contextlib.contextmanager
def _serving(push: Callable[..., None], *more: Any) -> Iterator[int]:
    context = multiprocessing.get_context("spawn")
    port, ready = free_port(), context.Event()
    server = context.Process(target=_serve, args=(push, port, ready, *more), daemon=True)
    server.start()
    try:
        ready.wait(30)
        yield port
    finally:
        server.kill()
        server.join()


def _serve(push: Callable[..., None], port: int, ready: Event, *more: Any) -> None:
    with socket.create_server(("127.0.0.1", port)) as listening:
        ready.set()
        push(listening, *more)


@contextlib.contextmanager
def _client(listening: socket.socket) -> Iterator[socket.socket]:
    """Shake hands with the next client, and wait for what it says first.

    A real server library would be slower than the client under test, so the few bytes of protocol are written here.
    """
    client, _ = listening.accept()
    with client:
        key = re.search(rb"Sec-WebSocket-Key: (\S+)", client.recv(65_536), re.IGNORECASE)
        assert key
        accept = base64.b64encode(hashlib.sha1(key[1] + GUID).digest())
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        client.recv(65_536)
        yield client

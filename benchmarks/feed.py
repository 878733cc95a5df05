"""Receiving frames: the whole feed, against a websockets loop that looks at nothing."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import multiprocessing
import re
import socket
import statistics
import time
from typing import TYPE_CHECKING

import msgspec
from websockets.asyncio.client import connect

from domain.candle import Bars, Series
from market.bybit_messages import kline_topic
from market.feed import Feed, FeedLimits
from market.frames import Frames
from tests.servers import free_port

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event

    from domain.coverage import Span

SYMBOLS, BARS, PUSHES, ROUNDS = 50, 40, 15, 5
STEP = 180_000
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def frames_to_send() -> list[str]:
    """Return what an exchange would push: each bar a few times while it forms, then closed beside its successor."""
    sent = []
    for number in range(1, BARS + 1):
        for push in range(PUSHES):
            for i in range(SYMBOLS):
                items = [_item(number, confirm=False)]
                if push == 0 and number > 1:
                    items.insert(0, _item(number - 1, confirm=True))
                topic = kline_topic(f"COIN{i}USDT", "3m")
                body = {"topic": topic, "data": items, "ts": number * STEP, "type": "snapshot"}
                sent.append(msgspec.json.encode(body).decode())
    return sent


def _item(number: int, *, confirm: bool) -> dict[str, object]:
    return {
        "start": number * STEP, "end": (number + 1) * STEP - 1, "interval": "3", "open": "65114.3", "close": "65120.5",
        "high": "65130.1", "low": "65100.2", "volume": "81.4904", "turnover": "5163411.7712", "confirm": confirm,
        "timestamp": number * STEP + 1,
    }  # fmt: skip


def push_frames(port: int, ready: Event) -> None:
    """Serve: every client that has said something gets all frames, in pieces as large as the socket takes.

    A real server library would be slower than the client under test, so the few bytes of protocol are written here.
    """
    sent = b"".join(_framed(text.encode()) for text in frames_to_send())
    with socket.create_server(("127.0.0.1", port)) as listening:
        ready.set()
        while True:
            client, _ = listening.accept()
            with client, contextlib.suppress(OSError):
                key = re.search(rb"Sec-WebSocket-Key: (\S+)", client.recv(65_536), re.IGNORECASE)
                assert key
                accept = base64.b64encode(hashlib.sha1(key[1] + GUID).digest())
                client.sendall(
                    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
                )
                client.recv(65_536)
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

    async def latest(self, series: Series, count: int) -> Bars:
        """Return nothing."""
        raise AssertionError((series, count))


async def whole(port: int, count: int) -> float:
    """Return messages per second of the feed: decoded, applied, batched and delivered."""
    series = [Series(f"COIN{i}/USDT:USDT", "3m") for i in range(SYMBOLS)]
    frames = Frames(dict.fromkeys(series, 500))
    ids = {f"COIN{i}/USDT:USDT": f"COIN{i}USDT" for i in range(SYMBOLS)}
    feed = Feed([f"ws://127.0.0.1:{port}"], ids, frames, NoKlines(), FeedLimits())
    delivered = 0

    async def take(batch: list[object]) -> None:
        nonlocal delivered
        delivered += len(batch)

    task = asyncio.create_task(feed.run(take))
    while not feed.counters.frames:
        await asyncio.sleep(0)
    first, began = feed.counters.frames, time.perf_counter()
    while feed.counters.frames < count:
        await asyncio.sleep(0.002)
    rate = (feed.counters.frames - first) / (time.perf_counter() - began)
    while delivered < SYMBOLS * (BARS - 1):
        await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return rate


def measure() -> tuple[float, str]:
    """Return the feed's rate relative to the bare loop's, and both rates."""
    context = multiprocessing.get_context("spawn")
    port, ready = free_port(), context.Event()
    server = context.Process(target=push_frames, args=(port, ready), daemon=True)
    server.start()
    count = SYMBOLS * BARS * PUSHES
    try:
        ready.wait(30)
        rates = [(asyncio.run(bare(port, count)), asyncio.run(whole(port, count))) for _ in range(ROUNDS)]
    finally:
        server.kill()
        server.join()
    slow, fast = statistics.median(r[1] for r in rates), statistics.median(r[0] for r in rates)
    ratio = statistics.median(ours / plain for plain, ours in rates)
    return ratio, f"{slow / 1000:.0f} k/s against {fast / 1000:.0f} k/s"

"""Keeps Bybit's public streams open, heals their holes, and hands out batches of closed bars."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from aiohttp import ClientError, ClientSession, ClientTimeout, ClientWSTimeout, WSMsgType

from domain.candle import ClosedBar, Series, timeframe_ms
from domain.errors import BadData, RevenantError
from market import bybit_messages as bybit
from market.allowance import Allowance
from market.frames import Batches, Frames, disagreement

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from aiohttp import ClientWebSocketResponse

    from domain.ports import Klines

log = structlog.get_logger(__name__)

CONNECT_WINDOW_S, FRAMES_AT_ONCE = 300.0, 50
OPEN_S, CLOSE_S = 10.0, 2.0
FRAME_BYTES_MAX = 1 << 20
STREAMS_MAX = 100_000
DATA = {WSMsgType.TEXT, WSMsgType.BINARY}
EARNED_S = 5.0
"""A session that lasted so long earns a short pause before the next."""

LATEST = -1
"""Asks for a silent stream: everything that closed in the meantime, as far as REST knows."""


@dataclass(frozen=True, slots=True)
class FeedLimits:
    """Every limit of the feed, seconds of the host's monotonic clock.

    Attributes:
        topics_per_connection: how many streams share a socket.
        args_chars: Bybit's limit on the length of one subscribe request.
        ping_s: time between heartbeats.
        silence_s: a socket with no frame of any kind for so long is dead.
        stale_s: a stream with no frame for so long is asked about over REST; thrice, and its socket is reopened.
        confirm_s: how long a bar may stay unconfirmed after its successor was seen.
        grace_s: how long a batch waits for its last bar.
        backoff_s: first and longest pause before connecting again; the actual one is drawn below it.
        connects_max: attempts to connect that one socket may make in a row; they are regained evenly over five
            minutes. Bybit bans who makes too many.
        fills_at_once: REST requests for holes at a time.
        batches_waiting: batches not yet taken by the engine; beyond it the sockets are dropped and healed later.
    """

    topics_per_connection: int = 200
    args_chars: int = 20_000
    ping_s: float = 20.0
    silence_s: float = 30.0
    stale_s: float = 75.0
    confirm_s: float = 2.0
    grace_s: float = 1.5
    backoff_s: tuple[float, float] = (0.5, 30.0)
    connects_max: int = 20
    fills_at_once: int = 8
    batches_waiting: int = 5_000


@dataclass(slots=True)
class FeedCounters:
    """What the sockets went through."""

    frames: int = 0
    malformed: int = 0
    unknown: int = 0
    connects: int = 0
    failures: int = 0
    refused_topics: int = 0
    holes: int = 0
    stale: int = 0
    mismatches: int = 0


@dataclass(slots=True)
class _Stream:
    series: Series
    symbol: str
    topic: str
    heard: float = 0.0
    asked: float = 0.0
    pushes: int = 0
    pushes_seen: int = 0
    price_time: int = 0
    forming: int = 0
    strikes: int = 0
    unconfirmed: tuple[int, float] | None = None
    filling: bool = False


@dataclass(slots=True)
class _Shard:
    topics: list[str]
    socket: ClientWebSocketResponse[Any] | None = None
    acked: set[str] = field(default_factory=set)
    request: str = ""
    frames: int = 0
    silent: bool = False


class Feed:
    """Streams closed bars of many series.

    ``urls`` are tried in turn. ``prices`` holds the last price and its market time per symbol, for whoever asks.
    """

    def __init__(
        self, urls: list[str], venue_ids: Mapping[str, str], frames: Frames, klines: Klines, limits: FeedLimits
    ) -> None:
        self._urls, self._venue_ids, self._frames = urls, venue_ids, frames
        self._klines, self._limits = klines, limits
        self._streams: dict[Series, _Stream] = {}
        self._by_topic: dict[str, _Stream] = {}
        self._shards: list[_Shard] = []
        self._batches = Batches([], limits.grace_s)
        self._added = asyncio.Event()
        # each series waits there at most once
        self._wanted: asyncio.Queue[tuple[Series, int | None]] = asyncio.Queue(STREAMS_MAX)
        self._opened: asyncio.TaskGroup | None = None
        self._numbers = itertools.count(1)
        self._jitter = random.Random()  # noqa: S311  spreads reconnects, guards nothing
        self._counters = FeedCounters()
        self.prices: dict[str, tuple[float, int]] = {}
        self.follow(frames.series)

    def follow(self, series: Sequence[Series]) -> None:
        """Stream more series, whose windows are there already; at once when others are being streamed."""
        names = [bybit.kline_topic(self._venue_ids[one.symbol], one.timeframe) for one in series]
        fresh = [_Stream(one, one.symbol, name) for one, name in zip(series, names, strict=True)]
        self._streams |= {stream.series: stream for stream in fresh}
        self._by_topic |= {stream.topic: stream for stream in fresh}
        self._batches.follow(series)
        limits = self._limits
        groups = bybit.split_topics(names, count_max=limits.topics_per_connection, chars_max=limits.args_chars)
        shards = [_Shard(group) for group in groups]
        self._shards += shards
        if (group := self._opened) is not None:
            for shard in shards:
                group.create_task(self._keep_open(shard), name="feed beside")

    async def run(self, deliver: Callable[[list[ClosedBar]], Awaitable[None]]) -> None:
        """Stream until cancelled, passing each batch of bars to ``deliver``."""
        try:
            async with asyncio.TaskGroup() as group:
                self._opened = group
                for number, shard in enumerate(self._shards):
                    group.create_task(self._keep_open(shard), name=f"feed {number}")
                for number in range(self._limits.fills_at_once):
                    group.create_task(self._fill_holes(), name=f"fill {number}")
                group.create_task(self._watch(), name="feed watch")
                group.create_task(self._hand_out(deliver), name="feed batches")
        finally:
            self._opened = None

    @property
    def counters(self) -> FeedCounters:
        """What the sockets went through so far."""
        # counted once for each frame: that is often enough
        self._counters.frames = sum(shard.frames for shard in self._shards)
        return self._counters

    def stale(self) -> list[Series]:
        """Return the series that have said nothing for too long."""
        now, longest = _now(), self._limits.stale_s
        # a push that the watch has not seen yet is news all the same
        silent = (s for s in self._streams.values() if s.pushes == s.pushes_seen and now - s.heard > longest)
        return [stream.series for stream in silent]

    def ages(self) -> dict[Series, float]:
        """Return of each series how many seconds ago it was heard last; one that never was is left out."""
        now = _now()
        return {
            one.series: 0.0 if one.pushes != one.pushes_seen else round(now - one.heard, 1)
            for one in self._streams.values() if one.pushes
        }  # fmt: skip

    def connected(self) -> bool:
        """Say whether every socket is open and every topic acknowledged."""
        return all(shard.socket is not None and len(shard.acked) >= len(shard.topics) for shard in self._shards)

    async def _keep_open(self, shard: _Shard) -> None:
        first, longest = self._limits.backoff_s
        pause, hosts = first, itertools.cycle(self._urls)
        allowance = Allowance(self._limits.connects_max, CONNECT_WINDOW_S)
        while True:
            if wait := allowance.take(_now()):
                log.error("feed has used up its connection attempts: waiting", seconds=round(wait))
                await asyncio.sleep(wait)
            opened = _now()
            url = next(hosts)
            try:
                await self._session(shard, url)
            except (OSError, ClientError, TimeoutError) as error:
                log.warning("feed connection lost", url=url, reason=str(error) or type(error).__name__)
            finally:
                shard.socket = None
                shard.acked.clear()
            self._counters.failures += 1
            # a session that lasted earns a fresh start, one that did not waits longer
            pause = first if _now() - opened > EARNED_S else min(longest, pause * 2)
            await asyncio.sleep(self._jitter.uniform(first / 2, pause))

    async def _session(self, shard: _Shard, url: str) -> None:
        async with ClientSession(timeout=ClientTimeout(total=None)) as client:
            async with asyncio.timeout(OPEN_S):
                stream = await client.ws_connect(
                    url, timeout=ClientWSTimeout(ws_close=CLOSE_S), max_msg_size=FRAME_BYTES_MAX, decode_text=False
                )
            async with stream:
                self._counters.connects += 1
                shard.socket, shard.silent = stream, False
                shard.request = f"sub-{next(self._numbers)}"
                await stream.send_str(bybit.subscription(shard.topics, shard.request).decode())
                async with asyncio.TaskGroup() as group:
                    pinging = group.create_task(self._ping(shard, stream), name="feed ping")
                    await self._listen(shard, stream)
                    pinging.cancel()
        raise ConnectionError(f"silent for {self._limits.silence_s:.0f} s" if shard.silent else "closed")

    async def _listen(self, shard: _Shard, stream: ClientWebSocketResponse[Any]) -> None:
        """Take what comes until the connection ends.

        There is no deadline per frame: the pinging task watches for silence, and cuts the connection.
        """
        while (message := await stream.receive()).type in DATA:
            self._take(shard, message.data)
            if not shard.frames % FRAMES_AT_ONCE:
                # a full socket hands out hundreds without ever waiting, and all else would wait for them
                await asyncio.sleep(0)

    async def _ping(self, shard: _Shard, stream: ClientWebSocketResponse[Any]) -> None:
        # frames are counted, not timed: looking at the clock for each of them would cost more than decoding it
        pause = min(self._limits.ping_s, self._limits.silence_s / 2)
        seen, since = shard.frames, _now()
        while True:
            await asyncio.sleep(pause)
            if shard.frames != seen:
                seen, since = shard.frames, _now()
            elif _now() - since > self._limits.silence_s:
                shard.silent = True
                _cut(stream)
                return
            with contextlib.suppress(ClientError, ConnectionError):
                await stream.send_str(bybit.ping(f"ping-{next(self._numbers)}").decode())

    def _take(self, shard: _Shard, frame: bytes) -> None:
        shard.frames += 1
        try:
            # almost every frame is one of these
            message = bybit.pushes(frame)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self._take_whole(shard, frame)
            return
        stream = self._by_topic.get(message.topic)
        if stream is None:
            self._counters.unknown += 1
            return
        stream.pushes += 1
        whole = False
        for item in message.items:
            if item.timestamp >= stream.price_time:
                stream.price_time = item.timestamp
                self.prices[stream.symbol] = (item.close, item.timestamp)
            if item.confirm and not whole:
                whole = True
                self._take_whole(shard, frame)
            elif not item.confirm and (item.start != stream.forming or stream.unconfirmed is not None):
                self._see_forming(stream, item.start)

    def _take_whole(self, shard: _Shard, frame: bytes) -> None:
        """Take a frame that has a closed bar, or is no kline frame at all."""
        try:
            message = bybit.decode(frame)
        except BadData as error:
            self._counters.malformed += 1
            log.warning("malformed frame ignored", reason=str(error))
            return
        if isinstance(message, bybit.Klines):
            for item in message.items:
                if item.confirm:
                    self._close_bar(self._by_topic[message.topic], item)
        elif isinstance(message, bybit.Ack):
            self._take_ack(shard, message)
        else:
            self._counters.unknown += 1

    def _take_ack(self, shard: _Shard, message: bybit.Ack) -> None:
        if message.request != shard.request and message.operation != "subscribe":
            return
        if message.success:
            shard.acked.update(shard.topics)
            for topic in shard.topics:
                # what the exchange has agreed to send has until it is stale to come: no bar, no decision
                if stream := self._by_topic.get(topic):
                    stream.heard = stream.heard or _now()
            return
        self._counters.refused_topics += 1
        log.error("exchange refused a subscription", reason=message.message, way_out="check trading.symbols")
        refused = message.message.partition("topic:")[2]
        if refused in shard.topics:
            # one bad topic must not cost the others theirs
            shard.topics.remove(refused)
            self._forget(refused)
            self._close(shard)

    def _forget(self, topic: str) -> None:
        stream = self._by_topic.pop(topic, None)
        if stream is not None:
            del self._streams[stream.series]
            self._batches.forget(stream.series)

    def _close_bar(self, stream: _Stream, item: bybit.KlineItem) -> None:
        try:
            released = self._frames.offer(stream.series, item.bar())
        except BadData as error:
            log.warning("impossible bar refused", series=stream.series, reason=str(error))
            return
        self._release(released)
        if not released and self._frames.hole(stream.series):
            self._want(stream, None)

    def _see_forming(self, stream: _Stream, start: int) -> None:
        # a bar being formed proves that all before it are closed, confirmed or not
        stream.forming = start
        if self._frames.hole(stream.series, start) is None:
            stream.unconfirmed = None
        else:
            # the clock runs from the first bar that stayed unconfirmed, however many have followed it
            since = stream.unconfirmed[1] if stream.unconfirmed else _now()
            stream.unconfirmed = (start, since)

    def _release(self, released: list[ClosedBar]) -> None:
        if released:
            self._verify(released)
            self._batches.add(released, _now())
            self._added.set()

    def _verify(self, released: list[ClosedBar]) -> None:
        for closed in released:
            parts = Series(closed.series.symbol, "3m")
            if closed.series.timeframe != "15m" or parts not in self._streams:
                continue
            bars = self._frames.bars(parts)
            inside = (bars.open_time >= closed.bar.open_time) & (bars.open_time < closed.close_time)
            if inside.sum() == timeframe_ms("15m") // timeframe_ms("3m"):
                differs = disagreement(closed.bar, type(bars)(*(column[inside] for column in bars.columns())))
                if differs:
                    self._counters.mismatches += 1
                    log.warning("15m bar differs from its 3m bars", series=closed.series, reason=differs)

    def _want(self, stream: _Stream, seen_open: int | None) -> None:
        if not stream.filling:
            stream.filling = True
            self._counters.holes += 1
            self._wanted.put_nowait((stream.series, seen_open))

    async def _fill_holes(self) -> None:
        while True:
            series, seen_open = await self._wanted.get()
            stream = self._streams.get(series)
            if stream is None:
                continue
            try:
                await self._fill(series, seen_open)
            except RevenantError as error:
                log.warning("hole not filled yet", series=series, reason=str(error))
                await asyncio.sleep(self._jitter.uniform(0.2, 1.0))
            finally:
                stream.filling = False
            if self._frames.hole(series):
                self._want(stream, None)

    async def _fill(self, series: Series, seen_open: int | None) -> None:
        if seen_open == LATEST:
            newest = await self._klines.latest(series, 2)
            seen_open = int(newest.open_time[-1]) + timeframe_ms(series.timeframe) if len(newest) else None
        hole = self._frames.hole(series, seen_open)
        if hole is None:
            return
        bars = await self._klines.closed(series, *hole)
        if len(bars) < (hole[1] - hole[0]) // timeframe_ms(series.timeframe):
            # REST may lag a moment: only what is absent twice was never there
            await asyncio.sleep(self._limits.confirm_s)
            bars = await self._klines.closed(series, *hole)
        log.info("hole filled", series=series, bars=len(bars), start=hole[0], end=hole[1])
        self._release(self._frames.confirm_absent(series, *hole, bars))

    async def _watch(self) -> None:
        """Look for streams that fell silent and bars that were never confirmed."""
        while True:
            await asyncio.sleep(min(1.0, self._limits.confirm_s / 2))
            now = _now()
            for shard in self._shards:
                if shard.socket is None:
                    continue
                for topic in shard.topics:
                    self._inspect(shard, self._by_topic[topic], now)
            if len(self._batches) > self._limits.batches_waiting:
                log.error("engine does not keep up with the market: dropping the feed to catch up over REST")
                for shard in self._shards:
                    self._close(shard)

    def _inspect(self, shard: _Shard, stream: _Stream, now: float) -> None:
        if stream.unconfirmed and now - stream.unconfirmed[1] > self._limits.confirm_s:
            self._want(stream, stream.unconfirmed[0])
            stream.unconfirmed = None
        if stream.pushes != stream.pushes_seen:
            stream.pushes_seen, stream.heard, stream.strikes = stream.pushes, now, 0
        if not stream.heard:
            stream.heard = now
        if now - max(stream.heard, stream.asked) > self._limits.stale_s:
            stream.asked, stream.strikes = now, stream.strikes + 1
            self._counters.stale += 1
            log.warning("stream fell silent", series=stream.series, strikes=stream.strikes)
            self._want(stream, LATEST)
            if stream.strikes >= 3:  # noqa: PLR2004  the third time, asking politely has failed
                stream.strikes = 0
                self._close(shard)

    def _close(self, shard: _Shard) -> None:
        if shard.socket is not None:
            _cut(shard.socket)

    async def _hand_out(self, deliver: Callable[[list[ClosedBar]], Awaitable[None]]) -> None:
        while True:
            wait = self._batches.wait_s(_now())
            try:
                async with asyncio.timeout(wait):
                    await self._added.wait()
            except TimeoutError:
                pass
            self._added.clear()
            for batch in self._batches.due(_now()):
                await deliver(batch)


def _cut(stream: ClientWebSocketResponse[Any]) -> None:
    """End a connection without waiting for a word from the other side."""
    held = stream.get_extra_info("socket")
    if held is not None:
        with contextlib.suppress(OSError):
            held.shutdown(socket.SHUT_RDWR)


def _now() -> float:
    return asyncio.get_running_loop().time()

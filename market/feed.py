"""Keeps an exchange's public streams alive, heals their holes, and hands out batches of closed bars."""

from __future__ import annotations

import asyncio
import heapq
import random
from typing import TYPE_CHECKING

import structlog

from domain.candle import Bars, ClosedBar, Series, timeframe_ms
from domain.errors import BadData
from domain.kline_frames import Ack, Klines
from market.connection import Connection
from market.frames import Batches, Frames, coarsest_parts, disagreement
from market.gaps import Gaps
from market.limits import FeedCounters
from market.silence import AGAIN_SHARE, ASK_SHARE, Evidence
from market.streams import Shard, Stream, split_topics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from domain.kline_frames import KlineItem, KlineProtocol
    from market.gaps import NewestKlines
    from market.limits import FeedLimits

log = structlog.get_logger(__name__)

STRIKES = 2
"""After so many answers with trades that a topic has not told it is subscribed to anew; then after twice as many."""


class Feed:
    """Streams closed bars of many series.

    ``urls`` are tried in turn; ``protocol`` is what is spoken there. ``prices`` holds by symbol the last price and its
    market time, for whoever asks.
    """

    def __init__(
        self, urls: list[str], venue_ids: Mapping[str, str], frames: Frames, klines: NewestKlines, limits: FeedLimits,
        protocol: KlineProtocol,
    ) -> None:  # fmt: skip
        self._urls, self._venue_ids, self._frames, self._limits = urls, venue_ids, frames, limits
        self._protocol = protocol
        self._streams: dict[Series, Stream] = {}
        self._by_topic: dict[str, Stream] = {}
        self._finer: dict[Series, Series] = {}
        self._shards: list[Shard] = []
        self._dropped: dict[Series, str] = {}
        self._batches = Batches([], limits.grace_s)
        self._gaps = Gaps(frames, klines, limits.confirm_s, self._release, self._look)
        self._added = asyncio.Event()
        self._opened: asyncio.TaskGroup | None = None
        self._market, self._market_time, self._claimed, self._retried = dict[str, int](), 0, 0, 0.0
        self._jitter = random.Random()  # noqa: S311  spreads requests, guards nothing
        self._counters = FeedCounters()
        self.prices: dict[str, tuple[float, int]] = {}
        self.follow(frames.series)

    def follow(self, series: Sequence[Series]) -> None:
        """Stream more series, whose windows are there already; at once when others are being streamed."""
        names = {
            self._protocol.kline_topic(self._venue_ids[wanted.symbol], wanted.timeframe): wanted for wanted in series
        }
        self._batches.follow(series)
        limits = self._limits
        groups = split_topics(list(names), count_max=limits.topics_per_connection, chars_max=limits.args_chars)
        for topics in groups:
            shard = Shard(topics, self._take, self._protocol)
            shard.connection = Connection(self._urls, limits, self._counters, shard)
            for topic in topics:
                stream = Stream(names[topic], names[topic].symbol, topic, shard)
                stream.horizon = self._frames.horizon(stream.series)
                self._streams[stream.series] = self._by_topic[topic] = stream
            self._shards.append(shard)
            if (group := self._opened) is not None:
                group.create_task(shard.connection.run(), name="feed beside")
        self._finer = coarsest_parts(self._streams)

    async def run(self, deliver: Callable[[list[ClosedBar]], Awaitable[None]]) -> None:
        """Stream until cancelled, passing each batch of bars to ``deliver``."""
        try:
            async with asyncio.TaskGroup() as group:
                self._opened = group
                for number, shard in enumerate(self._shards):
                    group.create_task(shard.connection.run(), name=f"feed {number}")
                for number in range(self._limits.fills_at_once):
                    group.create_task(self._gaps.run(), name=f"fill {number}")
                group.create_task(self._watch(), name="feed watch")
                group.create_task(self._hand_out(deliver), name="feed batches")
        finally:
            self._opened = None

    @property
    def counters(self) -> FeedCounters:
        """What the sockets went through so far."""
        # counted once for each frame: that is often enough
        self._counters.frames = sum(shard.connection.frames for shard in self._shards)
        self._counters.holes = self._gaps.holes
        return self._counters

    def stale(self) -> list[Series]:
        """Return the series of which nothing has shown for too long that they are up to date.

        A market in which nothing is traded is up to date as long as REST shows nothing newer.
        """
        now, longest = _now(), self._limits.stale_s
        # a push that the watch has not seen yet is news all the same
        return [
            stream.series for stream in self._streams.values()
            if stream.pushes == stream.pushes_seen and stream.silence.lasts(now) > longest
        ]  # fmt: skip

    def ages(self) -> dict[Series, float]:
        """Return of each series how many seconds ago it was heard last; one that never was is left out."""
        now = _now()
        return {
            stream.series: 0.0 if stream.pushes != stream.pushes_seen else round(now - stream.silence.heard, 1)
            for stream in self._streams.values() if stream.pushes
        }  # fmt: skip

    def connected(self) -> bool:
        """Return whether every socket is open and every topic answered for."""
        return all(shard.connection.open and shard.subscription.answered for shard in self._shards)

    def refused(self) -> dict[Series, str]:
        """Return the series that the exchange does not stream, with its words."""
        kept = (shard.subscription.refused for shard in self._shards)
        return self._dropped | {
            self._by_topic[topic].series: words for by_topic in kept for topic, words in by_topic.items()
        }

    def _take(self, shard: Shard, frame: bytes) -> None:
        shard.connection.frames += 1
        try:
            # almost every frame is one of these
            message = self._protocol.pushes(frame)
        except ValueError:
            self._take_whole(shard, frame)
            return
        stream = self._by_topic.get(message.topic)
        if stream is None:
            self._counters.unknown += 1
            return
        stream.pushes += 1
        whole = False
        for item in message.items:
            if item.start > stream.horizon or item.timestamp > stream.horizon:
                self._refuse(stream, item.start)
                continue
            if item.timestamp >= stream.price_time:
                stream.price_time = item.timestamp
                stream.close = item.close
                self.prices[stream.symbol] = (item.close, item.timestamp)
            if item.confirm:
                stream.forming = max(stream.forming, item.start)
                if not whole:
                    whole = True
                    self._take_whole(shard, frame)
            elif item.start != stream.forming or stream.unconfirmed is not None:
                self._see_forming(stream, item.start)

    def _refuse(self, stream: Stream, start: int) -> None:
        """Believe nothing of a bar from the future, least of all its price; tell it once for each stream and second."""
        self._frames.counters.invalid += 1
        if stream.claimed != (now := int(_now())):
            stream.claimed = now
            log.warning("bar from the future refused", series=stream.series, start=start)

    def _take_whole(self, shard: Shard, frame: bytes) -> None:
        """Take a frame that has a closed bar, or is no kline frame at all."""
        try:
            message = self._protocol.decode(frame)
        except BadData as error:
            self._counters.malformed += 1
            log.warning("malformed frame ignored", reason=str(error))
            return
        if isinstance(message, Klines) and message.topic in self._by_topic:
            for item in message.items:
                if item.confirm:
                    self._close_bar(self._by_topic[message.topic], item)
        elif isinstance(message, Ack):
            self._take_ack(shard, message)
        else:
            self._counters.unknown += 1

    def _take_ack(self, shard: Shard, message: Ack) -> None:
        subscription, now = shard.subscription, _now()
        before, refused_before = set(subscription.acked), subscription.refused.copy()
        answered = subscription.take(message)
        for topic in subscription.acked - before:
            # what the exchange has agreed to send has its time to come: no bar, no decision
            if stream := self._by_topic.get(topic):
                stream.silence.heard = stream.silence.heard or now
        fresh = [*answered.dropped, *(topic for topic in subscription.refused if topic not in refused_before)]
        if fresh or answered.requests:
            log.error("exchange refused a subscription", reason=message.message, topics=fresh,
                      way_out="check trading.symbols")  # fmt: skip
        self._counters.refused_topics += len(fresh)
        for topic in answered.dropped:
            self._forget(topic, message.message)
        if answered.reopen:
            # one bad topic must not cost the others theirs
            shard.connection.cut()
        shard.connection.send(*answered.requests)

    def _forget(self, topic: str, words: str) -> None:
        stream = self._by_topic.pop(topic, None)
        if stream is not None:
            self._dropped[stream.series] = words
            del self._streams[stream.series]
            self._batches.forget(stream.series)
            self._gaps.drop(stream.series)

    def _close_bar(self, stream: Stream, item: KlineItem) -> None:
        try:
            released = self._frames.offer(stream.series, item.bar())
        except BadData as error:
            log.warning("impossible bar refused", series=stream.series, reason=str(error))
            return
        self._release(released)
        if not released and self._frames.hole(stream.series):
            self._gaps.fill(stream.series)

    def _see_forming(self, stream: Stream, start: int) -> None:
        # a bar being formed proves that all before it are closed, confirmed or not
        stream.forming = max(stream.forming, start)
        self._market[stream.symbol] = start
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
            finer = self._finer.get(closed.series)
            if finer is None or finer not in self._streams:
                continue
            bars = self._frames.bars(finer)
            inside = (bars.open_time >= closed.bar.open_time) & (bars.open_time < closed.close_time)
            if inside.sum() == timeframe_ms(closed.series.timeframe) // timeframe_ms(finer.timeframe):
                differs = disagreement(closed.bar, Bars(*(column[inside] for column in bars.columns())))
                if differs:
                    self._counters.mismatches += 1
                    log.warning("bar differs from those it is made of", series=closed.series, of=finer.timeframe,
                                reason=differs)  # fmt: skip

    def _look(self, series: Series, newest: Bars) -> int:
        """Take what REST has of a stream that was asked about; return the time that the market has reached."""
        stream, now = self._streams.get(series), _now()
        if stream is not None and stream.pushes == stream.pushes_seen:
            evidence = stream.silence.judge(newest, stream.told, now)
            if evidence is Evidence.QUIET:
                self._counters.quiet += 1
            elif evidence is Evidence.NONE:
                stream.share = AGAIN_SHARE
            elif evidence is Evidence.TRADED and stream.silence.lasts(now) > self._limits.stale_s:
                # before, the frame may still be under way: an exchange may send one a minute at the slowest
                self._strike(stream, now)
        return self._market_time

    def _strike(self, stream: Stream, now: float) -> None:
        silence, shard = stream.silence, stream.shard
        silence.strikes += 1
        self._counters.stale += 1
        log.warning("stream is silent though there are trades", series=stream.series, strikes=silence.strikes)
        if silence.strikes < STRIKES or silence.strikes & (silence.strikes - 1):
            return
        alive = (self._by_topic[topic].silence.heard for topic in shard.subscription.topics)
        if now - max(alive) > self._limits.stale_s:
            log.warning("no stream of a connection is heard: opening it anew", topics=len(shard.subscription.topics))
            shard.connection.cut()
        else:
            # the others are well: theirs is not touched
            self._counters.resubscribed += 1
            shard.connection.send(*shard.subscription.renew(stream.topic))

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(min(1.0, self._limits.confirm_s / 2))
            self._review(_now())

    def _review(self, now: float) -> None:
        """Look for streams that fell silent, bars that were never confirmed, and topics that were refused."""
        # one frame may claim any time: it makes others be asked about, but only what two symbols agree on has passed
        newest = heapq.nlargest(2, self._market.values())
        self._claimed = max(newest, default=0)
        self._market_time = min(newest) if len(newest) > 1 else 0
        for shard in self._shards:
            if shard.unanswered(now, self._limits.silence_s):
                log.warning("subscription is not answered: opening the connection anew")
                shard.connection.cut()
            elif shard.connection.open:
                for topic in shard.subscription.topics:
                    self._inspect(self._by_topic[topic], now)
        self._batches.excuse(stream.series for stream in self._streams.values() if self._quiet(stream, now))
        if now - self._retried > self._limits.refused_s:
            self._retried = now
            self._ask_again()
        if len(self._batches) > self._limits.batches_waiting:
            log.error("engine does not keep up with the market: dropping the feed to catch up over REST")
            for shard in self._shards:
                shard.connection.cut()

    def _inspect(self, stream: Stream, now: float) -> None:
        silence, stale_s = stream.silence, self._limits.stale_s
        stream.horizon = self._frames.horizon(stream.series)
        if stream.unconfirmed and now - stream.unconfirmed[1] > self._limits.confirm_s:
            self._gaps.fill(stream.series, stream.unconfirmed[0])
            stream.unconfirmed = None
        if stream.pushes != stream.pushes_seen:
            stream.pushes_seen = stream.pushes
            silence.hear(now)
        expected = bool(silence.heard) or stream.topic in stream.shard.subscription.refused
        if expected and (silence.due(now, stale_s * stream.share) or self._overdue(stream, now)):
            stream.share = self._jitter.uniform(*ASK_SHARE)
            if self._gaps.ask(stream.series):
                silence.asked = now
                self._counters.asked += 1

    def _overdue(self, stream: Stream, now: float) -> bool:
        """Return whether a bar has to be asked for whose time is over, as other symbols show, and that has not come."""
        step = timeframe_ms(stream.series.timeframe)
        hole = self._frames.hole(stream.series, self._claimed - self._claimed % step)
        if hole is None:
            stream.overdue = None
            return False
        if stream.overdue is None or stream.overdue[0] != hole[0]:
            pause = self._limits.overdue_s
            stream.overdue = (hole[0], now + pause * self._jitter.uniform(1, 2), pause)
            return False
        start, next_at, pause = stream.overdue
        if now < next_at:
            return False
        pause = min(2 * pause, self._limits.stale_s * ASK_SHARE[0])
        stream.overdue = (start, now + pause * self._jitter.uniform(1, 2), pause)
        return True

    def _quiet(self, stream: Stream, now: float) -> bool:
        return stream.pushes == stream.pushes_seen and now - stream.silence.heard > self._limits.stale_s * ASK_SHARE[0]

    def _ask_again(self) -> None:
        for shard in self._shards:
            if shard.connection.open:
                for topic in list(shard.subscription.refused):
                    shard.connection.send(shard.subscription.ask([topic]))

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


def _now() -> float:
    return asyncio.get_running_loop().time()

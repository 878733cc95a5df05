"""The feed against a misbehaving exchange: what comes out is always contiguous, increasing, and each bar once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest

from broker.bybit import public_messages
from broker.bybit.klines import BybitKlines
from domain.candle import Bars, ClosedBar, Series, timeframe_ms
from market.feed import Feed
from market.frames import Frames
from market.limits import FeedLimits
from sandbox.tape import GeneratedTape
from tests.pace import followable, slowness
from tests.practice import START, practice, until

# the market goes slower where the machine is slow, and so does all that is measured against it
SLOW = slowness()
LIMITS = FeedLimits(
    topics_per_connection=3, ping_s=0.5 * SLOW, silence_s=2.0 * SLOW, stale_s=0.6 * SLOW, confirm_s=0.2 * SLOW,
    grace_s=0.2 * SLOW, backoff_s=(0.05, 0.3),
)  # fmt: skip
SYMBOLS = ["BTC/USDT:USDT", "ETH/USDT:USDT", "SOL/USDT:USDT"]


class QuietTape(GeneratedTape):
    """A generated market in which one symbol is not traded any more from a time on: flat bars without volume."""

    quiet, since = "", 0

    def bars(self, symbol, start, end):
        held = super().bars(symbol, start, end)
        if symbol != self.quiet or not len(held) or held.open_time[-1] < self.since:
            return held
        still = held.open_time >= self.since
        price = super().bars(symbol, self.since - self.base_ms, self.since).close[0]
        prices = [np.where(still, price, column) for column in (held.open, held.high, held.low, held.close)]
        return Bars(held.open_time, *prices, np.where(still, 0.0, held.volume), np.where(still, 0.0, held.turnover))


class Listener:
    """A feed on a practice exchange, and everything that it delivered."""

    def __init__(self, exchange, limits=LIMITS, urls=None, symbols=SYMBOLS, known=()):
        rules = exchange.exchange.tape.instruments
        self.client = exchange.client()
        self.series = [Series(symbol, timeframe) for symbol in symbols for timeframe in ("3m", "15m")]
        self.frames = Frames(dict.fromkeys(self.series, 300))
        ids = {symbol: rules[symbol].venue_id for symbol in known or symbols}
        self.klines = BybitKlines(self.client, ids)
        self.feed = Feed(urls or [exchange.stream], ids, self.frames, self.klines, limits, public_messages)
        self.batches: list[list[ClosedBar]] = []
        self.tape = exchange.exchange.tape

    async def __aenter__(self):
        for series in self.series:
            self.frames.seed(series, await self.klines.latest(series, 50))
        self.first = {series: self.frames.last_time(series) for series in self.series}
        self.task = asyncio.create_task(self.feed.run(self._take))
        return self

    async def __aexit__(self, *_):
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task
        await self.client.close()

    async def _take(self, batch):
        self.batches.append(batch)

    def bars(self):
        held = defaultdict(list)
        for batch in self.batches:
            for closed in batch:
                held[closed.series].append(closed.bar)
        return held

    def count(self):
        return min((len(self.bars()[series]) for series in self.series if series.timeframe == "3m"), default=0)

    def check(self):
        """Contiguous from the seed on, and equal to what the market really did."""
        for series, bars in self.bars().items():
            step = timeframe_ms(series.timeframe)
            times = [bar.open_time for bar in bars]
            assert times == list(range(self.first[series] + step, times[-1] + step, step)), series
            for bar in bars:
                truth = self.tape.bars(series.symbol, bar.open_time, bar.open_time + step)
                assert (bar.open, bar.close) == (truth.open[0], truth.close[-1])
                assert (bar.high, bar.low) == (truth.high.max(), truth.low.min())
        for batch in self.batches:
            assert len({closed.close_time for closed in batch}) == 1
            order = [(-timeframe_ms(closed.series.timeframe), closed.series.symbol) for closed in batch]
            assert order == sorted(order)


async def test_closed_bars_arrive_in_whole_batches(tmp_path):
    patient = replace(LIMITS, grace_s=20.0 * SLOW)
    async with practice(tmp_path, speed=followable(1_200)) as exchange, Listener(exchange, patient) as listener:
        await until(lambda: listener.count() >= 12, "bars")
        listener.check()
        whole = [batch for batch in listener.batches if batch[0].close_time % 900_000 == 0]
        for batch in whole:
            # what a series was begun with does not come again
            begun = listener.first.items()
            assert len(batch) == sum(t + timeframe_ms(one.timeframe) < batch[0].close_time for one, t in begun)
        assert listener.feed.counters.mismatches == 0
        assert listener.feed.connected()
        assert set(listener.feed.prices) == set(SYMBOLS)


async def test_more_series_are_streamed_beside_those_that_are(tmp_path):
    patient = replace(LIMITS, grace_s=20.0 * SLOW)
    async with (
        practice(tmp_path, speed=followable(1_200)) as exchange,
        Listener(exchange, patient, symbols=SYMBOLS[:2], known=SYMBOLS) as listener,
    ):
        await until(lambda: listener.count() >= 3, "bars")
        fresh = [Series(SYMBOLS[2], timeframe) for timeframe in ("3m", "15m")]
        listener.frames.follow(dict.fromkeys(fresh, 300))
        for series in fresh:
            listener.frames.seed(series, await listener.klines.latest(series, 50))
            listener.first[series] = listener.frames.last_time(series)
        # bars that close before they are streamed are no hole in the end
        seen = listener.count()
        await until(lambda: listener.count() >= seen + 2, "bars of the others")
        listener.feed.follow(fresh)
        listener.series += fresh
        await until(lambda: listener.count() >= 6, "bars of all")
        listener.check()
        assert listener.feed.connected()
        assert set(listener.feed.prices) == set(SYMBOLS)
        assert {closed.series for closed in listener.batches[-1]} >= {
            series for series in listener.series if series.timeframe == "3m"
        }


@pytest.mark.parametrize(
    "switches",
    [
        {"duplicate": True},
        {"reorder": True},
        {"delay_ms": 5},
        {"withhold_confirm": ["kline.3.BTCUSDT", "kline.15.ETHUSDT"]},
        {"silence": ["kline.3.SOLUSDT"]},
        {"duplicate": True, "reorder": True, "withhold_confirm": ["kline.3.ETHUSDT"]},
    ],
    ids=lambda switches: "+".join(switches),
)
async def test_bars_stay_whole_whatever_the_stream_does(tmp_path, switches):
    async with practice(tmp_path, speed=followable(900)) as exchange, Listener(exchange) as listener:
        await until(lambda: listener.count() >= 2, "the feed to run")
        await exchange.faults(**switches)
        reached = listener.count()
        await until(lambda: listener.count() >= reached + 8, "bars under the fault", 40)
        await exchange.faults(reset=True)
        await until(lambda: listener.count() >= reached + 11, "bars after the fault", 40)
        listener.check()


async def test_dropped_connections_come_back_with_every_topic_and_no_hole(tmp_path):
    async with practice(tmp_path, speed=followable(900)) as exchange, Listener(exchange) as listener:
        await until(lambda: listener.count() >= 2, "the feed to run")
        for _ in range(3):
            reached = listener.count()
            await exchange.faults(drop=True)
            await until(lambda n=reached: listener.count() >= n + 4, "bars after the drop")
        listener.check()
        assert listener.feed.counters.connects >= 2 * 4
        assert listener.feed.connected()


async def test_an_outage_is_filled_before_the_next_bar_is_shown(tmp_path):
    async with practice(tmp_path, speed=followable(900)) as exchange, Listener(exchange) as listener:
        await until(lambda: listener.count() >= 2, "the feed to run")
        await exchange.faults(refuse=True, drop=True)
        await until(lambda: not listener.feed.connected(), "the feed to notice")
        missed_until = exchange.exchange.processed_until + 1_800_000
        await until(lambda: exchange.exchange.processed_until > missed_until, "half an hour to be missed")
        await exchange.faults(refuse=False)
        await until(lambda: listener.bars()[listener.series[0]][-1].open_time > missed_until, "the feed to catch up")
        listener.check()
        assert listener.frames.counters.filled > 0


async def test_a_dead_host_is_left_for_the_other(tmp_path):
    async with practice(tmp_path, speed=followable(900)) as exchange:
        async with Listener(exchange, urls=["ws://127.0.0.1:9/none", exchange.stream]) as listener:
            await until(lambda: listener.count() >= 2, "bars from the other host")
            listener.check()
            assert listener.feed.counters.failures >= 1


async def test_a_topic_the_exchange_refuses_costs_the_others_nothing(tmp_path):
    """The refused series is dropped: nobody waits for it, and the feed is whole without it."""
    async with practice(tmp_path, speed=followable(900)) as exchange:
        listener = Listener(exchange, FeedLimits(backoff_s=(0.05, 0.3), grace_s=30, stale_s=2))
        async with listener:
            await until(lambda: listener.count() >= 2, "the feed to run")
            gone = [series for series in listener.series if "ETH" in series.symbol]
            # the symbol goes while nobody is listening to it: once a connection was refused, the old one has gone
            await exchange.faults(refuse=True, drop=True)
            await until(lambda: listener.feed.counters.failures >= 2, "the feed to be away")
            del exchange.exchange.by_venue_id["ETHUSDT"]
            listener.series = [series for series in listener.series if series not in gone]
            await exchange.faults(refuse=False)
            await until(lambda: listener.feed.counters.refused_topics == 2, "the refusals")
            reached = listener.count()
            await until(lambda: listener.count() >= reached + 4, "the other symbols, without waiting for the grace")
            await until(lambda: listener.feed.connected() and not listener.feed.stale(), "the feed to be whole")
            listener.check()
            assert listener.feed.counters.refused_topics == 2
            assert set(listener.feed.refused()) == set(gone)


async def test_a_stream_is_not_silent_from_its_first_push_on(tmp_path):
    """The very first batch finds no stream silent, though the watch has not looked yet."""
    async with practice(tmp_path, speed=followable(900)) as exchange:
        listener = Listener(exchange, FeedLimits(stale_s=75, confirm_s=20, grace_s=5))
        seen = []

        async def take(batch):
            seen.append(listener.feed.stale())

        listener._take = take
        async with listener:
            assert len(listener.feed.stale()) == 6
            await until(lambda: seen, "the first batch")
            assert seen[0] == []


async def test_a_silent_stream_is_told_as_long_as_it_is_silent(tmp_path):
    async with practice(tmp_path, speed=followable(900)) as exchange, Listener(exchange) as listener:
        await until(lambda: listener.count() >= 2, "the feed to run")
        assert listener.feed.stale() == []
        silent = Series("ETH/USDT:USDT", "15m")
        await exchange.faults(silence=["kline.15.ETHUSDT"])
        await until(lambda: listener.feed.stale() == [silent], "the silence to be noticed")
        asked = listener.feed.counters.stale
        await until(
            lambda: listener.feed.counters.stale >= asked + 2 or listener.feed.stale() != [silent], "further strikes"
        )
        assert listener.feed.stale() == [silent]
        await exchange.faults(reset=True)
        await until(lambda: listener.feed.stale() == [], "the stream to be heard again")


async def test_a_market_without_trades_is_neither_silent_nor_late_and_costs_the_others_nothing(tmp_path):
    """A quiet symbol on a shared socket: its flat bars come over REST, its last bar is the truth, nothing is cut."""
    tape = QuietTape(3, 4, START)
    quiet = Series("SOL/USDT:USDT", "3m")
    patient = replace(LIMITS, topics_per_connection=6, overdue_s=0.05 * SLOW, stale_s=1.5 * SLOW)
    async with practice(tmp_path, speed=followable(600), tape=tape) as exchange:
        async with Listener(exchange, patient) as listener:
            await until(lambda: listener.count() >= 2, "the feed to run")
            tape.since = exchange.exchange.processed_until // 900_000 * 900_000 + 900_000
            tape.quiet = quiet.symbol
            await until(lambda: exchange.exchange.processed_until > tape.since, "the market to become quiet")
            await exchange.faults(silence=["kline.3.SOLUSDT", "kline.15.SOLUSDT"])
            reached = len(listener.bars()[quiet])
            await until(lambda: listener.feed.ages()[quiet] > 4 * patient.stale_s, "a long silence", 60)
            assert listener.feed.stale() == []
            await until(lambda: len(listener.bars()[quiet]) >= reached + 10, "its bars", 40)
            listener.check()
            newest = listener.bars()[quiet][-1]
            assert (newest.volume, newest.high) == (0.0, newest.low)
            counters = listener.feed.counters
            assert counters.quiet > 0
            assert (counters.connects, counters.resubscribed, counters.stale) == (1, 0, 0)
            await exchange.faults(reset=True)
            tape.quiet = ""
            await until(lambda: listener.feed.ages()[quiet] < patient.stale_s / 2, "trades again")
            assert listener.feed.connected()


async def test_a_dead_topic_is_subscribed_to_anew_alone_while_its_bars_come_over_rest(tmp_path):
    silent = Series("ETH/USDT:USDT", "3m")
    patient = replace(LIMITS, topics_per_connection=6, overdue_s=0.05 * SLOW)
    async with practice(tmp_path, speed=followable(600)) as exchange, Listener(exchange, patient) as listener:
        await until(lambda: listener.count() >= 2, "the feed to run")
        await exchange.faults(silence=["kline.3.ETHUSDT"])
        await until(lambda: listener.feed.counters.resubscribed >= 2, "two attempts", 60)
        assert listener.feed.stale() == [silent]
        assert listener.feed.counters.connects == 1
        reached = listener.count()
        await until(lambda: listener.count() >= reached + 5, "bars of all, its own among them", 40)
        await exchange.faults(reset=True)
        await until(lambda: listener.feed.stale() == [], "the stream to be heard again")
        listener.check()
        assert listener.feed.counters.connects == 1
        assert listener.feed.connected()


async def test_a_socket_that_only_answers_pings_is_opened_anew(tmp_path):
    topics = [f"kline.{interval}.{coin}USDT" for interval in ("3", "15") for coin in ("BTC", "ETH", "SOL")]
    patient = replace(LIMITS, topics_per_connection=6)
    async with practice(tmp_path, speed=followable(600)) as exchange, Listener(exchange, patient) as listener:
        await until(lambda: listener.count() >= 2, "the feed to run")
        await exchange.faults(silence=topics)
        await until(lambda: listener.feed.counters.connects >= 2, "another connection", 60)
        assert listener.feed.counters.resubscribed == 0
        await exchange.faults(reset=True)
        reached = listener.count()
        await until(lambda: listener.count() >= reached + 4, "bars", 40)
        listener.check()


async def test_a_stream_that_was_agreed_to_has_its_time_to_be_heard_and_no_more(tmp_path):
    """A bot need not wait for the first price of every symbol before it is ready; one that never comes is told."""
    topics = [f"kline.{interval}.{coin}USDT" for interval in ("3", "15") for coin in ("BTC", "ETH", "SOL")]
    patient = replace(LIMITS, stale_s=1.5 * SLOW)
    async with practice(tmp_path, speed=followable(900)) as exchange, Listener(exchange, patient) as listener:
        await exchange.faults(silence=topics)
        quiet = Feed(
            [exchange.stream], {symbol: exchange.exchange.tape.instruments[symbol].venue_id for symbol in SYMBOLS},
            Frames(dict.fromkeys(listener.series, 300)), listener.klines, patient, public_messages,
        )  # fmt: skip
        assert len(quiet.stale()) == 6

        async def take(batch):
            raise AssertionError(batch)

        task = asyncio.create_task(quiet.run(take))
        await until(quiet.connected, "the subscriptions")
        assert quiet.stale() == []
        await until(lambda: len(quiet.stale()) == 6, "the silence to be told")
        assert quiet.prices == {}
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_malformed_and_impossible_data_is_counted_and_harms_nothing(tmp_path):
    async with practice(tmp_path, speed=followable(900)) as exchange, Listener(exchange) as listener:
        await until(lambda: listener.count() >= 2, "the feed to run")
        shard = listener.feed._shards[0]
        for frame in (
            b"\xff\xfe", b"{}", b'{"topic":"kline.3.BTCUSDT","data":[{"start":1}]}', b'{"topic":"orderbook.1.X","data":{}}',
            b'{"topic":"kline.3.BTCUSDT","data":[{"start":180000,"end":1,"open":"-1","close":"nan","high":"1","low":"2",'
            b'"volume":"1","turnover":"1","confirm":true,"timestamp":1}]}',
        ):  # fmt: skip
            listener.feed._take(shard, frame)
        reached = listener.count()
        await until(lambda: listener.count() >= reached + 2, "bars to go on")
        listener.check()
        assert listener.feed.counters.malformed == 2
        assert listener.frames.counters.invalid == 1


async def test_a_frame_may_close_several_bars_and_of_one_that_forms_only_what_is_used_has_to_be_right():
    series = Series("BTC/USDT:USDT", "3m")
    feed = Feed(["ws://nowhere"], {series.symbol: "BTCUSDT"}, Frames({series: 10}), None, LIMITS, public_messages)
    delivered = []

    async def take(batch):
        delivered.extend(batch)

    def bar(start, close, high="9", *, confirm):
        return {
            "start": start, "open": "1", "close": close, "high": high, "low": "1", "volume": "1", "turnover": "1",
            "confirm": confirm, "timestamp": start + 1,
        }  # fmt: skip

    frames = (
        [bar(180_000, "2", confirm=True), bar(360_000, "3", confirm=True), bar(540_000, "4", confirm=False)],
        [bar(540_000, "5", "high", confirm=False)],
        [bar(540_000, "6", "high", confirm=True)],
        [bar(540_000, "7", confirm=True), bar(720_000, "8", confirm=False)],
    )
    prices = []
    handing = asyncio.create_task(feed._hand_out(take))
    for items in frames:
        feed._take(feed._shards[0], json.dumps({"topic": "kline.3.BTCUSDT", "data": items}).encode())
        prices.append(feed.prices[series.symbol][0])
    await until(lambda: len(delivered) >= 3, "the bars")
    assert [one.bar.close for one in delivered] == [2.0, 3.0, 7.0]
    assert prices == [4.0, 5.0, 6.0, 8.0]
    assert (feed.counters.malformed, feed.counters.frames) == (1, 4)
    handing.cancel()


async def test_a_frame_that_claims_a_far_future_makes_nobody_ask_for_it(tmp_path):
    """Neither its own hole nor those of others are believed to reach there."""
    async with practice(tmp_path, speed=followable(600)) as exchange, Listener(exchange) as listener:
        await until(lambda: listener.count() >= 2, "the feed to run")
        far = 180_000 * 10**9
        item = {
            "start": far, "open": "1", "close": "1", "high": "1", "low": "1", "volume": "1", "turnover": "1",
            "confirm": False, "timestamp": 1,
        }  # fmt: skip
        frame = json.dumps({"topic": "kline.3.BTCUSDT", "data": [item]}).encode()
        listener.feed._take(listener.feed._shards[0], frame)
        asked = []
        held, closed = listener.klines, listener.klines.closed

        async def counted(series, start, end):
            asked.append(end - start)
            return await closed(series, start, end)

        held.closed = counted
        reached = listener.count()
        await until(lambda: listener.count() >= reached + 5, "bars to go on", 40)
        assert max(asked, default=0) <= 1_000 * 180_000
        listener.check()


@pytest.mark.parametrize("confirm", [True, False])
async def test_neither_bar_nor_price_of_the_future_is_believed_and_the_true_ones_go_on(tmp_path, confirm):
    async with practice(tmp_path, speed=followable(600)) as exchange, Listener(exchange) as listener:
        await until(lambda: listener.count() >= 2, "the feed to run")
        far = int((time.time() + 365 * 86_400) * 1000) // 180_000 * 180_000
        item = {
            "start": far, "open": "1", "close": "1", "high": "1", "low": "1", "volume": "1", "turnover": "1",
            "confirm": confirm, "timestamp": far + 1,
        }  # fmt: skip
        frame = json.dumps({"topic": "kline.3.BTCUSDT", "data": [item]}).encode()
        for _ in range(100):
            listener.feed._take(listener.feed._shards[0], frame)
        stream = listener.feed._by_topic["kline.3.BTCUSDT"]
        assert listener.frames.counters.invalid >= 100
        assert (stream.close, listener.feed.prices[stream.symbol][0], stream.forming < far) != (1.0, 1.0, False)
        reached, price = listener.count(), listener.feed.prices[stream.symbol]
        await until(lambda: listener.count() >= reached + 5, "bars to go on", 40)
        assert listener.feed.prices[stream.symbol][1] > price[1]
        assert all(closed.bar.open_time < far for batch in listener.batches for closed in batch)
        listener.check()


async def test_a_refusal_that_names_nobody_is_narrowed_down_and_kept_in_words():
    """Readiness is not held up for ever: the one topic to blame is told, and asked for again later."""
    series = [Series(symbol, "3m") for symbol in SYMBOLS]
    ids = {symbol: symbol.partition("/")[0] + "USDT" for symbol in SYMBOLS}
    feed = Feed(["ws://nowhere"], ids, Frames(dict.fromkeys(series, 10)), None, LIMITS, public_messages)
    (shard,) = feed._shards
    waiting = list(shard.opened())
    while waiting:
        request = json.loads(waiting.pop())
        bad = "kline.3.ETHUSDT" in request["args"]
        answer = {"success": not bad, "ret_msg": "Internal error" if bad else "", "conn_id": "x", "op": "subscribe"}
        feed._take(shard, json.dumps({**answer, "req_id": request["req_id"]}).encode())
        while not shard.connection._requests.empty():
            waiting.append(shard.connection._requests.get_nowait())
    assert shard.subscription.answered
    assert feed.refused() == {series[1]: "Internal error"}
    assert feed.stale() == [series[1]]
    feed._retried = -LIMITS.refused_s
    feed._ask_again()
    assert shard.connection._requests.empty(), "while the socket is closed nothing is asked for"
    request = json.loads(shard.subscription.ask(["kline.3.ETHUSDT"]))
    frame = {"success": True, "ret_msg": "", "conn_id": "x", "op": "subscribe", "req_id": request["req_id"]}
    feed._take(shard, json.dumps(frame).encode())
    assert (feed.refused(), feed.stale()) == ({}, [])


async def test_rest_gives_closed_bars_only_over_any_number_of_pages(tmp_path):
    async with practice(tmp_path, speed=0.001) as exchange:
        listener = Listener(exchange)
        series = Series(SYMBOLS[0], "3m")
        newest = await listener.klines.latest(series, 2_500)
        assert len(newest) == 2_500
        assert newest.missing(180_000) == []
        assert newest.open_time[-1] + 180_000 <= exchange.exchange.processed_until
        some = await listener.klines.closed(series, int(newest.open_time[100]), int(newest.open_time[2_200]))
        assert some.open_time.tolist() == newest.open_time[100:2_200].tolist()
        await listener.client.close()

"""The feed on what another exchange really sent: it knows the protocol that it is given, and no other."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path

import pyarrow as pa
import pytest
from aiohttp import WSMsgType, web

from domain.candle import Bars, Series
from domain.errors import BadData
from domain.kline_frames import Ack, KlineItem, Klines, Other, Push, Pushes
from market.feed import Feed
from market.frames import Frames
from market.limits import FeedLimits

RECORDED = Path(__file__).parents[3] / "shared" / "data" / "ws_binance" / "binance_futures_2021-07-22.jsonl.zst"
COINS = ("SUSHI", "AKRO", "KEEP", "CTK")
MINUTE = 1_626_992_700_000
SERIES = [Series(f"{coin}/USDT:USDT", "1m") for coin in COINS]
IDS = {f"{coin}/USDT:USDT": f"{coin}USDT" for coin in COINS}


class BinanceKlines:
    """Binance USD-M's kline streams (its documentation, "Websocket Market Streams", combined streams)."""

    def kline_topic(self, venue_id, timeframe):
        return f"{venue_id.lower()}@kline_{timeframe}"

    def pushes(self, frame, /):
        topic, bar = self._told(frame)
        return Pushes(topic, [Push(bar["t"], float(bar["c"]), bar["x"], bar["at"])])

    def decode(self, frame):
        try:
            body = json.loads(frame)
            if "id" in body:
                error = body.get("error") or {}
                return Ack("subscribe", not error, error.get("msg", ""), str(body["id"]))
            if "@kline_" not in body["stream"]:
                return Other(body["stream"])
            topic, bar = self._told(frame)
            prices = (float(bar[name]) for name in ("o", "h", "l", "c", "v", "q"))
            return Klines(topic, [KlineItem(bar["t"], *prices, bar["x"], bar["at"])])
        except (ValueError, KeyError, TypeError) as error:
            raise BadData(str(error)) from error

    def subscription(self, topics, number):
        return self._asked("SUBSCRIBE", topics, number)

    def unsubscription(self, topics, number):
        return self._asked("UNSUBSCRIBE", topics, number)

    def blamed(self, message):
        return message.split()

    def already(self, message):
        return False

    def ping(self, number):
        return self._asked("LIST_SUBSCRIPTIONS", [], number)

    @staticmethod
    def _asked(method, topics, number):
        return json.dumps({"method": method, "params": list(topics), "id": number}).encode()

    @staticmethod
    def _told(frame):
        body = json.loads(frame)
        if "@kline_" not in body.get("stream", ""):
            raise ValueError("not a kline")
        return body["stream"], {**body["data"]["k"], "at": body["data"]["E"]}


class NothingMissing:
    """Stands for REST; a capture that begins at the bar after the seed leaves nothing to ask for."""

    async def newest(self, series, count):
        return Bars.empty()

    latest = newest

    async def closed(self, series, start, end):
        raise AssertionError((series, start, end))

    def resting(self, series, span):
        return ()


def recorded():
    with pa.input_stream(str(RECORDED), compression="zstd") as opened:
        lines = opened.read().splitlines()
    return [row["data"] for row in map(json.loads, lines) if row["t"] == "recv"]


@contextlib.asynccontextmanager
async def served(frames):
    """Serve what was recorded, after the acknowledgement that the exchange sends; yield the address and the requests."""
    asked = []

    async def talk(request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                asked.append(json.loads(message.data))
                await socket.send_json({"result": None, "id": asked[-1]["id"]})
                for frame in frames if asked[-1]["method"] == "SUBSCRIBE" else ():
                    await socket.send_str(frame)
        return socket

    app = web.Application()
    app.router.add_get("/stream", talk)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"ws://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/stream", asked
    finally:
        await runner.cleanup()


@pytest.mark.skipif(not RECORDED.is_file(), reason="no recorded frames here")
async def test_what_binance_sent_arrives_as_closed_bars_and_prices():
    frames, delivered = recorded(), []
    held = Frames(dict.fromkeys(SERIES, 10))
    async with served(frames) as (url, asked):
        limits = FeedLimits(topics_per_connection=10, grace_s=5.0)
        feed = Feed([url], IDS, held, NothingMissing(), limits, BinanceKlines())
        whole = asyncio.Event()

        async def take(batch):
            delivered.append(batch)
            whole.set()

        running = asyncio.create_task(feed.run(take))
        async with asyncio.timeout(30):
            await whole.wait()
        assert feed.connected()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    (batch,) = delivered
    assert [closed.series for closed in batch] == sorted(SERIES)
    assert {closed.bar.open_time for closed in batch} == {MINUTE}
    bars = {closed.series.symbol: closed.bar for closed in batch}
    assert bars["CTK/USDT:USDT"][1:] == (1.01, 1.012, 1.01, 1.012, 11_074.0, 11_193.49)
    assert set(feed.prices) == set(IDS)
    assert (feed.counters.malformed, feed.counters.mismatches) == (0, 0)
    assert sorted(asked[0]["params"]) == sorted(f"{coin.lower()}usdt@kline_1m" for coin in COINS)

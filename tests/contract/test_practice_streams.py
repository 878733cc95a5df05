"""The practice exchange's streams: books and tickers by difference, categorised topics, protection against disconnection."""

from __future__ import annotations

import asyncio
import contextlib
import json

import websockets

from sandbox.dcp import Dcp
from sandbox.store import SandboxStore
from tests.practice import practice, until
from tests.trade_client import Trading, auth

BTC = {"category": "linear", "symbol": "BTCUSDT"}
MARKET = {**BTC, "side": "Buy", "orderType": "Market", "qty": "0.01"}
LIMIT = {**BTC, "side": "Buy", "orderType": "Limit", "qty": "0.01", "price": "60000"}


async def receive(socket, keeps):
    async with asyncio.timeout(20):
        while not keeps(frame := json.loads(await socket.recv())):
            pass
    return frame


@contextlib.asynccontextmanager
async def private(exchange, *topics: str):
    async with websockets.connect(f"ws://127.0.0.1:{exchange.port}/v5/private", proxy=None) as socket:
        await socket.send(json.dumps({"op": "auth", "args": auth(exchange)}))
        assert (await receive(socket, lambda frame: frame["op"] == "auth"))["success"]
        await socket.send(json.dumps({"op": "subscribe", "args": topics}))
        answer = await receive(socket, lambda frame: frame.get("op") == "subscribe")
        yield socket, answer


def side(levels) -> dict[str, str]:
    return {price: size for price, size in levels if size != "0"}


async def test_a_book_kept_by_differences_is_the_book_over_rest(tmp_path):
    async with practice(tmp_path, speed=1_200) as exchange, websockets.connect(exchange.stream, proxy=None) as socket:
        await socket.send(json.dumps({"op": "subscribe", "args": ["orderbook.50.BTCUSDT"]}))
        first = await receive(socket, lambda frame: frame.get("topic") == "orderbook.50.BTCUSDT")
        assert first["type"] == "snapshot"
        book, last = {"b": side(first["data"]["b"]), "a": side(first["data"]["a"])}, first["data"]["u"]
        for _ in range(5):
            frame = await receive(socket, lambda frame: frame.get("topic") == "orderbook.50.BTCUSDT")
            assert (frame["type"], frame["data"]["u"] > last) == ("delta", True)
            last = frame["data"]["u"]
            for name in ("b", "a"):
                book[name] |= dict(frame["data"][name])
                book[name] = {price: size for price, size in book[name].items() if size != "0"}
        exchange.exchange.clock._anchor.speed = 0.000001
        held = exchange.exchange
        while held.update_id != last:
            frame = await receive(socket, lambda frame: frame.get("topic") == "orderbook.50.BTCUSDT")
            last = frame["data"]["u"]
            for name in ("b", "a"):
                book[name] |= dict(frame["data"][name])
                book[name] = {price: size for price, size in book[name].items() if size != "0"}
        whole = (await exchange.get("/v5/market/orderbook", **BTC, limit=50)).result
        assert (side(whole["b"]), side(whole["a"])) == (book["b"], book["a"])
        assert max(map(float, book["b"])) < min(map(float, book["a"]))


async def test_the_best_level_comes_as_a_whole_and_a_ticker_by_what_changes(tmp_path):
    async with practice(tmp_path, speed=1_200) as exchange, websockets.connect(exchange.stream, proxy=None) as socket:
        await socket.send(
            json.dumps({"op": "subscribe", "args": ["orderbook.1.BTCUSDT", "tickers.BTCUSDT", "priceLimit.BTCUSDT"]})
        )
        for _ in range(3):
            frame = await receive(socket, lambda frame: frame.get("topic") == "orderbook.1.BTCUSDT")
            assert (frame["type"], len(frame["data"]["b"]), len(frame["data"]["a"])) == ("snapshot", 1, 1)
        delta = await receive(
            socket, lambda frame: frame.get("topic") == "tickers.BTCUSDT" and frame["type"] == "delta"
        )
        assert "lastPrice" in delta["data"]
        assert "fundingIntervalHour" not in delta["data"]
        limits = await receive(socket, lambda frame: frame.get("topic") == "priceLimit.BTCUSDT")
        assert float(limits["data"]["sellLmt"]) < float(limits["data"]["buyLmt"])


async def test_topics_of_one_category_and_the_fast_one(tmp_path):
    async with practice(tmp_path, speed=0.001) as exchange:
        topics = (
            "order.linear",
            "execution.linear",
            "execution.fast.linear",
            "position.linear",
            "wallet",
            "greeks",
            "order.spot",
        )
        async with private(exchange, *topics) as (socket, answer):
            assert answer["success"]
            await exchange.post("/v5/order/create", **MARKET)
            frames = {}
            while set(topics[:5]) - frames.keys():
                frame = await receive(socket, lambda frame: "topic" in frame)
                frames[frame["topic"]] = frame
        assert set(frames) == set(topics[:5])
        fast = frames["execution.fast.linear"]
        assert "id" not in fast
        assert set(fast["data"][0]) == {
            "category", "symbol", "execId", "execPrice", "execQty", "orderId", "isMaker", "orderLinkId", "side", "execTime", "seq",
        }  # fmt: skip


async def test_the_whole_and_a_category_of_it_are_no_one_request(tmp_path):
    async with practice(tmp_path, speed=0.001) as exchange, private(exchange, "order", "order.linear") as (_, answer):
        assert answer["success"] is False


async def test_a_topic_of_a_category_without_contracts_is_refused(tmp_path):
    async with practice(tmp_path, speed=0.001) as exchange:
        url = f"ws://127.0.0.1:{exchange.port}/v5/public/spot"
        async with websockets.connect(url, proxy=None) as socket:
            await socket.send(json.dumps({"op": "subscribe", "args": ["tickers.BTCUSDT"]}))
            answer = json.loads(await socket.recv())
        assert answer["ret_msg"] == "error:handler not found,topic:tickers.BTCUSDT"


async def test_orders_are_cancelled_when_a_protected_stream_stays_away(tmp_path):
    store = SandboxStore(tmp_path / "exchange.sqlite")
    store.put("dcp", '{"DERIVATIVES": 0}')
    store.close()
    async with practice(tmp_path, speed=0.001) as exchange:
        assert (await exchange.get("/v5/account/query-dcp-info")).result["dcpInfos"] == [
            {"product": "DERIVATIVES", "dcpStatus": "ON", "timeWindow": "0"}
        ]
        orders = exchange.exchange.account.state.orders
        async with private(exchange, "order"):
            await exchange.post("/v5/order/create", **LIMIT)
        async with private(exchange, "dcp.future"), private(exchange, "dcp.future"):
            # the stream without its topic has gone, and of the two with it one goes before the other
            assert orders
        await until(lambda: not orders, "the orders to be cancelled")


async def test_protection_waits_for_the_whole_window_of_the_last_absence():
    cancelled = []
    dcp = Dcp('{"DERIVATIVES": 300}', lambda _: None, lambda: cancelled.append(1))
    dcp.gone()
    first = dcp._timer
    dcp.gone()
    assert dcp._timer is first
    dcp.connected()
    assert first.cancelled()
    dcp.gone()
    assert dcp._timer.when() - asyncio.get_running_loop().time() > 290
    dcp._timer.cancel()
    assert cancelled == []


FRAMES = (
    "", "null", "[]", "1", '"x"', "{", "[" * 100_000, '{"op":1}', '{"op":"order.create"}', '{"op":"order.create","args":{}}',
    '{"op":"order.create","args":[1]}', '{"op":"order.create","args":[{}],"header":[]}', '{"op":"auth"}', '{"op":"auth","args":[1]}',
    '{"op":"auth","args":[{},[],null]}', '{"op":"auth","args":["k","\\uff19","s"]}', '{"op":"subscribe","args":{"a":1}}',
    '{"op":"subscribe","args":[1,null,[],"kline","kline.","orderbook.x.BTCUSDT","kline.3.BTCUSDT.x"]}', '{"op":null,"reqId":[]}',
    '{"op":"subscribe","args":["orderbook.50"]}', '{"op":"ping","req_id":{}}', '{"op":"subscribe","args":["tickers.\\u0000"]}',
    '{"op":"order.create","reqId":"' + "r" * 50 + '","args":[{}]}',
)  # fmt: skip


async def test_no_frame_ends_a_connection(tmp_path):
    """Each gets an answer, and the next one is understood."""
    async with practice(tmp_path, speed=0.001) as exchange:
        for path in ("public/linear", "private", "trade"):
            async with websockets.connect(f"ws://127.0.0.1:{exchange.port}/v5/{path}", proxy=None) as socket:
                for frame in FRAMES:
                    await socket.send(frame)
                    answer = json.loads(await asyncio.wait_for(socket.recv(), 10))
                    assert isinstance(answer, dict)
                await socket.send('{"op":"ping"}')
                answer = json.loads(await asyncio.wait_for(socket.recv(), 10))
                assert "pong" in {answer.get("op"), answer.get("ret_msg")}, path


async def test_orders_over_the_trade_socket(tmp_path):
    async with practice(tmp_path, speed=0.001) as exchange, Trading(exchange) as socket:
        made = await socket.ask("order.create", LIMIT)
        assert (made["retCode"], made["retMsg"], made["op"], made["reqId"]) == (0, "OK", "order.create", "t-1")
        assert made["retExtInfo"] == {}
        assert {"Traceid", "Timenow", "X-Bapi-Limit", "X-Bapi-Limit-Status", "X-Bapi-Limit-Reset-Timestamp"} == set(
            made["header"]
        )
        named = {**BTC, "orderId": made["data"]["orderId"]}
        assert (await socket.ask("order.amend", {**named, "price": "59000"}))["retCode"] == 0
        assert (await socket.ask("order.cancel", named))["retCode"] == 0
        assert (await socket.ask("order.cancel", named))["retCode"] == 110001
        row = {name: value for name, value in LIMIT.items() if name != "category"}
        batch = await socket.ask(
            "order.create-batch", {"category": "linear", "request": [row, {**row, "positionIdx": 1}]}
        )
        assert [one["code"] for one in batch["retExtInfo"]["list"]] == [0, 10001]
        assert batch["data"]["list"][0]["createAt"]
        ids = [{"symbol": "BTCUSDT", "orderId": batch["data"]["list"][0]["orderId"]}]
        amended = await socket.ask("order.amend-batch", {"category": "linear", "request": [{**ids[0], "qty": "0.02"}]})
        assert amended["retExtInfo"]["list"] == [{"code": 0, "msg": "OK"}]
        gone = await socket.ask("order.cancel-batch", {"category": "linear", "request": ids})
        assert gone["retExtInfo"]["list"] == [{"code": 0, "msg": "OK"}]
        pong = await socket.send({"op": "ping"})
        assert (pong["op"], pong["retCode"], len(pong["data"])) == ("pong", 0, 1)


async def test_what_the_trade_socket_refuses(tmp_path):
    async with practice(tmp_path, speed=0.001) as exchange:
        async with Trading(exchange, signed=False) as socket:
            assert (await socket.ask("order.create", LIMIT))["retCode"] == 10005
            assert (await socket.send({"op": "auth", "args": auth(exchange, secret="wrong")}))["retCode"] == 10004
            assert (await socket.send({"op": "auth", "args": auth(exchange, expires=1)}))["retCode"] == 10004
            assert (await socket.send({"op": "auth", "args": ["x"]}))["retCode"] == 10001
        async with Trading(exchange) as socket:
            assert (await socket.send({"op": "auth", "args": auth(exchange)}))["retCode"] == 20001
            assert (await socket.ask("order.nothing", LIMIT))["retCode"] == 10404
            assert (await socket.ask("order.create", LIMIT, reqId="same"))["retCode"] == 0
            assert (await socket.ask("order.create", LIMIT, reqId="same"))["retCode"] == 20006
            assert (await socket.ask("order.create", LIMIT, header={}))["retCode"] == 10002
            assert (await socket.ask("order.create", LIMIT, LIMIT))["retCode"] == 10001
            assert (await socket.ask("order.create", {**LIMIT, "category": "x"}))["retCode"] == 10404
        assert len(exchange.exchange.account.state.orders) == 1

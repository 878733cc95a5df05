"""Matching, margin and late lists through the practice exchange's whole wire."""

from __future__ import annotations

import asyncio
import contextlib
import json
from decimal import Decimal

import pytest
import websockets

from domain.account_state import Batch, Remainder, Slice
from tests.practice import practice, until
from tests.trade_client import auth

LINEAR = {"category": "linear"}
BTC = {**LINEAR, "symbol": "BTCUSDT"}
SYMBOL = "BTC/USDT:USDT"
MARKET = {**BTC, "side": "Buy", "orderType": "Market", "qty": "0.01"}
LIMIT = {**BTC, "side": "Buy", "orderType": "Limit", "qty": "0.01", "price": "60000"}
FULL = {**BTC, "tpslMode": "Full"}


@contextlib.asynccontextmanager
async def listening(exchange, *topics: str):
    """A private stream that has subscribed; yields a function that returns the next frames of topics, by topic."""
    async with websockets.connect(f"ws://127.0.0.1:{exchange.port}/v5/private", proxy=None) as socket:
        await socket.send(json.dumps({"op": "auth", "args": auth(exchange)}))
        await socket.send(json.dumps({"op": "subscribe", "args": topics}))

        async def frames(*wanted: str) -> dict[str, list[dict]]:
            found = {}
            async with asyncio.timeout(20):
                while set(wanted) - found.keys():
                    frame = json.loads(await socket.recv())
                    found.setdefault(frame.get("topic"), frame.get("data"))
            return found

        yield frames


async def test_a_topic_that_is_subscribed_is_refused_with_all_that_it_was_asked_with(tmp_path):
    """As recorded from Bybit: ccxt #30284."""
    async with practice(tmp_path, speed=0.001) as exchange, websockets.connect(exchange.stream, proxy=None) as socket:

        async def ask(operation: str, *topics: str) -> tuple[bool, str]:
            await socket.send(json.dumps({"op": operation, "args": topics, "req_id": operation}))
            while (answer := json.loads(await socket.recv())).get("req_id") != operation:
                pass
            return answer["success"], answer["ret_msg"]

        btc, eth = "publicTrade.BTCUSDT", "publicTrade.ETHUSDT"
        assert await ask("subscribe", btc) == (True, "")
        assert await ask("subscribe", btc, eth) == (False, f"error:already subscribed,topic:{btc}")
        assert await ask("subscribe", eth) == (True, "")
        assert await ask("unsubscribe", btc) == (True, "")
        assert await ask("subscribe", btc) == (True, "")


async def test_executions_of_one_message_are_one_frame_on_every_topic_of_theirs(tmp_path):
    async with practice(tmp_path, speed=0.001) as exchange:
        await exchange.faults(slices={"parts": 4})
        names = ("execution.linear", "execution.fast")
        async with listening(exchange, *names) as frames:
            await exchange.post("/v5/order/create", **MARKET)
            found = await frames(*names)
        ids = [[row["execId"] for row in found[name]] for name in names]
        assert ids[0] == ids[1]
        assert len(set(ids[0])) == 4


async def test_the_fast_topic_can_be_late_by_itself(tmp_path):
    async with practice(tmp_path, speed=0.001) as exchange:
        await exchange.faults(delay_lists={"execution.fast": 300})
        async with listening(exchange, "execution", "execution.fast.linear", "wallet") as frames:
            await exchange.post("/v5/order/create", **MARKET)
            assert "execution.fast.linear" not in await frames("execution", "wallet")
            assert list(await frames("execution.fast.linear")) == ["execution.fast.linear"]


async def test_legs_are_traded_by_their_index(tmp_path):
    async with practice(tmp_path, speed=0.001) as exchange:

        async def post(path: str, **params) -> int:
            return (await exchange.post(path, **{**BTC, **params})).code

        async def sizes() -> list[tuple[int, str, str]]:
            rows = (await exchange.get("/v5/position/list", **BTC)).result["list"]
            return [(row["positionIdx"], row["size"], row["stopLoss"]) for row in rows]

        assert await post("/v5/order/create", **MARKET, positionIdx=1) == 10001
        await exchange.faults(hedge={"BTCUSDT": {"long": "0.03", "short": "0.01"}})
        assert await post("/v5/order/create", **MARKET) == 10001
        assert await post("/v5/order/create", **MARKET, positionIdx=1) == 0
        assert await post("/v5/position/trading-stop", tpslMode="Full", positionIdx=0, stopLoss="50000") == 10001
        assert await post("/v5/position/trading-stop", tpslMode="Full", positionIdx=1, stopLoss="50000") == 0
        assert await sizes() == [(1, "0.04", "50000"), (2, "0.01", "0")]
        listed = (await exchange.get("/v5/position/list", **LINEAR, settleCoin="USDT")).result["list"]
        assert [row["positionIdx"] for row in listed] == [1, 2]
        assert await post("/v5/position/switch-mode", mode=3) == 110025
        assert await post("/v5/position/switch-mode", mode=0) == 110024
        partial = {"tpslMode": "Partial", "positionIdx": 1, "stopLoss": "50000", "slSize": "0.01"}
        assert await post("/v5/position/trading-stop", **partial) == 10001
        assert await post("/v5/position/trading-stop", positionIdx=1, stopLoss="49000", trailingStop="500") == 10001
        assert await sizes() == [(1, "0.04", "50000"), (2, "0.01", "0")]
        closing = {**MARKET, "side": "Sell", "qty": "0", "reduceOnly": True, "closeOnTrigger": True}
        assert await post("/v5/order/create", **closing, positionIdx=1) == 0
        assert await post("/v5/order/create", **closing, positionIdx=1) == 110017
        assert await post("/v5/order/create", **MARKET, positionIdx=2) == 0
        assert await post("/v5/position/switch-mode", mode=0) == 0
        assert await sizes() == [(0, "0", "0")]


async def test_margin_is_added_to_isolated_positions_only(tmp_path):
    async with practice(tmp_path, speed=0.001) as exchange:

        async def add(margin: str, **more) -> int:
            return (await exchange.post("/v5/position/add-margin", **BTC, margin=margin, **more)).code

        assert await add("5") == 110015
        await exchange.post("/v5/account/set-margin-mode", setMarginMode="ISOLATED_MARGIN")
        assert await add("5") == 110033
        await exchange.post("/v5/order/create", **MARKET)
        codes = [await add(margin) for margin in ("5", "-2", "-4", "1000000", "0.00001", "x")]
        assert codes == [0, 0, 110014, 110014, 10001, 10001]
        assert await add("5", positionIdx=1) == 10001
        assert exchange.exchange.account.position(SYMBOL).extra == 3


async def test_contracts_on_stocks_are_traded_after_an_agreement(tmp_path):
    async with practice(tmp_path, speed=0.001) as exchange:
        await exchange.faults(mark={"BTCUSDT": "stock"})
        assert (await exchange.post("/v5/order/create", **MARKET)).code == 110125
        for wrong in (
            {"agree": True},
            {"agree": True, "categoryV2": 9},
            {"categoryV2": 1},
            {"agree": False, "category": 2},
        ):
            assert (await exchange.post("/v5/user/agreement", **wrong)).code == 10001, wrong
        assert (await exchange.post("/v5/user/agreement", agree=True, category=2)).body["retMsg"] == "success"
        assert (await exchange.post("/v5/order/create", **MARKET)).code == 0


@pytest.mark.parametrize("kind", ["StopLoss", "TrailingStop"])
async def test_a_stop_that_is_being_filled_can_be_cancelled_and_stops_nothing_else(tmp_path, kind):
    async with practice(tmp_path, speed=0.001) as exchange:
        account = exchange.exchange.account
        await exchange.post("/v5/order/create", **MARKET, stopLoss="50000")
        await exchange.post("/v5/position/trading-stop", **FULL, trailingStop="500")
        stop = next(one for one in account.state.orders.values() if one.stop_type == kind)
        stop.rest = Remainder([Batch(2**60, (Slice(stop.qty, Decimal(50_000)),))], maker=False)
        account.position(SYMBOL).qty = Decimal("0.02")
        # a bar closes in between, and the trailing stop would like to follow
        before = exchange.exchange.processed_until
        exchange.exchange.clock._anchor.market += 60_000
        await until(lambda: exchange.exchange.processed_until > before, "a bar to close")
        account.position(SYMBOL).qty = Decimal("0.01")
        assert (await exchange.post("/v5/order/amend", **BTC, orderId=stop.id, qty="0.02")).code == 110079
        assert (await exchange.post("/v5/order/cancel", **BTC, orderId=stop.id)).code == 0
        assert (await exchange.post("/v5/order/cancel", **BTC, orderId=stop.id)).code == 110001
        (row,) = (await exchange.get("/v5/position/list", **BTC)).result["list"]
        assert row["stopLoss"] == ("0" if kind == "StopLoss" else "50000")


async def test_late_lists_end_and_show_an_order_in_one_state(tmp_path):
    async with practice(tmp_path, speed=0.001) as exchange:
        clock = [1_000_000]
        exchange.exchange.delays._now = lambda: clock[0]
        for number in range(3):
            await exchange.post("/v5/order/create", **LIMIT, orderLinkId=f"a{number}")
        await exchange.faults(delay_lists={"/v5/order/realtime": 5_000})
        await exchange.post("/v5/order/cancel", **BTC, orderLinkId="a1")
        await exchange.post("/v5/order/create", **LIMIT, orderLinkId="new")

        async def listed(limit: int, **more) -> list[str]:
            names, cursor = [], ""
            for _ in range(20):
                page = (await exchange.get("/v5/order/realtime", **BTC, **more, limit=limit, cursor=cursor)).result
                names += [row["orderLinkId"] for row in page["list"]]
                cursor = page["nextPageCursor"]
                if not cursor:
                    return names
            raise AssertionError("the cursor does not end")

        for limit in (1, 2, 50):
            assert await listed(limit) == ["a2", "a1", "a0"]
            assert await listed(limit, openOnly=1) == []
        clock[0] += 5_001
        assert (await listed(1), await listed(1, openOnly=1)) == (["new", "a2", "a0"], ["a1"])

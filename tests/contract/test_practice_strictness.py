"""The practice exchange refuses what Bybit refuses, honours every filter, ends every list, and breaks on nothing."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from decimal import Decimal

import pytest

from domain.account import Execution
from domain.durations import WEEK_MS
from domain.order import OrderSide
from sandbox.limits import Limits
from sandbox.rest import Rest
from tests.practice import practice

DAY_MS = 86_400_000
LINEAR = {"category": "linear"}
BTC = {**LINEAR, "symbol": "BTCUSDT"}
LIMIT = {**BTC, "side": "Buy", "orderType": "Limit", "qty": "0.01", "price": "60000"}
MARKET = {**BTC, "side": "Buy", "orderType": "Market", "qty": "0.01"}

REFUSED = [
    # what it is, path, parameters, retCode
    ("no category", "/v5/order/create", {**MARKET, "category": None}, 10001),
    ("a category that does not exist", "/v5/order/create", {**MARKET, "category": "futures"}, 10001),
    ("a symbol of another category", "/v5/order/create", {**MARKET, "category": "spot"}, 170121),
    ("inverse, which has no such contract", "/v5/order/create", {**MARKET, "category": "inverse"}, 10001),
    ("no side", "/v5/order/create", {**MARKET, "side": None}, 10001),
    ("no order type", "/v5/order/create", {**MARKET, "orderType": None}, 10001),
    ("a side in small letters", "/v5/order/create", {**MARKET, "side": "buy"}, 10001),
    ("a quantity that is no string", "/v5/order/create", {**MARKET, "qty": 0.01}, 10001),
    ("a price that is no string", "/v5/order/create", {**LIMIT, "price": 60000}, 10001),
    ("reduceOnly that is no boolean", "/v5/order/create", {**MARKET, "reduceOnly": "true"}, 10001),
    ("a leg of hedge mode", "/v5/order/create", {**MARKET, "positionIdx": 1}, 10001),
    ("a leg that is no number", "/v5/order/create", {**MARKET, "positionIdx": [0]}, 10001),
    ("an unknown time in force", "/v5/order/create", {**LIMIT, "timeInForce": "GTD"}, 10001),
    ("RPI without being a market maker", "/v5/order/create", {**LIMIT, "timeInForce": "RPI"}, 110119),
    ("a stop on a reduce-only order", "/v5/order/create",
     {**LIMIT, "side": "Sell", "reduceOnly": True, "stopLoss": "50000"}, 10001),
    ("a buy far above the market", "/v5/order/create", {**LIMIT, "price": "200000"}, 110003),
    ("a sell far below the market", "/v5/order/create", {**LIMIT, "side": "Sell", "price": "20000"}, 110003),
    ("a trigger without direction", "/v5/order/create", {**MARKET, "triggerPrice": "70000"}, 10001),
    ("a rising trigger below the market", "/v5/order/create",
     {**MARKET, "triggerPrice": "50000", "triggerDirection": 1}, 110092),
    ("a falling trigger above the market", "/v5/order/create",
     {**MARKET, "triggerPrice": "90000", "triggerDirection": 2}, 110093),
    ("an unknown trigger price", "/v5/order/create",
     {**MARKET, "triggerPrice": "90000", "triggerDirection": 1, "triggerBy": "Bid"}, 10001),
    ("a limit target in Full mode", "/v5/order/create",
     {**MARKET, "takeProfit": "90000", "tpslMode": "Full", "tpOrderType": "Limit", "tpLimitPrice": "90000"}, 10001),
    ("a limit target without a price", "/v5/order/create",
     {**MARKET, "takeProfit": "90000", "tpslMode": "Partial", "tpOrderType": "Limit"}, 10001),
    ("an id with blanks", "/v5/order/create", {**MARKET, "orderLinkId": "a b"}, 10001),
    ("an id of 37 characters", "/v5/order/create", {**MARKET, "orderLinkId": "a" * 37}, 10001),
    ("closing with nothing open", "/v5/order/create",
     {**MARKET, "qty": "0", "reduceOnly": True, "closeOnTrigger": True}, 110017),
    ("nothing to order", "/v5/order/create", {**MARKET, "qty": "0"}, 10001),
    ("cancelling without an id", "/v5/order/cancel", BTC, 10001),
    ("cancelling what is not there", "/v5/order/cancel", {**BTC, "orderId": "nope"}, 110001),
    ("cancelling what is not there in spot", "/v5/order/cancel", {"category": "spot", "symbol": "BTCUSDT", "orderId": "x"}, 170213),
    ("cancelling all of nothing", "/v5/order/cancel-all", LINEAR, 10001),
    ("a stop type without its filter", "/v5/order/cancel-all", {**BTC, "stopOrderType": "Stop"}, 10001),
    ("a batch that is no array", "/v5/order/create-batch", {**LINEAR, "request": {}}, 10001),
    ("a batch of 21", "/v5/order/create-batch", {**LINEAR, "request": [{}] * 21}, 10001),
    ("unequal leverage", "/v5/position/set-leverage", {**BTC, "buyLeverage": "5", "sellLeverage": "6"}, 10001),
    ("one leverage", "/v5/position/set-leverage", {**BTC, "buyLeverage": "5"}, 10001),
    ("too high leverage", "/v5/position/set-leverage", {**BTC, "buyLeverage": "500", "sellLeverage": "500"}, 110013),
    ("a stop without a position", "/v5/position/trading-stop",
     {**BTC, "tpslMode": "Full", "positionIdx": 0, "stopLoss": "50000"}, 10001),
    ("a trailing stop without a position", "/v5/position/trading-stop",
     {**BTC, "tpslMode": "Full", "positionIdx": 0, "trailingStop": "500"}, 10001),
    ("the mode that it has", "/v5/position/switch-mode", {**BTC, "mode": 0}, 110025),
    ("hedge mode", "/v5/position/switch-mode", {**BTC, "mode": 3}, 110029),
    ("a mode that does not exist", "/v5/position/switch-mode", {**BTC, "mode": 1}, 10001),
    ("lifting what is not there", "/v5/position/confirm-pending-mmr", BTC, 110082),
    ("portfolio margin", "/v5/account/set-margin-mode", {"setMarginMode": "PORTFOLIO_MARGIN"}, 3400045),
    ("an unknown margin mode", "/v5/account/set-margin-mode", {"setMarginMode": "CROSS"}, 10001),
    ("a window of two seconds", "/v5/order/disconnected-cancel-all", {"timeWindow": 2}, 10001),
]  # fmt: skip

REFUSED_READS = [
    ("orders of everything", "/v5/order/realtime", LINEAR, 10001),
    ("an unknown openOnly", "/v5/order/realtime", {**BTC, "openOnly": 2}, 10001),
    ("an unknown filter", "/v5/order/realtime", {**BTC, "orderFilter": "Nope"}, 10001),
    ("positions of everything", "/v5/position/list", LINEAR, 10001),
    ("positions in spot", "/v5/position/list", {"category": "spot", "symbol": "BTCUSDT"}, 10001),
    ("more than seven days", "/v5/execution/list", {**BTC, "startTime": 0, "endTime": WEEK_MS + 1}, 10001),
    ("an end before its start", "/v5/order/history", {**BTC, "startTime": 9, "endTime": 8}, 10001),
    ("a limit that is no number", "/v5/execution/list", {**BTC, "limit": "many"}, 10001),
    ("a limit of a hundred digits", "/v5/execution/list", {**BTC, "limit": "9" * 100}, 10001),
    ("the wallet of another account", "/v5/account/wallet-balance", {"accountType": "CONTRACT"}, 10001),
    ("an unknown interval", "/v5/market/kline", {**BTC, "interval": "2"}, 10001),
    ("an unknown symbol", "/v5/market/kline", {**LINEAR, "symbol": "NOPEUSDT", "interval": "1"}, 10001),
    ("a book of spot", "/v5/market/orderbook", {"category": "spot", "symbol": "BTCUSDT"}, 170121),
    ("open interest without a spacing", "/v5/market/open-interest", BTC, 10001),
    ("funding from a time without an end", "/v5/market/funding/history", {**BTC, "startTime": 1}, 10001),
]  # fmt: skip


async def test_what_bybit_refuses_is_refused_with_its_code(tmp_path):
    async with practice(tmp_path, speed=0.001) as exchange:
        for kind, rows in (("POST", REFUSED), ("GET", REFUSED_READS)):
            for what, path, params, code in rows:
                sent = {name: value for name, value in params.items() if value is not None}
                answer = await exchange.ask(kind, path, sent)
                assert (answer.status, answer.code) == (200, code), (what, answer.body)
        state = exchange.exchange.account.state
        assert not state.orders
        assert all(not held.qty for held in state.positions.values())


async def test_an_unknown_path_is_no_route(tmp_path):
    async with practice(tmp_path) as exchange:
        for method, path in (("GET", "/v5/nothing"), ("POST", "/v5/market/time"), ("PUT", "/v5/order/create")):
            answer = await exchange.ask(method, path)
            assert (answer.status, answer.code) == (404, 10017)


async def test_unknown_parameters_are_ignored(tmp_path):
    """freqtrade sends position_idx with every order, and trades on Bybit."""
    async with practice(tmp_path, speed=0.001) as exchange:
        assert (await exchange.post("/v5/order/create", **MARKET, position_idx=0, nonsense={"a": 1})).code == 0


@pytest.mark.parametrize("category", ["spot", "inverse", "option"])
async def test_other_categories_are_empty(tmp_path, category):
    async with practice(tmp_path) as exchange:
        for path, params in (
            ("/v5/market/instruments-info", {}), ("/v5/market/tickers", {}), ("/v5/order/realtime", {}),
            ("/v5/order/history", {}), ("/v5/execution/list", {}), ("/v5/market/recent-trade", {"symbol": "X"}),
        ):  # fmt: skip
            assert (await exchange.get(path, category=category, **params)).result["list"] == []
        if category != "spot":
            assert (await exchange.get("/v5/position/list", category=category)).result["list"] == []


async def test_a_time_in_force_is_kept(tmp_path):
    async with practice(tmp_path, speed=0.001) as exchange:
        assert (await exchange.post("/v5/order/create", **LIMIT, timeInForce="GTC", orderLinkId="g")).code == 0
        (row,) = (await exchange.get("/v5/order/realtime", **BTC)).result["list"]
        assert (row["timeInForce"], row["orderType"], row["leavesQty"]) == ("GTC", "Limit", "0.01")


async def test_an_amendment_changes_what_differs_and_refuses_what_does_not(tmp_path):
    async with practice(tmp_path, speed=0.001) as exchange:
        named = {**BTC, "orderId": (await exchange.post("/v5/order/create", **LIMIT)).result["orderId"]}
        for params, code in (
            ({"price": "60000"}, 10001), ({"price": "0"}, 10001), ({"triggerPrice": "1"}, 10001), ({"qty": "1000000"}, 10001),
            ({"price": "60000.05"}, 10001), ({}, 10001), ({"price": "900000"}, 110003), ({"qty": "0.02", "price": "59000"}, 0),
            ({"stopLoss": "50000"}, 0), ({"stopLoss": "50000"}, 10001),
        ):  # fmt: skip
            assert (await exchange.post("/v5/order/amend", **named, **params)).code == code, params
        (row,) = (await exchange.get("/v5/order/realtime", **BTC)).result["list"]
        assert (row["qty"], row["price"], row["stopLoss"]) == ("0.02", "59000", "50000")
        wrong = {**named, "symbol": "ETHUSDT"}
        assert (await exchange.post("/v5/order/cancel", **wrong)).code == 110001
        assert (await exchange.post("/v5/order/cancel", **named, orderLinkId="another")).code == 0


async def listed(exchange, path: str, **params) -> list[dict]:
    """Return all pages of a list; a cursor that does not end fails the test."""
    rows, cursor = [], ""
    for _ in range(200):
        page = (await exchange.get(path, **params, **({"cursor": cursor} if cursor else {}))).result
        rows += page["list"]
        cursor = page["nextPageCursor"]
        if not cursor:
            return rows
        assert page["list"], "a cursor after an empty page"
    raise AssertionError("the cursor does not end")


async def trade(exchange) -> None:
    """Make orders and executions of all kinds in two symbols."""
    for symbol, qty, price in (("BTCUSDT", "0.01", "60000"), ("ETHUSDT", "0.1", "3000")):
        common = {**LINEAR, "symbol": symbol, "qty": qty}
        for number in range(3):
            link = f"{symbol}-{number}"
            assert (
                await exchange.post("/v5/order/create", **common, side="Buy", orderType="Market", orderLinkId=link)
            ).code == 0
        await exchange.post("/v5/order/create", **common, side="Sell", orderType="Market", reduceOnly=True)
        for number in range(4):
            await exchange.post(
                "/v5/order/create",
                **common,
                side="Buy",
                orderType="Limit",
                price=price,
                orderLinkId=f"{symbol}-l{number}",
            )
        await exchange.post(
            "/v5/order/create", **common, side="Buy", orderType="Market", triggerPrice="1000", triggerDirection=2
        )
        await exchange.post("/v5/order/cancel", **LINEAR, symbol=symbol, orderLinkId=f"{symbol}-l0")


async def test_filters_are_honoured_and_every_list_ends(tmp_path):
    async with practice(tmp_path, speed=0.001) as exchange:
        await trade(exchange)

        async def count(path, **params) -> int:
            """Return of how many orders (or times, or symbols) there are rows; an order may have several."""
            rows = [await listed(exchange, path, **LINEAR, **params, limit=limit) for limit in (1, 3, 50)]
            assert rows[0] == rows[1] == rows[2]
            return len({row.get("orderId") or row.get("timestamp") or row["symbol"] for row in rows[0]})

        usdt = {"settleCoin": "USDT"}
        assert await count("/v5/order/realtime", **usdt) == 8
        assert await count("/v5/order/realtime", symbol="BTCUSDT") == 4
        assert await count("/v5/order/realtime", baseCoin="ETH") == 4
        assert await count("/v5/order/realtime", settleCoin="USDC") == 0
        assert await count("/v5/order/realtime", **usdt, orderFilter="StopOrder") == 2
        assert await count("/v5/order/realtime", **usdt, orderFilter="Order") == 6
        assert await count("/v5/order/realtime", **usdt, openOnly=1) == 10
        assert await count("/v5/order/realtime", orderLinkId="BTCUSDT-l1") == 1
        assert await count("/v5/order/realtime", orderLinkId="BTCUSDT-l0") == 1
        assert await count("/v5/order/history") == 10
        assert await count("/v5/order/history", orderStatus="Cancelled") == 2
        assert await count("/v5/order/history", symbol="BTCUSDT", orderStatus="Filled") == 4
        assert await count("/v5/order/history", orderLinkId="BTCUSDT-l1") == 0
        now = exchange.exchange.now()
        assert await count("/v5/order/history", startTime=now + 1, endTime=now + 2) == 0
        assert await count("/v5/execution/list") == 8
        assert await count("/v5/execution/list", execType="Trade") == 8
        assert await count("/v5/execution/list", execType="Funding") == 0
        assert await count("/v5/execution/list", baseCoin="BTC") == 4
        assert await count("/v5/execution/list", orderLinkId="ETHUSDT-1") == 1
        (order,) = (await exchange.get("/v5/execution/list", **LINEAR, orderLinkId="ETHUSDT-1")).result["list"]
        # an id counts, and everything else is ignored
        assert (
            await count("/v5/execution/list", orderId=order["orderId"], symbol="BTCUSDT", startTime=1, endTime=2) == 1
        )
        assert await count("/v5/execution/list", startTime=1, endTime=2) == 0
        assert await count("/v5/position/closed-pnl", symbol="BTCUSDT") == 1
        assert await count("/v5/account/transaction-log", accountType="UNIFIED") == 8
        assert await count("/v5/account/transaction-log", baseCoin="BTC", type="TRADE") == 4
        assert await count("/v5/account/transaction-log", currency="BTC") == 0
        assert await count("/v5/market/risk-limit") == 4
        day = now - now % DAY_MS - 6 * DAY_MS
        assert await count("/v5/market/open-interest", symbol="BTCUSDT", intervalTime="1d", startTime=day) == 7
        assert await count("/v5/market/account-ratio", symbol="BTCUSDT", period="1d", startTime=day) == 7


async def test_the_ledger_adds_up(tmp_path):
    async with practice(tmp_path, speed=0.001) as exchange:
        before = exchange.exchange.account.state.wallet
        assert await exchange.faults(slices={"parts": 3}) == {"ok": True}
        await trade(exchange)
        rows = await listed(exchange, "/v5/account/transaction-log", accountType="UNIFIED")
        assert Decimal(rows[0]["cashBalance"]) == exchange.exchange.account.state.wallet
        for later, earlier in itertools.pairwise(rows):
            assert Decimal(later["cashBalance"]) - Decimal(later["change"]) == Decimal(earlier["cashBalance"])
        assert Decimal(rows[-1]["cashBalance"]) - Decimal(rows[-1]["change"]) == before
        sizes = {row["orderId"]: row["size"] for row in reversed(rows) if row["symbol"] == "BTCUSDT"}
        assert list(sizes.values()) == ["0.01", "0.02", "0.03", "0.02"]


async def test_cancel_all_takes_what_it_is_told(tmp_path):
    async with practice(tmp_path, speed=0.001) as exchange:
        await trade(exchange)
        gone = (await exchange.post("/v5/order/cancel-all", **LINEAR, baseCoin="ETH", orderFilter="StopOrder")).result
        assert (len(gone["list"]), gone["success"]) == (1, "1")
        assert len((await exchange.post("/v5/order/cancel-all", **BTC)).result["list"]) == 4
        assert len((await exchange.post("/v5/order/cancel-all", **LINEAR, settleCoin="USDT")).result["list"]) == 3
        assert not exchange.exchange.account.state.orders


async def test_a_position_is_closed_by_an_order_of_nothing(tmp_path):
    async with practice(tmp_path, speed=0.001) as exchange:
        await exchange.post("/v5/order/create", **MARKET)
        closing = {**MARKET, "side": "Sell", "qty": "0", "reduceOnly": True, "closeOnTrigger": True}
        assert (await exchange.post("/v5/order/create", **closing)).code == 0
        (row,) = (await exchange.get("/v5/position/list", **BTC)).result["list"]
        assert (row["size"], row["side"]) == ("0", "")


async def test_margin_and_stop_modes_are_kept(tmp_path):
    async with practice(tmp_path, speed=0.001) as exchange:
        assert (await exchange.post("/v5/account/set-margin-mode", setMarginMode="ISOLATED_MARGIN")).result == {
            "reasons": []
        }
        assert (await exchange.get("/v5/account/info")).result["marginMode"] == "ISOLATED_MARGIN"
        assert (await exchange.post("/v5/position/switch-mode", **LINEAR, coin="USDT", mode=0)).code == 0
        assert (await exchange.post("/v5/position/set-tpsl-mode", **BTC, tpSlMode="Partial")).result == {
            "tpSlMode": "Partial"
        }


async def test_a_position_loses_its_stop_with_the_order_of_it(tmp_path):
    async with practice(tmp_path, speed=0.001) as exchange:
        await exchange.post("/v5/order/create", **MARKET, stopLoss="50000", takeProfit="90000")

        async def shown() -> tuple[str, str]:
            (position,) = (await exchange.get("/v5/position/list", **BTC)).result["list"]
            return position["stopLoss"], position["takeProfit"]

        async def of(kind: str) -> str:
            rows = (await exchange.get("/v5/order/realtime", **BTC)).result["list"]
            return next(one["orderId"] for one in rows if one["stopOrderType"] == kind)

        moved = {**BTC, "orderId": await of("StopLoss"), "triggerPrice": "51000"}
        assert (await exchange.post("/v5/order/amend", **moved)).code == 0
        assert await shown() == ("51000", "90000")
        assert (await exchange.post("/v5/order/cancel", **BTC, orderId=await of("StopLoss"))).code == 0
        assert await shown() == ("0", "90000")
        assert len((await exchange.post("/v5/order/cancel-all", **BTC)).result["list"]) == 1
        assert await shown() == ("0", "0")


async def test_only_ten_conditional_orders_wait_in_a_symbol(tmp_path):
    async with practice(tmp_path, speed=0.001) as exchange:
        conditional = {**MARKET, "triggerPrice": "90000", "triggerDirection": 1}
        codes = [(await exchange.post("/v5/order/create", **conditional)).code for _ in range(11)]
        assert codes == [0] * 10 + [110009]
        assert (await exchange.post("/v5/order/create", **{**conditional, "symbol": "ETHUSDT", "qty": "0.1"})).code == 0


async def test_parts_of_a_position_get_stops_of_their_own(tmp_path):
    async with practice(tmp_path, speed=0.001) as exchange:
        await exchange.post("/v5/order/create", **MARKET)
        stops = {**BTC, "tpslMode": "Partial", "positionIdx": 0, "takeProfit": "90000", "stopLoss": "50000"}
        assert (await exchange.post("/v5/position/trading-stop", **stops, tpSize="0.005", slSize="0.004")).code == 10001
        assert (await exchange.post("/v5/position/trading-stop", **stops, tpSize="0.005", slSize="0.005")).code == 0
        rows = (await exchange.get("/v5/order/realtime", **BTC, orderFilter="StopOrder")).result["list"]
        assert {(row["stopOrderType"], row["qty"], row["reduceOnly"]) for row in rows} == {
            ("PartialTakeProfit", "0.005", True), ("PartialStopLoss", "0.005", True),
        }  # fmt: skip


def row(side: OrderSide) -> Execution:
    nothing = Decimal(0)
    return Execution(
        id="x", sequence=1, time=1, order_id="o", link_id="", symbol="BTC/USDT:USDT", side=side, order_type="Market",
        qty=Decimal(1), price=Decimal(100), fee=Decimal("0.5"), fee_rate=Decimal("0.0001"), maker=False, closed=nothing,
        leaves=nothing, order_qty=Decimal(1), kind="Funding",
    )  # fmt: skip


def test_funding_in_the_ledger_has_the_opposite_sign_of_the_execution():
    from sandbox.shapes import ledger_row

    paid = ledger_row(row(OrderSide.BUY), "BTCUSDT", Decimal(0), Decimal(9), Decimal(1))
    assert (paid["type"], paid["funding"], paid["fee"], paid["change"]) == ("SETTLEMENT", "-0.5", "0", "-0.5")
    assert (paid["feeRate"], ledger_row(row(OrderSide.SELL), "B", Decimal(0), Decimal(9), Decimal(1))["feeRate"]) == (
        "0.0001",
        "-0.0001",
    )


NAMES = (
    "category", "symbol", "side", "orderType", "qty", "price", "timeInForce", "positionIdx", "reduceOnly", "stopLoss",
    "takeProfit", "triggerPrice", "triggerDirection", "triggerBy", "orderLinkId", "orderId", "tpslMode", "tpSlMode", "limit",
    "cursor", "startTime", "endTime", "start", "end", "interval", "intervalTime", "period", "settleCoin", "baseCoin", "coin",
    "request", "mode", "buyLeverage", "sellLeverage", "trailingStop", "activePrice", "tpSize", "slSize", "openOnly",
    "orderFilter", "stopOrderType", "orderStatus", "execType", "accountType", "type", "currency", "setMarginMode", "product",
    "timeWindow", "closeOnTrigger", "tpOrderType", "tpLimitPrice",
)  # fmt: skip
GOOD = (
    "linear", "BTCUSDT", "ETHUSDT", "Buy", "Sell", "Market", "Limit", "0.01", "60000", "65000", "UNIFIED", "1", "W", "M", "D", "3",
    "5min", "USDT", "Partial", "Full", "0.005", "IOC", "PostOnly", "StopOrder", "ISOLATED_MARGIN", "DERIVATIVES", 0, 1, 2, 3, True, False,
)  # fmt: skip
BAD = (
    None, "", " ", "0", "-1", "1e400", "1E-400", "NaN", "Infinity", "-0", "9" * 40, "9" * 5_000, "0." + "1" * 60, "é", "\x00", "\uff11\uff12",
    "' OR 1=1", "\ud800", "a" * 100_000, -1, 2**63, 10**400, 1.5, 1e308, [], {}, [[]], [{}], [{"symbol": 1}], {"a": {}}, [None],
)  # fmt: skip


def params(rng: random.Random) -> dict:
    chosen = rng.sample(NAMES, rng.randint(0, 12))
    common = {name: value for name, value in BTC.items() if rng.random() < 0.8}
    return {**common, **{name: rng.choice(GOOD if rng.random() < 0.6 else BAD) for name in chosen}}


WHOLE = {
    "/v5/order/create": {**LIMIT, "positionIdx": 0, "timeInForce": "GTC", "orderLinkId": "", "stopLoss": "50000",
                         "takeProfit": "90000", "tpslMode": "Full", "triggerPrice": "90000", "triggerDirection": 1},
    "/v5/order/amend": {**BTC, "orderLinkId": "0.01", "qty": "0.02", "price": "59000", "stopLoss": "50000"},
    "/v5/order/cancel": {**BTC, "orderId": "x", "orderLinkId": "y"},
    "/v5/order/create-batch": {**LINEAR, "request": [{**LIMIT, "orderLinkId": "b"}]},
    "/v5/order/cancel-all": {**BTC, "orderFilter": "StopOrder", "stopOrderType": "Stop"},
    "/v5/order/pre-check": MARKET,
    "/v5/position/set-leverage": {**BTC, "buyLeverage": "5", "sellLeverage": "5"},
    "/v5/position/trading-stop": {**BTC, "tpslMode": "Partial", "positionIdx": 0, "stopLoss": "50000", "takeProfit": "90000",
                                  "tpSize": "0.001", "slSize": "0.001", "trailingStop": "500", "activePrice": "80000"},
    "/v5/position/switch-mode": {**BTC, "mode": 0, "coin": "USDT"},
}  # fmt: skip
"""Requests that are right; each of their fields is spoilt in turn."""


def spoilt(rng: random.Random, path: str) -> list[str]:
    whole = WHOLE.get(path, {})
    return [json.dumps({**whole, name: bad}) for name in whole for bad in rng.sample(BAD, 5)]


BODIES = (
    "", "null", "[]", "1", '"x"', "{", "{]", '{"a":', "\x00", '{"category":"linear"' + ",", "[" * 100_000, '{"a":' * 50_000,
    '{"qty":1e999}', '{"qty":' + "9" * 5_000 + "}", '{"symbol":"\\ud800"}', "true", '{"a":1,"a":2}', '{"category":["linear"]}',
)  # fmt: skip


async def test_nothing_that_is_sent_breaks_an_endpoint(tmp_path):
    """Every endpoint answers JSON with a retCode, whatever it gets; an exception of its own would be a 500."""
    rng = random.Random(7)
    async with practice(tmp_path, speed=0.001) as exchange:
        rest = Rest(exchange.exchange, lambda _: None, Limits(exchange.exchange.terms))
        await exchange.post("/v5/order/create", **MARKET)
        await exchange.post("/v5/order/create", **LIMIT, orderLinkId="0.01")
        seen = set()

        async def check(method, path, sent) -> None:
            answer = await exchange.ask(method, path, sent)
            assert answer.status == 200, (path, sent, answer.body)
            assert isinstance(answer.body["retCode"], int), (path, sent, answer.body)
            seen.add(answer.code)

        for method, path in sorted(rest.public.keys() | rest.private.keys()):
            if method == "POST":
                sent = [json.dumps(params(rng)) for _ in range(25)] + list(BODIES) + spoilt(rng, path)
            else:
                sent = ["&".join(f"{name}={_quoted(value)}" for name, value in params(rng).items()) for _ in range(25)]
                sent += ["%", "%zz", "a&&&=", "symbol=%ff%fe", "symbol=%ED%A0%80", "limit=1&limit=2", "=" * 5_000]
            for group in (sent[at : at + 20] for at in range(0, len(sent), 20)):
                await asyncio.gather(*(check(method, path, one) for one in group))
        # it came past the first check of an endpoint, and further
        assert {0, 10001, 110001, 110025, 34040} <= seen


def _quoted(value) -> str:
    from urllib.parse import quote

    return quote(str(value)[:200], errors="replace")

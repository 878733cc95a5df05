"""Bybit's official client, unmodified but for the addresses, walks everything that the practice exchange serves."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Any

import pybit._websocket_trading
import pybit.unified_trading
import pytest
from pybit.exceptions import InvalidRequestError
from pybit.unified_trading import HTTP, WebSocket, WebSocketTrading

from sandbox.limits import Limits
from sandbox.rest import Rest
from tests.practice import Practice, practice, until

LINEAR = {"category": "linear"}
BTC = {**LINEAR, "symbol": "BTCUSDT"}
LIMIT = {
    "symbol": "BTCUSDT",
    "side": "Buy",
    "orderType": "Limit",
    "qty": "0.01",
    "price": "60000",
    "timeInForce": "GTC",
}
MARKET = {"symbol": "BTCUSDT", "side": "Buy", "orderType": "Market", "qty": "0.01"}
ALREADY = object()


def session(exchange: Practice, **changed: Any) -> HTTP:
    terms = exchange.exchange.terms
    http = HTTP(**{"api_key": terms.key, "api_secret": terms.secret, **changed})
    http.endpoint = exchange.rest
    return http


def walk(http: HTTP) -> dict[str, Any]:
    """Call everything once; return what each call gave, or the retCode that it was refused with."""
    got: dict[str, Any] = {}

    def call(name: str, **params: Any) -> Any:
        try:
            got[name] = getattr(http, name)(**params)["result"]
        except InvalidRequestError as error:
            got[name] = error.status_code
        return got[name]

    call("get_server_time")
    call("get_instruments_info", **LINEAR)
    for name in ("get_kline", "get_mark_price_kline", "get_index_price_kline", "get_premium_index_price_kline"):
        for interval in ("1", "W", "M"):
            call(name, **BTC, interval=interval, limit=2)
    call("get_orderbook", **BTC, limit=50)
    call("get_tickers", **BTC)
    call("get_public_trade_history", **BTC, limit=5)
    call("get_open_interest", **BTC, intervalTime="1h", limit=3)
    call("get_long_short_ratio", **BTC, period="1h", limit=3)
    call("get_risk_limit", **BTC)
    call("get_price_limit", **BTC)
    call("get_funding_rate_history", **BTC, limit=3)
    call("get_system_status")
    call("get_account_info")
    call("get_wallet_balance", accountType="UNIFIED", coin="USDT")
    call("get_fee_rates", **BTC)
    call("get_api_key_information")
    call("get_coin_info", coin="USDT")
    call("get_coin_greeks")
    call("set_margin_mode", setMarginMode="REGULAR_MARGIN")
    call("set_leverage", **BTC, buyLeverage="5", sellLeverage="5")
    call("switch_position_mode", **LINEAR, coin="USDT", mode=0)
    call("set_tp_sl_mode", **BTC, tpSlMode="Full")
    call("confirm_new_risk_limit", **BTC)
    call("set_dcp", product="DERIVATIVES", timeWindow=40)
    call("query_dcp_info")
    call("pre_check_order", **LINEAR, **LIMIT)
    call("place_order", **LINEAR, **LIMIT, orderLinkId="one")
    call("amend_order", **BTC, orderLinkId="one", price="59000")
    call("get_open_orders", **BTC)
    call("cancel_order", **BTC, orderLinkId="one")
    placed = call("place_batch_order", **LINEAR, request=[LIMIT, {**LIMIT, "side": "Sell", "price": "79000"}])
    ids = [{"symbol": "BTCUSDT", "orderId": row["orderId"]} for row in placed["list"]]
    call("amend_batch_order", **LINEAR, request=[{**one, "qty": "0.02"} for one in ids])
    call("cancel_batch_order", **LINEAR, request=ids[:1])
    call("cancel_all_orders", **BTC)
    http.place_order(**LINEAR, **MARKET, takeProfit="90000", stopLoss="50000", tpslMode="Full")
    call("set_trading_stop", **BTC, stopLoss="51000", trailingStop="5000", tpslMode="Full", positionIdx=0)
    call("get_positions", **BTC)
    http.set_margin_mode(setMarginMode="ISOLATED_MARGIN")
    call("add_or_reduce_margin", **BTC, margin="2.5")
    http.set_margin_mode(setMarginMode="REGULAR_MARGIN")
    call("sign_agreement", categoryV2=1, agree=True)
    http.place_order(**LINEAR, **{**MARKET, "side": "Sell", "qty": "0"}, reduceOnly=True, closeOnTrigger=True)
    call("get_executions", **BTC)
    call("get_order_history", **BTC)
    call("get_closed_pnl", **BTC)
    call("get_transaction_log", accountType="UNIFIED")
    return got


async def test_every_endpoint_is_walked_over_rest(tmp_path):
    async with practice(tmp_path, speed=0.001) as exchange:
        got = await asyncio.to_thread(walk, session(exchange))
        rest = Rest(exchange.exchange, lambda _: None, Limits(exchange.exchange.terms))
        # the one that has to be refused where nothing restricts the position
        assert {name: code for name, code in got.items() if isinstance(code, int)} == {"confirm_new_risk_limit": 110082}
        assert rest.public.keys() | rest.private.keys() == exchange.seen | {
            ("POST", "/v5/position/confirm-pending-mmr")
        }
        assert [len(row) for row in got["get_kline"]["list"]] == [7]
        assert [len(row) for row in got["get_premium_index_price_kline"]["list"]] == [5]
        assert len(got["get_orderbook"]["b"]) == len(got["get_orderbook"]["a"]) == 50
        assert got["pre_check_order"]["postImrE4"] > got["pre_check_order"]["preImrE4"] == 0
        assert [row["orderLinkId"] for row in got["get_open_orders"]["list"]] == ["one"]
        assert (got["get_open_orders"]["list"][0]["price"], got["get_open_orders"]["list"][0]["orderStatus"]) == (
            "59000",
            "New",
        )
        assert len(got["cancel_all_orders"]["list"]) == 1
        (position,) = got["get_positions"]["list"]
        assert (position["side"], position["size"], position["stopLoss"]) == ("Buy", "0.01", "51000")
        assert float(position["trailingStop"]) == 5000
        assert got["add_or_reduce_margin"]["size"] == "0.01"
        assert exchange.exchange.account.state.agreed
        assert {row["side"] for row in got["get_executions"]["list"]} == {"Buy", "Sell"}
        assert got["get_closed_pnl"]["list"][0]["side"] == "Sell"
        flows = [float(row["change"]) for row in got["get_transaction_log"]["list"]]
        assert float(exchange.exchange.account.state.wallet) == pytest.approx(10_000 + sum(flows))


async def test_it_learns_from_the_headers_when_it_may_ask_again(tmp_path):
    """pybit waits until X-Bapi-Limit-Reset-Timestamp after 10006, and then its request goes through."""
    async with practice(tmp_path, speed=1, limits=True) as exchange:
        http = session(exchange)
        answers = await asyncio.to_thread(lambda: [http.place_order(**LINEAR, **LIMIT)["retCode"] for _ in range(12)])
        assert answers == [0] * 12


@contextlib.contextmanager
def sockets(exchange: Practice, monkeypatch: pytest.MonkeyPatch):
    """Point pybit's WebSockets at the practice exchange; close those that were opened."""
    base, opened = f"ws://127.0.0.1:{exchange.port}/v5", []
    monkeypatch.setattr(pybit.unified_trading, "PUBLIC_WSS", base + "/public/{CHANNEL_TYPE}")
    monkeypatch.setattr(pybit.unified_trading, "PRIVATE_WSS", base + "/private")
    monkeypatch.setattr(pybit._websocket_trading, "TRADE_WSS", base + "/trade")

    def connect(kind: Any, **params: Any) -> Any:
        opened.append(kind(testnet=False, private_auth_expire=10, **params))
        return opened[-1]

    try:
        yield connect
    finally:
        for socket in opened:
            socket.exit()


class Heard:
    """Collects what the callbacks of pybit's threads get."""

    def __init__(self) -> None:
        self.frames: dict[str, list[Any]] = {}
        self._lock = threading.Lock()

    def on(self, name: str) -> Any:
        def hear(frame: Any) -> None:
            with self._lock:
                self.frames.setdefault(name, []).append(frame)

        return hear


async def test_every_topic_is_heard(tmp_path, monkeypatch):
    async with practice(tmp_path, speed=120) as exchange:
        terms, heard = exchange.exchange.terms, Heard()

        def listen(connect: Any) -> None:
            public = connect(WebSocket, channel_type="linear")
            public.kline_stream(interval=3, symbol="BTCUSDT", callback=heard.on("kline"))
            public.kline_stream(interval="W", symbol="BTCUSDT", callback=heard.on("week"))
            for depth in (1, 50, 200, 1000):
                public.orderbook_stream(depth=depth, symbol="BTCUSDT", callback=heard.on(f"book {depth}"))
            public.trade_stream(symbol="BTCUSDT", callback=heard.on("trade"))
            public.ticker_stream(symbol="BTCUSDT", callback=heard.on("ticker"))
            public.price_limit_stream(symbol="BTCUSDT", callback=heard.on("price limit"))
            public.all_liquidation_stream(symbol="BTCUSDT", callback=heard.on("liquidation"))
            public.insurance_pool_stream(contract_group="USDT", callback=heard.on("insurance"))
            private = connect(WebSocket, channel_type="private", api_key=terms.key, api_secret=terms.secret)
            private.order_stream(callback=heard.on("order"))
            private.execution_stream(callback=heard.on("execution"))
            private.fast_execution_stream(callback=heard.on("fast"))
            private.position_stream(callback=heard.on("position"))
            private.wallet_stream(callback=heard.on("wallet"))
            private.greek_stream(callback=heard.on("greeks"))

        with sockets(exchange, monkeypatch) as connect:
            # pybit notes what it subscribes to after it has sent it, and ends when the answer is there before that
            await exchange.faults(delay_ms=100)
            await asyncio.to_thread(listen, connect)
            await exchange.faults(delay_ms=0)
            http = session(exchange)
            await asyncio.to_thread(lambda: http.place_order(**LINEAR, **MARKET))
            silent = {"liquidation", "insurance", "greeks"}
            wanted = {"kline", "week", "book 1", "book 50", "book 200", "book 1000", "trade", "ticker", "price limit",
                      "order", "execution", "fast", "position", "wallet"}  # fmt: skip
            await until(lambda: wanted <= heard.frames.keys(), "every topic to be heard")
            # pybit keeps the book itself, from the snapshot and its deltas
            await until(lambda: len(heard.frames["book 50"]) > 2, "the book to change")
            book = heard.frames["book 50"][-1]["data"]
            assert len(book["b"]) == len(book["a"]) == 50
            assert float(book["b"][0][0]) < float(book["a"][0][0])
        assert not silent & heard.frames.keys()


async def test_orders_are_sent_over_the_trade_socket(tmp_path, monkeypatch):
    async with practice(tmp_path, speed=0.001) as exchange:
        terms, heard = exchange.exchange.terms, Heard()
        orders = exchange.exchange.account.state.orders
        with sockets(exchange, monkeypatch) as connect:
            trading = await asyncio.to_thread(
                lambda: connect(WebSocketTrading, api_key=terms.key, api_secret=terms.secret)
            )

            async def send(name: str, **params: Any) -> Any:
                getattr(trading, name)(heard.on(name), **params)
                await until(lambda: name in heard.frames, name)
                return heard.frames[name][-1]

            made = await send("place_order", **LINEAR, **LIMIT)
            named = {**BTC, "orderId": made["data"]["orderId"]}
            await send("amend_order", **named, price="59000")
            await send("cancel_order", **named)
            batch = await send("place_batch_order", **LINEAR, request=[LIMIT, LIMIT])
            ids = [{"symbol": "BTCUSDT", "orderId": row["orderId"]} for row in batch["data"]["list"]]
            await send("amend_batch_order", **LINEAR, request=[{**one, "price": "58000"} for one in ids])
            assert {order.price for order in orders.values()} == {58000}
            gone = await send("cancel_batch_order", **LINEAR, request=ids)
            assert gone["retExtInfo"]["list"] == [{"code": 0, "msg": "OK"}] * 2
        assert not orders

"""ccxt and ccxt.pro, unmodified but for the addresses, walk everything that the practice exchange serves."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import ccxt
import ccxt.pro
import pytest

from sandbox.limits import Limits
from sandbox.rest import Rest
from tests.practice import Practice, practice

S = "BTC/USDT:USDT"
BTC = {"category": "linear", "symbol": "BTCUSDT"}


@contextlib.asynccontextmanager
async def client(exchange: Practice):
    """A ccxt.pro client as anybody makes one, at the practice exchange's addresses."""
    terms, rest, stream = exchange.exchange.terms, exchange.rest, f"ws://127.0.0.1:{exchange.port}/v5"
    ex = ccxt.pro.bybit({"apiKey": terms.key, "secret": terms.secret, "enableRateLimit": False})
    ex.options["defaultType"] = "swap"
    ex.aiohttp_trust_env = False
    api = ex.urls["api"]
    api |= {name: rest for name, url in api.items() if isinstance(url, str)}
    api["ws"]["public"] = {one: f"{stream}/public/{one}" for one in ("spot", "inverse", "option", "linear")}
    api["ws"]["private"] = {
        "spot": {"unified": f"{stream}/private", "nonUnified": f"{stream}/private"}, "contract": f"{stream}/private",
        "usdc": f"{stream}/private", "trade": f"{stream}/trade",
    }  # fmt: skip
    try:
        yield ex
    finally:
        await ex.close()


async def test_every_endpoint_is_walked_over_rest(tmp_path):
    async with practice(tmp_path, speed=0.001) as exchange, client(exchange) as ex:
        await ex.load_markets()
        await market_data(ex)
        await account(ex)
        await orders(ex)
        await positions(ex)
        # what ccxt has no method of its own for
        await ex.privatePostV5OrderPreCheck({**BTC, "side": "Buy", "orderType": "Market", "qty": "0.01"})
        await ex.privatePostV5OrderDisconnectedCancelAll({"timeWindow": 40})
        await ex.privateGetV5AccountQueryDcpInfo()
        await ex.privatePostV5PositionSetTpslMode({**BTC, "tpSlMode": "Full"})
        await ex.privateGetV5AssetCoinGreeks()
        await ex.publicGetV5MarketPriceLimit(BTC)
        with pytest.raises(ccxt.ExchangeError, match="110082"):
            await ex.privatePostV5PositionConfirmPendingMmr(BTC)
        rest = Rest(exchange.exchange, lambda _: None, Limits(exchange.exchange.terms))
        assert rest.public.keys() | rest.private.keys() == exchange.seen | {
            ("POST", "/v5/position/confirm-pending-mmr")
        }


async def market_data(ex: Any) -> None:
    assert abs(await ex.fetch_time() - ex.milliseconds()) < 60_000
    assert (await ex.fetch_status())["status"] == "ok"
    ticker = await ex.fetch_ticker(S)
    assert ticker["bid"] < ticker["ask"]
    assert set(await ex.fetch_tickers()) == set(ex.symbols)
    assert S in await ex.fetch_bids_asks()
    for timeframe in ("1m", "1w", "1M"):
        assert await ex.fetch_ohlcv(S, timeframe, limit=2)
    assert await ex.fetch_mark_ohlcv(S, "15m", limit=2)
    assert await ex.fetch_index_ohlcv(S, "15m", limit=2)
    assert await ex.fetch_premium_index_ohlcv(S, "15m", limit=2)
    book = await ex.fetch_order_book(S, 50)
    assert len(book["bids"]) == len(book["asks"]) == 50
    assert await ex.fetch_trades(S, limit=5)
    assert (await ex.fetch_funding_rate(S))["fundingRate"] == 0.0001
    assert await ex.fetch_funding_rate_history(S, limit=2)
    assert (await ex.fetch_open_interest(S))["openInterestAmount"] > 0
    assert len(await ex.fetch_open_interest_history(S, "1h", limit=3)) == 3
    assert len(await ex.fetch_long_short_ratio_history(S, "1h", limit=3)) == 3
    assert await ex.fetch_market_leverage_tiers(S)
    assert set(await ex.fetch_leverage_tiers()) == set(ex.symbols)


async def account(ex: Any) -> None:
    assert await ex.is_unified_enabled() == [False, True]
    assert (await ex.fetch_balance())["USDT"]["total"] == 10_000
    assert (await ex.fetch_trading_fee(S))["taker"] == 0.00055
    assert set(await ex.fetch_trading_fees()) == set(ex.symbols)
    assert "USDT" in await ex.fetch_currencies()
    await ex.set_leverage(9, S)
    await ex.set_margin_mode("cross", S, {"leverage": 9})
    await ex.set_position_mode(hedged=False)
    with pytest.raises(ccxt.NoChange):
        await ex.set_position_mode(False, S)
    assert (await ex.fetch_leverage(S))["longLeverage"] == 9


async def orders(ex: Any) -> None:
    last = (await ex.fetch_ticker(S))["last"]
    made = await ex.create_order(S, "limit", "buy", 0.01, last * 0.9)
    assert (await ex.fetch_open_order(made["id"], S))["status"] == "open"
    await ex.edit_order(made["id"], S, "limit", "buy", 0.02, last * 0.91)
    assert [order["amount"] for order in await ex.fetch_open_orders(S)] == [0.02]
    await ex.cancel_order(made["id"], S)
    assert [order["id"] for order in await ex.fetch_canceled_orders(S)] == [made["id"]]
    assert (await ex.fetch_order(made["id"], S, {"acknowledged": True}))["status"] == "canceled"
    several = [{"symbol": S, "type": "limit", "side": "buy", "amount": 0.01, "price": last * 0.9}] * 2
    ids = [order["id"] for order in await ex.create_orders(several)]
    await ex.edit_orders(
        [{"id": one, "symbol": S, "type": "limit", "side": "buy", "amount": 0.02, "price": last * 0.9} for one in ids]
    )
    await ex.cancel_orders(ids[:1], S)
    await ex.create_order(S, "market", "buy", 0.01, None, {"triggerPrice": last * 1.1, "triggerDirection": "ascending"})
    assert len(await ex.fetch_open_orders(S, params={"trigger": True})) == 1
    assert len(await ex.cancel_all_orders(S)) == 2
    assert await ex.fetch_open_orders(S) == []


async def positions(ex: Any) -> None:
    last = (await ex.fetch_ticker(S))["last"]
    protected = {"stopLoss": {"triggerPrice": last * 0.8}, "takeProfit": {"triggerPrice": last * 1.2}}
    made = await ex.create_order(S, "market", "buy", 0.02, None, protected)
    (held,) = await ex.fetch_positions([S])
    assert (held["side"], held["contracts"], held["leverage"]) == ("long", 0.02, 9)
    assert (await ex.fetch_position(S))["stopLossPrice"] == pytest.approx(last * 0.8, rel=1e-4)
    await ex.create_order(S, "market", "sell", 0.01, None, {"stopLossPrice": last * 0.85, "reduceOnly": True})
    await ex.create_order(S, "market", "sell", 0.01, None, {"trailingAmount": round(last * 0.05, 1)})
    assert float((await ex.fetch_position(S))["info"]["trailingStop"]) == pytest.approx(last * 0.05, rel=1e-3)
    await ex.create_order(S, "market", "sell", 0.02, None, {"reduceOnly": True})
    assert await ex.fetch_positions() == []
    assert made["id"] in {order["id"] for order in await ex.fetch_closed_orders(S)}
    assert len(await ex.fetch_my_trades(S)) >= 2
    assert await ex.fetch_order_trades(made["id"], S)
    assert len(await ex.fetch_positions_history([S])) == 1
    assert len(await ex.fetch_ledger()) >= 2
    assert await ex.fetch_funding_history(S) == []


async def test_every_topic_is_watched(tmp_path):
    async with practice(tmp_path, speed=120) as exchange, client(exchange) as ex:
        await ex.load_markets()
        async with asyncio.timeout(60):
            assert (await ex.watch_ohlcv(S, "3m"))[-1][4] > 0
            assert (await ex.watch_ohlcv(S, "1w"))[-1][4] > 0
            assert (await ex.watch_ticker(S))["last"] > 0
            assert S in await ex.watch_tickers([S])
            assert S in await ex.watch_bids_asks([S])
            assert (await ex.watch_trades(S))[-1]["price"] > 0
            for depth in (1, 50, 200, 1000):
                book = await ex.watch_order_book(S, depth)
                book = await ex.watch_order_book(S, depth)
                assert book["bids"][0][0] < book["asks"][0][0]
                await ex.un_watch_order_book(S, {"limit": depth})


async def held(ex: Any) -> list[Any]:
    """Watch positions until there is one: ccxt begins with what REST lists, which may be nothing."""
    while not (found := await ex.watch_positions([S])):
        pass
    return found


async def test_the_account_is_watched(tmp_path):
    async with practice(tmp_path, speed=120) as exchange, client(exchange) as ex:
        await ex.load_markets()
        await ex.create_order(S, "market", "buy", 0.02)
        watched = {
            "orders": ex.watch_orders(S), "trades": ex.watch_my_trades(S), "positions": held(ex),
            "balance": ex.watch_balance(),
        }  # fmt: skip
        tasks = {name: asyncio.create_task(one) for name, one in watched.items()}
        async with asyncio.timeout(60):
            while not all(task.done() for task in tasks.values()):
                side = "sell" if await ex.fetch_positions() else "buy"
                await ex.create_order(S, "market", side, 0.02, None, {"reduceOnly": side == "sell"})
                await asyncio.wait(tasks.values(), timeout=0.2)
        assert tasks["orders"].result()[-1]["symbol"] == S
        assert tasks["trades"].result()[-1]["amount"] > 0
        assert {position["symbol"] for position in tasks["positions"].result()} == {S}
        assert tasks["balance"].result()["USDT"]["total"] > 0


async def test_orders_are_sent_over_the_trade_socket(tmp_path):
    async with practice(tmp_path, speed=0.001) as exchange, client(exchange) as ex:
        await ex.load_markets()
        last = (await ex.fetch_ticker(S))["last"]
        made = await ex.create_order_ws(S, "limit", "buy", 0.01, last * 0.9)
        await ex.edit_order_ws(made["id"], S, "limit", "buy", 0.02, last * 0.91)
        (order,) = exchange.exchange.account.state.orders.values()
        assert float(order.qty) == 0.02
        await ex.cancel_order_ws(made["id"], S)
        assert not exchange.exchange.account.state.orders
        with pytest.raises(ccxt.OrderNotFound):
            await ex.cancel_order_ws(made["id"], S)

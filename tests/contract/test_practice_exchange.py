"""The practice exchange speaks enough Bybit v5 for unmodified clients."""

from __future__ import annotations

import asyncio
import itertools
import json

import ccxt
import pytest
import websockets

from domain.candle import Bars
from sandbox.exchange import Exchange, Terms
from sandbox.store import SandboxStore
from sandbox.tape import GeneratedTape, ReplayTape
from tests.practice import START, practice, until

BTC = "BTC/USDT:USDT"


async def test_unmodified_ccxt_trades_on_it(tmp_path):
    """Markets, candles, ticker, balance, leverage, orders, streams, positions, history: all through ccxt's own methods."""
    async with practice(tmp_path) as exchange:
        client = exchange.client()
        ex = client.exchange
        try:
            markets = await ex.load_markets()
            assert markets[BTC]["precision"] == {"amount": 0.001, "price": 0.1}
            candles = await ex.fetch_ohlcv(BTC, "3m", limit=5)
            assert [later[0] - earlier[0] for earlier, later in itertools.pairwise(candles)] == [180_000] * 4
            assert (await ex.fetch_balance())["USDT"]["total"] == 10_000
            await ex.set_leverage(5, BTC)
            with pytest.raises(ccxt.BadRequest, match="110043"):
                await ex.set_leverage(5, BTC)
            trades = asyncio.create_task(ex.watch_my_trades())
            orders = asyncio.create_task(ex.watch_orders())
            await asyncio.sleep(0.3)
            last = (await ex.fetch_ticker(BTC))["last"]
            made = await ex.create_order(
                BTC, "market", "buy", 0.01, None,
                {"orderLinkId": "once", "stopLoss": {"triggerPrice": last * 0.98}, "takeProfit": {"triggerPrice": last * 1.02}},
            )  # fmt: skip
            with pytest.raises(ccxt.InvalidOrder, match="110072"):
                await ex.create_order(BTC, "market", "buy", 0.01, None, {"orderLinkId": "once"})
            assert (await asyncio.wait_for(trades, 5))[0]["order"] == made["id"]
            assert {order["symbol"] for order in await asyncio.wait_for(orders, 5)} == {BTC}
            (position,) = await ex.fetch_positions()
            assert (position["side"], position["contracts"]) == ("long", 0.01)
            assert position["stopLossPrice"] == pytest.approx(last * 0.98, rel=1e-4)
            assert len(await ex.fetch_open_orders(BTC)) == 2
            limit = await ex.create_order(BTC, "limit", "buy", 0.01, last * 0.9)
            await ex.edit_order(limit["id"], BTC, "limit", "buy", 0.02, last * 0.89)
            await ex.cancel_order(limit["id"], BTC)
            await ex.create_order(BTC, "market", "sell", 0.01, None, {"reduceOnly": True})
            assert await ex.fetch_positions() == []
            assert len(await ex.fetch_my_trades(BTC)) == 2
            assert len(await ex.fetch_positions_history([BTC])) == 1
            assert (await ex.fetch_funding_rate_history(BTC, limit=2))[0]["fundingRate"] == 0.0001
            assert BTC in await ex.fetch_leverage_tiers()
            assert (await ex.fetch_status())["status"] == "ok"
            assert len(await ex.fetch_mark_ohlcv(BTC, "15m", limit=3)) == 3
        finally:
            await client.close()


async def test_a_wrong_secret_key_or_clock_is_refused_with_bybits_codes(tmp_path):
    async with practice(tmp_path) as exchange:
        for credentials, kind in (
            ((None, "wrong"), ccxt.AuthenticationError),
            (("wrong", None), ccxt.AuthenticationError),
        ):
            client = exchange.client(*credentials)
            with pytest.raises(kind):
                await client.exchange.private_get_v5_user_query_api()
            await client.close()
        client = exchange.client()
        await exchange.faults(clock_shift_ms=20_000)
        with pytest.raises(ccxt.InvalidNonce, match="10002"):
            await client.exchange.private_get_v5_user_query_api()
        await client.close()


async def answer(socket):
    while "topic" in (frame := json.loads(await asyncio.wait_for(socket.recv(), 10))):
        pass
    return frame


async def talk(exchange, *requests):
    async with websockets.connect(exchange.stream, proxy=None) as socket:
        answers = []
        for request in requests:
            await socket.send(json.dumps(request) if not isinstance(request, str) else request)
            answers.append(await answer(socket))
        return answers


async def test_subscribe_acks_errors_and_pongs_look_like_bybits(tmp_path):
    async with practice(tmp_path, speed=0.001) as exchange:
        good, bad, pong, broken, long = await talk(
            exchange,
            {"req_id": "1", "op": "subscribe", "args": ["kline.3.BTCUSDT", "tickers.ETHUSDT", "publicTrade.SOLUSDT"]},
            {"req_id": "2", "op": "subscribe", "args": ["kline.3.NOPEUSDT"]},
            {"req_id": "3", "op": "ping"},
            "no json",
            {"req_id": "5", "op": "subscribe", "args": ["kline.3.BTCUSDT"] * 2_000},
        )
    assert (good["success"], good["op"], good["req_id"]) == (True, "subscribe", "1")
    assert (bad["success"], bad["ret_msg"]) == (False, "error:handler not found,topic:kline.3.NOPEUSDT")
    assert (pong["ret_msg"], pong["op"]) == ("pong", "ping")
    assert broken["success"] is False
    assert "args size" in long["ret_msg"]


async def test_a_bars_end_is_one_frame_with_two_items(tmp_path):
    async with practice(tmp_path, speed=2_000) as exchange, websockets.connect(exchange.stream, proxy=None) as socket:
        await socket.send(json.dumps({"op": "subscribe", "args": ["kline.3.BTCUSDT"]}))
        pairs = []
        while len(pairs) < 3:
            frame = json.loads(await asyncio.wait_for(socket.recv(), 10))
            if len(frame.get("data", [])) == 2:
                pairs.append(frame["data"])
        for closed, following in pairs:
            assert (closed["confirm"], following["confirm"], following["volume"]) == (True, False, "0")
            assert following["start"] == closed["start"] + 180_000 == closed["end"] + 1
        assert pairs[1][0]["start"] == pairs[0][1]["start"]


async def test_lists_come_in_pages(tmp_path):
    async with practice(tmp_path, symbols=40) as exchange:
        client = exchange.client()
        held = exchange.exchange
        for symbol in sorted(held.tape.instruments):
            rules = held.tape.instruments[symbol]
            qty = rules.floor_qty(50 / held.account.last_price(symbol)) or rules.min_qty
            await client.post(
                "v5/order/create",
                {"category": "linear", "symbol": rules.venue_id, "side": "Buy", "orderType": "Market", "qty": str(qty)},
            )
        # what is told later is told before it is counted
        await until(lambda: held.account.next_due is None, "every order to have its executions")
        for path, query, expected in (
            ("v5/position/list", {"settleCoin": "USDT"}, 40),
            ("v5/execution/list", {"limit": 7}, len(held.store.executions("", 0, 2**62, before=2**62, limit=1_000))),
            ("v5/order/history", {"limit": 9}, 40),
            ("v5/market/instruments-info", {"limit": 11}, 40),
        ):
            rows, pages = [], 0
            async for page in client.pages(path, {"category": "linear", **query}):
                rows += page
                pages += 1
            assert (len(rows), pages > 1) == (expected, True), path
        await client.close()


def test_the_market_is_the_same_for_the_same_seed_and_different_for_another():
    def prices(seed):
        return GeneratedTape(seed, 2, START).bars(BTC, START, START + 86_400_000).close.tolist()

    assert prices(1) == prices(1)
    assert prices(1) != prices(2)


def test_the_market_does_not_depend_on_how_it_is_asked_for():
    whole = GeneratedTape(1, 2, START).bars(BTC, START, START + 86_400_000)
    tape = GeneratedTape(1, 2, START)
    later = tape.bars(BTC, START + 50_000_000, START + 86_400_000)
    assert later.close.tolist() == whole.close[-len(later) :].tolist()


def replayed(count=400) -> ReplayTape:
    rows = [(START + i * 60_000, 100.0 + i, 101.5 + i, 99.0 + i, 101.0 + i, 1.0, 100.0) for i in range(count)]
    return ReplayTape({BTC: Bars.of(rows)}, 60_000)


def place(exchange: Exchange, link: str) -> None:
    from domain.account import VenueOrder
    from domain.order import OrderKind, OrderSide

    qty = exchange.tape.instruments[BTC].floor_qty(10)
    exchange.place(VenueOrder(id="", link_id=link, symbol=BTC, side=OrderSide.BUY, kind=OrderKind.MARKET, qty=qty))


def test_killed_and_started_again_it_has_its_orders_and_goes_on_the_same(tmp_path):
    """Whether it was down in between or not, the same bars lead to the same books."""
    ends = []
    for name, restart in (("through", False), ("killed", True)):
        (tmp_path / name).mkdir()
        store = SandboxStore(tmp_path / name / "x.sqlite")
        store.put("born", "same")
        exchange = Exchange(replayed(), store, Terms(step=True))
        place(exchange, "one")
        for _ in range(5):
            exchange.advance()
        if restart:
            store.close()
            store = SandboxStore(tmp_path / name / "x.sqlite")
            exchange = Exchange(replayed(), store, Terms(step=True))
            with pytest.raises(Exception, match="duplicate"):
                place(exchange, "one")
        for _ in range(100):
            exchange.advance()
        ends.append((exchange.processed_until, exchange.account.state.wallet, exchange.account.position(BTC).qty))
        store.close()
    assert ends[0] == ends[1]


async def test_in_step_mode_the_market_waits_for_the_bot(tmp_path):
    async with practice(tmp_path, tape=replayed(), step=True) as exchange:
        before = exchange.exchange.processed_until
        await asyncio.sleep(0.1)
        assert exchange.exchange.processed_until == before
        await exchange.control("ack")
        await until(lambda: exchange.exchange.processed_until == before + 180_000, "three minutes to pass")
        place(exchange.exchange, "one")
        assert exchange.exchange.account.position(BTC).qty == 0
        await exchange.control("ack")
        await until(lambda: exchange.exchange.account.position(BTC).qty, "the order to fill")
        fills = exchange.exchange.store.executions("", 0, 2**62, before=2**62, limit=100)
        opened = exchange.exchange.tape.bars(BTC, before + 180_000, before + 240_000).open[0]
        # spread and slippage round up to the file's tick of 1; what the first level lacks comes from those behind it
        assert opened < float(fills[-1].price) <= opened + 1
        assert {fill.time for fill in fills} == {before + 180_000}
        assert sum(fill.qty for fill in fills) == exchange.exchange.account.position(BTC).qty == 10


async def test_an_unknown_fault_switch_is_refused(tmp_path):
    async with practice(tmp_path) as exchange:
        assert "error" in await exchange.faults(nonsense=True)
        assert await exchange.faults(reset=True) == {"ok": True}

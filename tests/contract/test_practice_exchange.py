"""The practice exchange speaks enough Bybit v5 for unmodified clients."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import json
from decimal import Decimal

import ccxt
import pytest
import websockets

from bootstrap.parts import sandbox_process
from domain.account import VenueOrder
from domain.candle import Bars
from domain.order import OrderKind, OrderSide
from sandbox.__main__ import _parser
from sandbox.clock import wire_ms
from sandbox.exchange import Exchange, Terms
from sandbox.faults import FaultDirector, Faults, Slices
from sandbox.store import SandboxStore
from sandbox.tape import GeneratedTape, ReplayTape
from settings import Settings
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
            # an order is answered before all of its executions have happened
            await until(lambda: exchange.exchange.account.next_due is None, "the entry to fill")
            (position,) = await ex.fetch_positions()
            assert (position["side"], position["contracts"]) == ("long", 0.01)
            assert position["stopLossPrice"] == pytest.approx(last * 0.98, rel=1e-4)
            assert len(await ex.fetch_open_orders(BTC)) == 2
            limit = await ex.create_order(BTC, "limit", "buy", 0.01, last * 0.9)
            await ex.edit_order(limit["id"], BTC, "limit", "buy", 0.02, last * 0.89)
            await ex.cancel_order(limit["id"], BTC)
            await ex.create_order(BTC, "market", "sell", 0.01, None, {"reduceOnly": True})
            await until(lambda: exchange.exchange.account.next_due is None, "the exit to fill")
            assert await ex.fetch_positions() == []
            amounts: dict[str, float] = {}
            for trade in await ex.fetch_my_trades(BTC):
                amounts[trade["order"]] = amounts.get(trade["order"], 0) + trade["amount"]
            assert list(amounts.values()) == pytest.approx([0.01, 0.01])
            closed = await ex.fetch_positions_history([BTC])
            assert sum(row["contracts"] for row in closed) == pytest.approx(0.01)
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


async def _told(exchange, topics, until_told):
    """Return the private frames of topics up to the one that ``until_told`` is true of."""
    client = exchange.client()
    frames = []
    terms = exchange.exchange.terms
    expires = wire_ms() + 10_000
    sign = hmac.new(terms.secret.encode(), f"GET/realtime{expires}".encode(), hashlib.sha256).hexdigest()
    async with websockets.connect(f"ws://127.0.0.1:{exchange.port}/v5/private", proxy=None) as socket:
        await socket.send(json.dumps({"op": "auth", "args": [terms.key, expires, sign]}))
        await socket.send(json.dumps({"op": "subscribe", "args": list(topics)}))
        for _ in range(2):
            await socket.recv()
        try:
            await client.post("v5/order/create", BUY)
            while not frames or not until_told(frames[-1]):
                frames.append(json.loads(await asyncio.wait_for(socket.recv(), 20)))
        finally:
            await client.close()
    return frames


BUY = {
    "category": "linear",
    "symbol": "BTCUSDT",
    "side": "Buy",
    "orderType": "Market",
    "qty": "0.1",
    "orderLinkId": "b",
}


def filled(frame) -> bool:
    return frame["topic"] == "order" and frame["data"][0]["orderStatus"] == "Filled"


async def test_executions_of_one_moment_come_in_one_message_and_those_apart_in_several(tmp_path):
    for apart, messages in ((0, 1), (150, 4)):
        async with practice(tmp_path / str(apart), speed=1) as exchange:
            await exchange.faults(slices={"parts": 4, "apart_ms": apart})
            frames = await _told(exchange, ("order", "execution", "position"), filled)
            executions = [frame["data"] for frame in frames if frame["topic"] == "execution"]
            assert [len(rows) for rows in executions] == [4 // messages] * messages
            assert [row["execQty"] for rows in executions for row in rows] == ["0.025"] * 4
            states = [
                (row["orderStatus"], row["cumExecQty"], row["leavesQty"])
                for frame in frames if frame["topic"] == "order" for row in frame["data"]
            ]  # fmt: skip
            between = [("PartiallyFilled", "0.025", "0.075"), ("PartiallyFilled", "0.05", "0.05"),
                       ("PartiallyFilled", "0.075", "0.025")]  # fmt: skip
            assert states == [("New", "0", "0.1"), *(between if apart else []), ("Filled", "0.1", "0")]


async def test_orders_are_accepted_and_end_afterwards_as_asked(tmp_path):
    async with practice(tmp_path, speed=1) as exchange:
        client = exchange.client()
        held = exchange.exchange
        name = {"category": "linear", "symbol": "BTCUSDT"}

        async def row(link):
            listed = await client.get("v5/order/realtime", {**name, "orderLinkId": link})
            return listed["list"][0]

        await exchange.faults(end_orders={"symbol": "ETHUSDT", "reason": "EC_Others"})
        await exchange.faults(
            end_orders={"kind": "Market", "reduce_only": True, "share": 0.5, "times": 1, "after_ms": 200}
        )
        await client.post("v5/order/create", {**BUY, "stopLoss": "1000"})
        await until(lambda: held.account.next_due is None, "the entry to fill")
        assert (await row("b"))["orderStatus"] == "Filled"
        await client.post("v5/order/create", {**BUY, "side": "Sell", "reduceOnly": True, "orderLinkId": "x"})
        assert (await row("x"))["orderStatus"] == "PartiallyFilled"
        await until(lambda: held.account.next_due is None, "the exit to end")
        ended = await row("x")
        assert (ended["orderStatus"], ended["rejectReason"], ended["cumExecQty"]) == (
            "Cancelled", "EC_NoImmediateQtyToFill", "0.05"
        )  # fmt: skip
        assert str(held.account.position(BTC).qty) == "0.050"
        # the switch was for one order, and the other is for another contract
        close = {"side": "Sell", "reduceOnly": True, "closeOnTrigger": True, "qty": "0", "orderLinkId": "y"}
        await client.post("v5/order/create", {**BUY, **close})
        await until(lambda: not held.account.position(BTC).qty, "the second exit to fill")
        assert "error" in await exchange.faults(end_orders={"share": 2})
        assert "error" in await exchange.faults(end_orders={"status": "Sold"})
        await client.close()


async def test_each_list_is_late_by_its_own_delay(tmp_path):
    """By turns: what one list does not show yet the others do."""
    paths = {
        "/v5/order/history": {"orderLinkId": "b"}, "/v5/execution/list": {}, "/v5/position/list": {},
        "/v5/position/closed-pnl": {}, "/v5/order/realtime": {"orderLinkId": "rests"},
    }  # fmt: skip
    for late in paths:
        async with practice(tmp_path / late.replace("/", "_"), speed=1, wallet=Decimal(10**6)) as exchange:
            client = exchange.client()
            clock = [1_000_000]
            exchange.exchange.delays._now = lambda clock=clock: clock[0]
            assert await exchange.faults(delay_lists={late: 5_000}) == {"ok": True}

            async def seen(client=client):
                found = {}
                for path, query in paths.items():
                    answer = await client.get(path[1:], {"category": "linear", "symbol": "BTCUSDT", **query})
                    found[path] = sum(row.get("size") != "0" for row in answer["list"])
                return found

            last = exchange.exchange.account.last_price(BTC)
            resting = {"orderType": "Limit", "price": str(int(last * 9 / 10)), "orderLinkId": "rests"}
            assert set((await seen()).values()) == {0}
            await client.post("v5/order/create", BUY)
            await client.post("v5/order/create", {**BUY, "side": "Sell", "qty": "0.04", "orderLinkId": "c"})
            await client.post("v5/order/create", {**BUY, **resting})
            await until(lambda exchange=exchange: exchange.exchange.account.next_due is None, "all to fill")
            early = await seen()
            assert [path for path, count in early.items() if not count] == [late]
            clock[0] += 5_001
            assert all((await seen()).values())
            await client.close()
    async with practice(tmp_path / "unknown") as exchange:
        assert "error" in await exchange.faults(delay_lists={"/v5/nothing": 5})
        assert "error" in await exchange.faults(delay_lists={"/v5/order/history": 10**9})


async def test_a_position_and_an_order_that_have_gone_are_there_for_as_long_as_their_lists_are_late(tmp_path):
    async with practice(tmp_path, speed=1, wallet=Decimal(10**6)) as exchange:
        client, held, clock = exchange.client(), exchange.exchange, [1_000_000]
        held.delays._now = lambda: clock[0]
        name = {"category": "linear", "symbol": "BTCUSDT"}
        last = held.account.last_price(BTC)
        await client.post("v5/order/create", BUY)
        await client.post(
            "v5/order/create", {**BUY, "orderType": "Limit", "price": str(int(last * 9 / 10)), "orderLinkId": "rests"}
        )
        await until(lambda: held.account.next_due is None, "the entry to fill")
        await exchange.faults(delay_lists={"/v5/position/list": 2_000, "/v5/order/realtime": 3_000})
        await client.post("v5/order/cancel", {**name, "orderLinkId": "rests"})
        await client.post("v5/order/create", {**BUY, "side": "Sell", "reduceOnly": True, "orderLinkId": "x"})
        await until(lambda: not held.account.position(BTC).qty, "the exit to fill")

        async def shown():
            positions = await client.get("v5/position/list", {"category": "linear", "settleCoin": "USDT"})
            orders = await client.get("v5/order/realtime", name)
            return [row["size"] for row in positions["list"]], [row["orderLinkId"] for row in orders["list"]]

        assert await shown() == (["0.1"], ["rests"])
        clock[0] += 2_001
        assert await shown() == ([], ["rests"])
        clock[0] += 1_000
        assert await shown() == ([], [])
        await client.close()


async def test_a_late_topic_comes_after_the_others(tmp_path):
    async with practice(tmp_path, speed=1) as exchange:
        await exchange.faults(delay_lists={"execution": 300}, slices={"parts": 1})
        frames = await _told(exchange, ("order", "execution"), lambda frame: frame["topic"] == "execution")
        assert [frame["topic"] for frame in frames] == ["order", "order", "execution"]


def test_the_published_book_is_what_orders_meet(tmp_path):
    store = SandboxStore(tmp_path / "x.sqlite")
    exchange = Exchange(GeneratedTape(3, 2, START), store, Terms(step=False, speed=0.001, wallet=Decimal(10**9)))
    bids, asks = exchange.order_book(BTC, 5)
    assert bids[0].price < exchange.account.last_price(BTC) < asks[0].price
    qty = asks[0].qty + asks[1].qty + exchange.tape.instruments[BTC].step
    exchange.place(VenueOrder(id="", link_id="a", symbol=BTC, side=OrderSide.BUY, kind=OrderKind.MARKET, qty=qty))
    exchange.keep(exchange.account.on_time(2**62))
    got = {}
    for one in exchange.store.executions("", 0, 2**62, before=2**62, limit=100):
        got[one.price] = got.get(one.price, 0) + one.qty
    assert sorted(got.items()) == [tuple(asks[0]), tuple(asks[1]), (asks[2].price, exchange.tape.instruments[BTC].step)]
    store.close()


@pytest.mark.parametrize("restart", [False, True])
def test_the_same_tape_and_orders_give_the_same_executions(tmp_path, restart):
    runs = []
    for name in ("one", "two"):
        store = SandboxStore(tmp_path / name)
        exchange = Exchange(GeneratedTape(3, 2, START), store, Terms(step=True, wallet=Decimal(10**8)))
        for number in range(12):
            last = exchange.account.last_price(BTC)
            side = OrderSide.BUY if number % 3 else OrderSide.SELL
            exchange.place(
                VenueOrder(
                    id="", link_id=f"o{number}", symbol=BTC, side=side, qty=Decimal(number + 1) / 2,
                    kind=OrderKind.LIMIT if number % 2 else OrderKind.MARKET, price=last if number % 2 else None,
                )
            )  # fmt: skip
            exchange.advance()
            if restart and name == "two":
                exchange = Exchange(GeneratedTape(3, 2, START), store, Terms(step=True))
        rows = store.executions("", 0, 2**62, before=2**62, limit=1_000)
        # two exchanges differ in their ids and in nothing else
        runs.append([(row.time, row.link_id, row.side, row.qty, row.price, row.fee, row.maker) for row in rows])
        store.close()
    assert runs[0] == runs[1]
    assert len(runs[0]) > 30


async def test_without_slices_orders_fill_whole_however_large(tmp_path):
    async with practice(tmp_path, slices=False, wallet=Decimal(10**9)) as exchange:
        client = exchange.client()
        await client.post("v5/order/create", {**BUY, "qty": "900"})
        assert len(exchange.exchange.store.executions("", 0, 2**62, before=2**62, limit=100)) == 1
        await client.close()


@pytest.mark.parametrize("slices", [True, False])
def test_the_setting_reaches_the_exchange(slices):
    settings = Settings(sandbox={"slices": slices})
    asked = _parser().parse_args(sandbox_process(settings)._arguments)
    assert asked.slices is slices


def test_a_symbol_that_does_not_trade_fills_what_is_due_all_the_same(tmp_path):
    class Silent(GeneratedTape):
        def bars(self, symbol, start, end):
            return Bars.empty() if end - start == 60_000 else super().bars(symbol, start, end)

    store = SandboxStore(tmp_path / "x.sqlite")
    exchange = Exchange(Silent(3, 2, START), store, Terms(step=True, wallet=Decimal(10**7)))
    exchange.account.director = FaultDirector(Faults(slices=Slices(2, 1_000)), exchange.venue_id, exchange.market_ms)
    qty = Decimal("0.2")
    order = VenueOrder(id="", link_id="a", symbol=BTC, side=OrderSide.BUY, kind=OrderKind.MARKET, qty=qty)
    exchange.keep(exchange.account.place(order, exchange.now(), at_once=True))
    assert exchange.account.position(BTC).qty == Decimal("0.1")
    exchange.advance()
    assert exchange.account.position(BTC).qty == qty
    store.close()

"""What the practice exchange does to positions beyond matching, as clients see it on the wire."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import itertools
import json
import time
from decimal import Decimal as D

import ccxt
import pytest
import websockets

from domain.account import AccountState
from domain.candle import Bars
from domain.errors import Rejected
from sandbox.clock import wire_ms
from sandbox.exchange import Exchange, Terms
from sandbox.store import SandboxStore
from sandbox.tape import GeneratedTape, ReplayTape
from tests.practice import START, practice, until

BTC = "BTC/USDT:USDT"
LINEAR = {"category": "linear"}


def falling(count=400, begins=0, drop=0.7) -> ReplayTape:
    """A market that stands at 100, and falls a little every minute from its ``begins``-th bar on, half of the way in."""
    rows, price = [], 100.0
    for i in range(count):
        nxt = price - drop if i >= count // 2 + begins else price
        rows.append((START + i * 60_000, price, price, nxt, round(nxt, 2), 1e6, 1e8))
        price = round(max(nxt, 5), 2)
    return ReplayTape({BTC: Bars.of(rows)}, 60_000)


@contextlib.asynccontextmanager
async def venue(tmp_path, *, leverage=10, mode="ISOLATED_MARGIN", **options):
    """A practice exchange, a client of it, and a function that asks it for rows."""
    async with practice(tmp_path, step=True, tape=options.pop("tape", None) or falling(), **options) as exchange:
        exchange.exchange.account.set_margin_mode(mode)
        client = exchange.client()

        async def rows(path, **more):
            return (await client.get(path, {**LINEAR, **more}))["list"]

        try:
            await client.post(
                "v5/position/set-leverage",
                {**LINEAR, "symbol": "BTCUSDT", "buyLeverage": str(leverage), "sellLeverage": str(leverage)},
            )
            yield exchange, client, rows
        finally:
            await client.close()


async def buy(exchange, client, qty="100", side="Buy", **more):
    await client.post(
        "v5/order/create", {**LINEAR, "symbol": "BTCUSDT", "side": side, "orderType": "Market", "qty": qty, **more}
    )
    exchange.exchange.advance()


async def test_a_position_is_liquidated_at_its_liquidation_price(tmp_path):
    async with venue(tmp_path) as (exchange, client, rows):
        await buy(exchange, client)
        (held,) = await rows("v5/position/list", symbol="BTCUSDT")
        entry, liquidation = D(held["avgPrice"]), D(held["liqPrice"])
        assert liquidation == pytest.approx(entry * D("0.9") / D("0.99"), abs=1)
        assert (held["positionStatus"], held["positionIM"]) == (
            "Normal",
            str(D(held["size"]) * D(held["markPrice"]) / 10),
        )
        assert D(held["positionMM"]) == D(held["size"]) * D(held["markPrice"]) / 100
        before = D((await rows("v5/account/wallet-balance", accountType="UNIFIED"))[0]["totalWalletBalance"])
        while exchange.exchange.account.position(BTC).qty:
            exchange.exchange.advance()
        executions = await rows("v5/execution/list", symbol="BTCUSDT")
        bust = executions[0]
        assert (bust["execType"], bust["createType"]) == ("BustTrade", "CreateByTakeOver_PassThrough")
        assert D(bust["execPrice"]) == pytest.approx(entry * D("0.9"), abs=1)
        (closed,) = await rows("v5/position/closed-pnl", symbol="BTCUSDT")
        assert closed["execType"] == "BustTrade"
        after = D((await rows("v5/account/wallet-balance", accountType="UNIFIED"))[0]["totalWalletBalance"])
        assert before - after == pytest.approx(D(held["size"]) * (entry - D(bust["execPrice"])), abs=10)
        orders = await rows("v5/order/history", symbol="BTCUSDT")
        assert orders[0]["createType"] == "CreateByTakeOver_PassThrough"


async def test_unmodified_ccxt_reads_liquidation_prices_and_tiers(tmp_path):
    async with venue(tmp_path) as (exchange, client, _):
        await buy(exchange, client)
        ex = client.exchange
        await ex.load_markets()
        (held,) = await ex.fetch_positions([BTC])
        assert held["liquidationPrice"] == pytest.approx(91, abs=1)
        tiers = (await ex.fetch_leverage_tiers([BTC]))[BTC]
        assert [tier["tier"] for tier in tiers] == list(range(1, 9))
        assert tiers[0]["maintenanceMarginRate"] == 0.01
        assert tiers[0]["maxLeverage"] == 50


async def test_a_liquidation_is_told_on_the_private_stream_in_its_order(tmp_path):
    """Position in liquidation, execution, order, position normal again: as events of one moment."""
    async with practice(tmp_path, tape=falling(), speed=3_000) as exchange:
        account, terms = exchange.exchange.account, exchange.exchange.terms
        account.set_margin_mode("ISOLATED_MARGIN")
        account.set_leverage(BTC, D(10), 1)
        async with websockets.connect(f"ws://127.0.0.1:{exchange.port}/v5/private", proxy=None) as socket:
            expires = str(wire_ms() + 10_000)
            sign = hmac.new(terms.secret.encode(), f"GET/realtime{expires}".encode(), hashlib.sha256).hexdigest()
            await socket.send(json.dumps({"op": "auth", "args": [terms.key, expires, sign]}))
            await socket.send(json.dumps({"op": "subscribe", "args": ["order", "execution", "position"]}))
            client = exchange.client()
            try:
                order = {**LINEAR, "symbol": "BTCUSDT", "side": "Buy", "orderType": "Market", "qty": "100"}
                await client.post("v5/order/create", order)
            finally:
                await client.close()
            told = list[tuple[str, str]]()
            async with asyncio.timeout(30):
                while ("position", "0") not in told:
                    frame = json.loads(await socket.recv())
                    row = frame.get("data", [{}])[0]
                    if frame.get("topic") == "execution":
                        told.append((row["execType"], row["createType"]))
                    elif frame.get("topic") == "order":
                        told.append((row["orderStatus"], row["createType"]))
                    elif frame.get("topic") == "position":
                        told.append((row["positionStatus"], row["side"]))
                        if row["size"] == "0":
                            told.append(("position", "0"))
    begins = told.index(("Liq", "Buy"))
    taken_over = "CreateByTakeOver_PassThrough"
    assert told[begins + 1 : begins + 3] == [("BustTrade", taken_over), ("Filled", taken_over)]


async def test_risk_limit_lists_the_tiers_of_a_contract(tmp_path):
    async with practice(tmp_path, symbols=30) as exchange:
        client = exchange.client()
        try:
            tiers = (await client.get("v5/market/risk-limit", {**LINEAR, "symbol": "BTCUSDT"}))["list"]
            least = (await client.get("v5/market/risk-limit", {**LINEAR, "symbol": "BSVUSDT"}))["list"]
        finally:
            await client.close()
        assert tiers[0] == {
            "id": 1, "symbol": "BTCUSDT", "riskLimitValue": "2000000", "maintenanceMargin": "0.005",
            "initialMargin": "0.01", "isLowestRisk": 1, "maxLeverage": "100.00", "mmDeduction": "",
        }  # fmt: skip
        assert (tiers[1]["maxLeverage"], tiers[1]["mmDeduction"], tiers[1]["isLowestRisk"]) == ("57.14", "10000", 0)
        assert (least[0]["maxLeverage"], least[0]["maintenanceMargin"]) == ("25.00", "0.02")
        limits = [D(row["riskLimitValue"]) for row in tiers]
        assert limits == sorted(limits)


async def test_the_mark_price_is_its_own(tmp_path):
    async with practice(tmp_path, speed=2_000) as exchange:
        client = exchange.client()
        try:

            async def differs():
                rows = (await client.get("v5/market/tickers", LINEAR))["list"]
                return any(row["markPrice"] != row["lastPrice"] for row in rows)

            async with asyncio.timeout(20):
                while not await differs():
                    await asyncio.sleep(0.01)
            query = {**LINEAR, "symbol": "BTCUSDT", "interval": "15", "limit": 50}
            marked = (await client.get("v5/market/mark-price-kline", query))["list"]
            traded = (await client.get("v5/market/kline", query))["list"]
        finally:
            await client.close()
    assert [len(row) for row in marked] == [5] * 50
    closes = {row[0]: row[4] for row in traded}
    common = [(D(row[4]), D(closes[row[0]])) for row in marked if row[0] in closes]
    assert any(mark != last for mark, last in common)
    assert all(abs(mark / last - 1) < D("0.02") for mark, last in common)


async def test_an_announced_delivery_is_seen_and_comes(tmp_path):
    async with venue(tmp_path, mode="REGULAR_MARGIN") as (exchange, client, rows):
        await buy(exchange, client)
        due = exchange.exchange.processed_until + 300_000
        assert await exchange.faults(announce_delivery={"BTCUSDT": due}) == {"ok": True}
        assert (await rows("v5/market/instruments-info"))[0]["deliveryTime"] == str(due)
        assert (await rows("v5/market/tickers", symbol="BTCUSDT"))[0]["deliveryTime"] == str(due)
        while exchange.exchange.processed_until < due:
            exchange.exchange.advance()
        assert await rows("v5/market/instruments-info") == []
        delivery = (await rows("v5/execution/list"))[0]
        assert (delivery["execType"], delivery["createType"]) == ("Delivery", "CreateBySettle")
        assert delivery["orderId"] not in {row["orderId"] for row in await rows("v5/order/history")}
        assert (await rows("v5/position/list", settleCoin="USDT")) == []


async def test_a_subscribed_contract_that_is_delivered_breaks_no_stream(tmp_path):
    async with practice(tmp_path, speed=2_000) as exchange, websockets.connect(exchange.stream, proxy=None) as socket:
        topics = ["kline.1.BTCUSDT", "tickers.BTCUSDT", "kline.1.ETHUSDT"]
        await socket.send(json.dumps({"op": "subscribe", "args": topics}))
        await exchange.faults(announce_delivery={"BTCUSDT": exchange.exchange.processed_until + 120_000})
        await until(lambda: "BTCUSDT" not in exchange.exchange.by_venue_id, "the delivery")
        start = exchange.exchange.processed_until
        async with asyncio.timeout(20):
            while True:
                frame = json.loads(await socket.recv())
                if frame.get("topic") == "kline.1.ETHUSDT" and frame["data"][0]["start"] > start:
                    break
        assert "BTCUSDT" not in exchange.exchange.by_venue_id


async def test_splits_transfers_and_deleveraging_are_executions_of_their_kind(tmp_path):
    async with venue(tmp_path, mode="REGULAR_MARGIN") as (exchange, client, rows):
        await buy(exchange, client, "10", stopLoss="50")
        assert await exchange.faults(split={"BTCUSDT": "10"}) == {"ok": True}
        (held,) = await rows("v5/position/list", symbol="BTCUSDT")
        assert (held["size"], D(held["avgPrice"]) < 11, held["stopLoss"]) == ("100", True, "0")
        exchange.exchange.advance()
        assert 9 < exchange.exchange.account.last_price(BTC) < 11
        await exchange.faults(move_position=[{"symbol": "BTCUSDT", "side": "Sell", "qty": "20"}])
        await exchange.faults(block_trade=[{"symbol": "BTCUSDT", "side": "Buy", "qty": "5", "price": "10"}])
        await exchange.faults(by_hand=[{"symbol": "BTCUSDT", "side": "Sell", "qty": "5"}])
        await exchange.faults(by_hand=[{"symbol": "BTCUSDT", "side": "Sell", "qty": "130"}])
        for _ in range(200):
            exchange.exchange.advance()
        assert await exchange.faults(adl={"BTCUSDT": "0.5"}) == {"ok": True}
        told = [(row["execType"], row["createType"]) for row in reversed(await rows("v5/execution/list"))]
        # the entry may have come in slices
        assert [kind for kind, _ in itertools.groupby(told) if kind[0] != "Funding"] == [
            ("Trade", "CreateByUser"), ("CorporateAction", ""),
            ("MovePosition", "CreateByBlockTradeMovePosition_PassThrough"), ("BlockTrade", "CreateByBlock_PassThrough"),
            ("Trade", "CreateByClosing"), ("AdlTrade", "CreateByAdl_PassThrough"),
        ]  # fmt: skip
        assert {row["execType"] for row in await rows("v5/position/closed-pnl")} == {
            "CorporateAction", "MovePosition", "Trade",
        }  # fmt: skip


async def test_legs_of_hedge_mode_are_rows_of_their_own(tmp_path):
    async with venue(tmp_path, mode="REGULAR_MARGIN") as (exchange, client, rows):
        await exchange.faults(hedge={"BTCUSDT": {"long": "3", "short": "1"}})
        for query in ({"symbol": "BTCUSDT"}, {"settleCoin": "USDT"}):
            legs = await rows("v5/position/list", **query)
            assert [(one["positionIdx"], one["side"], one["size"]) for one in legs] == [
                (1, "Buy", "3"),
                (2, "Sell", "1"),
            ]
        order = {**LINEAR, "symbol": "BTCUSDT", "side": "Buy", "orderType": "Market", "qty": "1"}
        with pytest.raises(Rejected, match="position idx not match position mode") as refused:
            await client.post("v5/order/create", {**order, "positionIdx": 0})
        assert refused.value.code == 10001
        with pytest.raises(Rejected, match="position idx not match position mode"):
            await client.post("v5/position/trading-stop", {**LINEAR, "symbol": "BTCUSDT", "stopLoss": "50"})
        await client.post("v5/order/create", {**order, "positionIdx": 2, "reduceOnly": True})
        await client.post(
            "v5/position/trading-stop", {**LINEAR, "symbol": "BTCUSDT", "stopLoss": "50", "positionIdx": 1}
        )
        legs = await rows("v5/position/list", symbol="BTCUSDT")
        assert [(one["size"], one["stopLoss"]) for one in legs] == [("3", "50"), ("0", "0")]


async def test_marked_contracts_say_so_and_want_an_agreement(tmp_path):
    async with venue(tmp_path, marked=("BTCUSDT=stock",)) as (exchange, client, rows):
        assert (await rows("v5/market/instruments-info"))[0]["symbolType"] == "stock"
        order = {**LINEAR, "symbol": "BTCUSDT", "side": "Buy", "orderType": "Market", "qty": "1"}
        with pytest.raises(Rejected, match="Trading Terms before trading this contract") as refused:
            await client.post("v5/order/create", order)
        assert refused.value.code == 110125
        await exchange.faults(agree=True)
        await client.post("v5/order/create", order)
        await exchange.faults(mark={"BTCUSDT": "pre_listing"})
        (row,) = await rows("v5/market/instruments-info")
        assert (row["symbolType"], row["isPreListing"]) == ("", True)
        assert row["preListingInfo"]["curAuctionPhase"] == "ContinuousTrading"


@pytest.mark.parametrize(
    "wrong",
    [
        {"split": {"BTCUSDT": "0"}}, {"split": {"NOPEUSDT": "2"}}, {"split": {"BTCUSDT": "many"}}, {"adl": {"BTCUSDT": "1"}},
        {"hedge": {"BTCUSDT": {"long": "-1"}}}, {"hedge": {"BTCUSDT": {"up": "1"}}}, {"mark": {"BTCUSDT": "bond"}},
        {"move_position": [{"symbol": "BTCUSDT", "side": "Up", "qty": "1"}]}, {"announce_delivery": {"NOPEUSDT": 1}},
        {"by_hand": [{"symbol": "BTCUSDT", "side": "Buy", "qty": "NaN"}]}, {"quiet": ["NOPEUSDT"]}, {"quiet": 1},
        {"split": {"BTCUSDT": "NaN"}}, {"adl": {"BTCUSDT": "Infinity"}}, {"hedge": {"BTCUSDT": {"long": "NaN"}}},
    ],
)  # fmt: skip
async def test_what_cannot_happen_is_refused(tmp_path, wrong):
    async with practice(tmp_path, step=True) as exchange:
        assert "error" in await exchange.faults(**wrong)
        assert exchange.exchange.account.state.positions.keys() <= {BTC}
        assert exchange.exchange.account.open_positions() == []


async def test_a_quiet_market_sends_no_klines_and_lists_flat_bars(tmp_path):
    async with (
        practice(tmp_path, speed=1_000) as exchange,
        # frames pile up while something else is asked: the end is not waited for
        websockets.connect(exchange.stream, proxy=None, close_timeout=0.1) as socket,
    ):
        topics = ["kline.1.BTCUSDT", "kline.3.BTCUSDT", "publicTrade.BTCUSDT", "kline.1.ETHUSDT"]
        await socket.send(json.dumps({"op": "subscribe", "args": topics}))
        await exchange.faults(quiet=["BTCUSDT"])
        begins = exchange.exchange.processed_until
        heard, confirmed, minutes = set(), [], 0
        async with asyncio.timeout(30):
            while minutes < 20:
                frame = json.loads(await socket.recv())
                if "data" in frame and frame["topic"] == "kline.1.ETHUSDT":
                    minutes += 1
                elif "data" in frame and frame["data"][0].get("start", frame["data"][0].get("T", 0)) >= begins:
                    heard.add(frame["topic"])
                elif "data" in frame and frame["topic"] == "kline.3.BTCUSDT":
                    confirmed += [item for item in frame["data"] if item["confirm"]]
        assert heard <= {"kline.3.BTCUSDT"}
        client = exchange.client()
        try:
            query = {**LINEAR, "symbol": "BTCUSDT", "interval": "1", "limit": 10}
            bars = (await client.get("v5/market/kline", query))["list"]
            assert {(row[5], row[6]) for row in bars} == {("0", "0")}
            assert len({price for row in bars for price in row[1:5]}) == 1
            await exchange.faults(quiet=[])
        finally:
            await client.close()
        async with asyncio.timeout(30):
            while True:
                frame = json.loads(await socket.recv())
                if frame.get("topic") == "kline.1.BTCUSDT":
                    break
        assert any(item["volume"] != "0" for item in frame["data"])


async def test_market_time_can_be_now(tmp_path):
    """Newest klines are the minutes before now, with days of history before them; the clock agrees with them."""
    tape = GeneratedTape(3, 4, wire_ms() - 13 * 86_400_000)
    async with practice(tmp_path, tape=tape, speed=1.0, now=True) as exchange:
        client = exchange.client()
        try:
            ex = client.exchange
            server = await ex.fetch_time()
            assert abs(server - time.time_ns() // 1_000_000) < 60_000
            candles = await ex.fetch_ohlcv(BTC, "1m", limit=1_000)
            assert 0 <= server - candles[-1][0] < 120_000
            assert len(candles) == 1_000
            daily = await ex.fetch_ohlcv(BTC, "1d", limit=10)
            assert len(daily) == 10
            last = (await ex.fetch_ticker(BTC))["last"]
            await ex.create_order(BTC, "market", "buy", 0.01, None, {"stopLoss": {"triggerPrice": last * 0.9}})
            trades = await ex.fetch_my_trades(BTC)
            assert trades
            assert all(abs(trade["timestamp"] - server) < 120_000 for trade in trades)
        except ccxt.BaseError as error:
            pytest.fail(f"an unmodified client refused: {error!r}")
        finally:
            await client.close()


def test_a_restart_finds_positions_marks_and_legs_as_they_were(tmp_path):
    store = SandboxStore(tmp_path / "x.sqlite")
    exchange = Exchange(GeneratedTape(3, 4, START), store, Terms(step=True))
    exchange.account.set_margin_mode("ISOLATED_MARGIN")
    exchange.tape.announce(BTC, START + 10**12)
    exchange.refresh("BTCUSDT")
    exchange.keep(exchange.account.set_legs("ETH/USDT:USDT", D(2), D(1), 1))
    store.close()
    store = SandboxStore(tmp_path / "x.sqlite")
    again = Exchange(GeneratedTape(3, 4, START), store, Terms(step=True))
    assert again.account.state.isolated
    assert again.by_venue_id["BTCUSDT"].delivery_time == START + 10**12
    assert [one.qty for one in again.account.open_positions()] == [2, -1]
    store.close()


@pytest.mark.parametrize(("mode", "isolated"), [("ISOLATED_MARGIN", True), ("REGULAR_MARGIN", False)])
def test_a_file_of_an_earlier_version_keeps_its_margin_mode(tmp_path, mode, isolated):
    store = SandboxStore(tmp_path / "x.sqlite")
    store.commit(AccountState(wallet=D(1)), [], 0)
    account = json.loads(store.get("account"))
    del account["isolated"]
    store.put("account", json.dumps({**account, "margin_mode": mode}))
    assert store.load_state().isolated is isolated
    store.close()

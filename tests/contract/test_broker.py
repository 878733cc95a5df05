"""Both brokers keep the same promises: Bybit's on the practice exchange, and paper."""

from __future__ import annotations

import asyncio
import dataclasses
import gzip
import json
from decimal import Decimal as D
from pathlib import Path

import msgspec
import pytest

from broker.bybit import BybitBroker
from broker.bybit.preflight import against_modes, arm, key_checks
from broker.bybit.rest import BybitClient, Endpoint
from broker.paper import PaperBroker
from domain.candle import Bar, Bars
from domain.direction import Slicing
from domain.errors import ConfigError, Objection, OutcomeUnknown, Rejected, Unavailable
from domain.fills import Costs
from domain.ids import order_id
from domain.order import Cause, OrderKind, OrderRequest, OrderSide, OrderState
from domain.records import Fill
from persistence.files import AtomicFile
from tests.practice import START, practice

BTC = "BTC/USDT:USDT"
DIGEST = "ABCDEFGHIJKLMNOPQRSTUVWX"


async def paper_on(bybit: BybitBroker, folder) -> PaperBroker:
    """A paper account with the exchange's rules, kept in a file of the folder."""
    rules = await bybit.instruments()
    return PaperBroker(
        AtomicFile(folder / "paper.json"), "paper:test", D(10_000), Costs(), "3m", bybit.instruments, rules
    )  # fmt: skip


class Parts:
    """Has every order fall into so many executions."""

    def __init__(self, parts: int) -> None:
        self.parts = parts

    def fate(self, _):
        return None

    def slicing(self, _):
        return Slicing(self.parts)


@pytest.fixture(params=["bybit whole", "bybit in slices", "paper whole", "paper in slices"])
async def venue(request, tmp_path):
    """(broker, price, is paper)"""
    name, _, how = request.param.partition(" ")
    parts = 3 if how == "in slices" else 1
    async with practice(tmp_path / "exchange", speed=0.001) as exchange:
        client = exchange.client()
        client.practice = exchange
        bybit = BybitBroker(client)
        rules = await bybit.instruments()
        price = exchange.exchange.account.last_price(BTC)
        broker = bybit
        await exchange.faults(slices={"parts": parts})
        if name == "paper":
            broker = await paper_on(bybit, tmp_path)
            assert await broker.instruments() == rules
            broker.on_price(BTC, float(price), 1_000)
            broker._account.director = Parts(parts)
        yield broker, price, name == "paper"
        await client.close()


def entry(mark: D, attempt: int = 0, **more) -> OrderRequest:
    tick = D("0.1")
    stop, target = (mark * D("0.98")).quantize(tick), (mark * D("1.02")).quantize(tick)
    values = {"kind": OrderKind.MARKET, "qty": D("0.01"), "stop": stop, "target": target, **more}
    return OrderRequest(order_id(DIGEST, "e", attempt, paper=False), BTC, OrderSide.BUY, **values)


async def test_a_market_entry_is_filled_and_protected(venue):
    broker, price, paper = venue
    await broker.set_leverage(BTC, D(5))
    await broker.set_leverage(BTC, D(5))
    request = entry(price)
    await broker.place(request)

    (position,) = await broker.positions()
    assert (position.qty, position.stop, position.target, position.leverage) == (
        D("0.01"),
        request.stop,
        request.target,
        D(5),
    )
    fills = await broker.fills_since(0 if paper else START, START + 30 * 86_400_000)
    assert len(fills) in {1, 3}
    assert sum(fill.qty for fill in fills) == D("0.01")
    for fill in fills:
        assert (fill.order_id, fill.cause, fill.side) == (request.order_id, Cause.ENTRY, OrderSide.BUY)
        assert fill.fee == fill.qty * fill.price * D("0.00055")
    assert (await broker.order(BTC, request.order_id)).state is OrderState.FILLED
    balance = await broker.balance()
    assert balance.wallet == 10_000 - sum(fill.fee for fill in fills)


async def test_a_stop_moves_and_moving_it_again_is_no_error(venue):
    broker, price, _ = venue
    await broker.place(entry(price))
    new = (price * D("0.99")).quantize(D("0.1"))
    await broker.set_stop(BTC, new, None)
    await broker.set_stop(BTC, new, None)
    (position,) = await broker.positions()
    assert position.stop == new
    assert position.target == entry(price).target
    with pytest.raises(Rejected):
        await broker.set_stop(BTC, (price * D("1.5")).quantize(D("0.1")), None)


async def test_a_limit_order_rests_is_found_and_cancelled_twice_without_error(venue):
    broker, price, _ = venue
    request = entry(price, kind=OrderKind.LIMIT, price=(price * D("0.95")).quantize(D("0.1")), stop=None, target=None)
    await broker.place(request)
    assert (await broker.order(BTC, request.order_id)).state is OrderState.WORKING
    await broker.cancel(BTC, request.order_id)
    await broker.cancel(BTC, request.order_id)
    assert (await broker.order(BTC, request.order_id)).state is OrderState.CANCELLED
    assert (await broker.order(BTC, order_id(DIGEST, "e", 9, paper=False))).state is OrderState.NOT_FOUND


async def test_the_same_order_id_never_buys_twice(venue):
    broker, price, _ = venue
    await broker.place(entry(price))
    try:
        await broker.place(entry(price))
    except OutcomeUnknown:
        assert (await broker.order(BTC, entry(price).order_id)).state is OrderState.FILLED
    (position,) = await broker.positions()
    assert position.qty == D("0.01")


async def test_a_close_only_reduces_and_leaves_nothing(venue):
    broker, price, _ = venue
    await broker.place(entry(price))
    out = OrderRequest(
        order_id(DIGEST, "x", 0, paper=False), BTC, OrderSide.SELL, OrderKind.MARKET, D("0.01"), reduce_only=True
    )
    await broker.place(out)
    assert await broker.positions() == []
    with pytest.raises(Rejected):
        await broker.place(
            OrderRequest(
                order_id(DIGEST, "x", 1, paper=False),
                BTC,
                OrderSide.SELL,
                OrderKind.MARKET,
                D("0.01"),
                reduce_only=True,
            )
        )


async def test_flat_is_said_in_so_many_words_and_what_was_closed_is_told(venue):
    broker, price, paper = venue
    other = "ETH/USDT:USDT"
    assert await broker.flat(BTC)
    await broker.place(entry(price))
    assert not await broker.flat(BTC)
    assert await broker.flat(other)
    name = order_id(DIGEST, "x", 0, paper=False)
    await broker.place(OrderRequest(name, BTC, OrderSide.SELL, OrderKind.MARKET, D("0.01"), reduce_only=True))
    assert await broker.flat(BTC)
    since, until_ = (0 if paper else START), START + 30 * 86_400_000
    fills = await broker.fills_since(since, until_, BTC)
    sold = [fill for fill in fills if fill.side is OrderSide.SELL]
    assert sum(fill.qty for fill in sold) == sum(fill.qty for fill in fills if fill.side is OrderSide.BUY) == D("0.01")
    assert await broker.fills_since(since, until_, other) == []
    parts = await broker.closed_since(since, until_, BTC)
    assert len(parts) == (0 if paper else 1)
    for part in parts:
        assert (part.side, part.qty, part.venue_order_id) == (OrderSide.SELL, D("0.01"), sold[0].venue_order_id)
        assert (part.exit_price, part.fee) == (sold[0].price, sum(fill.fee for fill in sold))


@pytest.mark.parametrize("known", [True, False], ids=["since before", "since after"])
async def test_what_was_settled_in_a_contract_that_is_no_longer_listed_is_still_told(tmp_path, known):
    async with practice(tmp_path / "exchange", speed=0.001) as exchange:
        client = exchange.client()
        broker, span = BybitBroker(client), (START, START + 30 * 86_400_000)
        # how many executions there are is not what this is about
        await exchange.faults(slices={"parts": 1})
        await broker.instruments()
        await broker.place(entry(exchange.exchange.account.last_price(BTC)))
        (opening,) = await broker.fills_since(*span)
        await exchange.faults(delist=["BTCUSDT"])
        if not known:
            broker = BybitBroker(client)
            assert BTC not in await broker.instruments()
        # asked before anything has said that the contract is gone
        at_once = await broker.fills_since(*span, BTC)
        assert await broker.positions() == []
        assert await broker.flat(BTC)
        fills = await broker.fills_since(*span, BTC)
        assert fills == at_once
        assert [(fill.symbol, fill.side, fill.qty, fill.closed_qty) for fill in fills] == [
            (BTC, OrderSide.BUY, opening.qty, D(0)), (BTC, OrderSide.SELL, opening.qty, opening.qty),
        ]  # fmt: skip
        assert fills == await broker.fills_since(*span)
        (part,) = await broker.closed_since(*span, BTC)
        assert (part.symbol, part.qty) == (BTC, opening.qty)
        with pytest.raises(Rejected):
            await broker.place(entry(D(60_000), 1))
        with pytest.raises(Rejected):
            await broker.order(BTC, "L1-none")
        await client.close()


async def test_what_cannot_be_is_rejected(venue):
    broker, price, _ = venue
    for change in ({"qty": D("0.0001")}, {"qty": D(900)}):
        with pytest.raises(Rejected):
            await broker.place(entry(price, **change))


async def test_a_refusal_says_what_it_objects_to(venue):
    broker, price, _ = venue
    far = (price * D("0.5")).quantize(D("0.1"))
    with pytest.raises(Rejected) as refused:
        await broker.set_stop(BTC, far, None)
    assert refused.value.objection is Objection.ABSENT
    await broker.set_leverage(BTC, D(5))
    await broker.place(entry(price))
    for stop, kind in (
        (far + D("0.05"), Objection.RULES),
        ((price * D("1.5")).quantize(D("0.1")), Objection.CROSSED),
    ):
        with pytest.raises(Rejected) as refused:
            await broker.set_stop(BTC, stop, None)
        assert refused.value.objection is kind
    for qty, kind in (("0.0001", Objection.RULES), ("80", Objection.FUNDS)):
        with pytest.raises(Rejected) as refused:
            await broker.place(entry(price, 1, qty=D(qty)))
        assert refused.value.objection is kind, qty


async def test_positions_and_resting_orders_tie_up_what_is_available(venue):
    broker, price, _ = venue
    await broker.set_leverage(BTC, D(5))
    before = (await broker.balance()).available
    assert before == D(10_000)
    low = (price * D("0.9")).quantize(D("0.1"))
    await broker.place(entry(price, kind=OrderKind.LIMIT, qty=D("0.1"), price=low, stop=None, target=None))
    resting = (await broker.balance()).available
    assert resting == pytest.approx(before - D("0.1") * low / 5)
    await broker.place(entry(price, 1))
    (position,) = await broker.positions()
    margin = position.qty * position.entry_price / 5
    balance = await broker.balance()
    assert balance.available == pytest.approx(balance.equity - D("0.1") * low / 5 - margin)
    await broker.cancel(BTC, entry(price).order_id)
    balance = await broker.balance()
    assert balance.available == pytest.approx(balance.equity - margin)


async def test_executions_are_told_as_they_happen(venue):
    broker, price, _ = venue
    stream = broker.stream()
    assert list(await anext(stream)) == []
    # the subscriptions stand before that is said: nothing has to be waited for
    await broker.place(entry(price))
    fills: list[Fill] = []
    async with asyncio.timeout(5):
        while sum(fill.qty for fill in fills) < D("0.01"):
            fills += [one for one in await anext(stream) if isinstance(one, Fill)]
    assert {(fill.order_id, fill.cause) for fill in fills} == {(entry(price).order_id, Cause.ENTRY)}
    await stream.aclose()


async def test_a_quantity_that_the_steps_do_not_fit_any_more_is_closed_whole(venue):
    broker, price, paper = venue
    await broker.place(entry(price, qty=D("0.013")))
    rules = await broker.instruments()
    coarse = dataclasses.replace(rules[BTC], step=D("0.01"), min_qty=D("0.01"))
    if paper:
        broker._instruments[BTC] = coarse
    else:
        # the practice exchange's own rules
        venue_rules = broker._client.practice.exchange.tape.instruments
        venue_rules[BTC] = dataclasses.replace(venue_rules[BTC], step=D("0.01"), min_qty=D("0.01"))
    way_out = OrderRequest(
        order_id(DIGEST, "x", 0, paper=False), BTC, OrderSide.SELL, OrderKind.MARKET, D("0.013"), reduce_only=True
    )
    with pytest.raises(Rejected) as refused:
        await broker.place(way_out)
    assert refused.value.objection is Objection.RULES
    await broker.place(msgspec.structs.replace(way_out, order_id=order_id(DIGEST, "x", 1, paper=False), whole=True))
    assert await broker.positions() == []


async def test_paper_stops_by_the_feeds_bars_and_survives_a_restart(tmp_path):
    async with practice(tmp_path / "exchange", speed=0.001) as exchange:
        client = exchange.client()
        bybit = BybitBroker(client)

        async def opened() -> PaperBroker:
            broker = await paper_on(bybit, tmp_path)
            await broker.instruments()
            return broker

        broker = await opened()
        broker.on_price(BTC, 60_000.0, 1_000)
        await broker.place(entry(D(60_000)))
        broker = await opened()
        assert len(await broker.positions()) == 1
        calm, crash = (Bar(t, 60_000, 60_100, low, 60_000, 1, 1) for t, low in ((180_000, 59_900), (360_000, 50_000)))
        broker.on_bars(BTC, Bars.of([calm]))
        assert len(await broker.positions()) == 1
        broker.on_bars(BTC, Bars.of([calm, crash]))
        broker.on_bars(BTC, Bars.of([crash]))
        assert await broker.positions() == []
        fills = await broker.fills_since(0, 2**50)
        assert [fill.cause for fill in fills] == [Cause.ENTRY, Cause.STOP_LOSS]
        assert [fill.cause for fill in await (await opened()).fills_since(0, 2**50)] == [Cause.ENTRY, Cause.STOP_LOSS]
        await client.close()


async def test_only_private_requests_wait_for_what_an_account_may_ask(tmp_path):
    """A start asks for every series: at the pace of ccxt's own limiter fifty symbols took seven seconds."""
    async with practice(tmp_path, speed=0.001) as exchange:
        terms, waited = exchange.exchange.terms, []
        client = BybitClient(Endpoint(exchange.rest, exchange.stream, terms.key, terms.secret))
        take = client._pacing.take

        async def noted(path, **more):
            waited.append(path)
            await take(path, **more)

        client._pacing.take = noted
        await client.get("v5/market/tickers", {"category": "linear", "symbol": "BTCUSDT"})
        assert waited == []
        await client.get("v5/position/list", {"category": "linear", "settleCoin": "USDT"})
        assert waited == ["v5/position/list"]
        await client.close()


@pytest.fixture
async def bybit(tmp_path):
    async with practice(tmp_path, speed=0.001) as exchange:
        client = exchange.client()
        broker = BybitBroker(client)
        await broker.instruments()
        yield exchange, broker
        await client.close()


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"answer": {"path": "/v5/order/create", "code": 10016}}, OutcomeUnknown),
        ({"answer": {"path": "/v5/order/create", "status": 502}}, OutcomeUnknown),
        ({"lose_answer": {"path": "/v5/order/create"}}, OutcomeUnknown),
        ({"answer": {"path": "/v5/order/create", "code": 10006, "times": 99}}, Unavailable),
        ({"answer": {"path": "/v5/order/create", "status": 429}}, Unavailable),
        ({"answer": {"path": "/v5/order/create", "code": 987654}}, OutcomeUnknown),
        ({"answer": {"path": "/v5/order/create", "code": 10014}}, OutcomeUnknown),
        ({"answer": {"path": "/v5/order/create", "code": 33004}}, Rejected),
        ({"answer": {"path": "/v5/order/create", "code": 110007}}, Rejected),
        ({"answer": {"path": "/v5/order/create", "code": 10001}}, Rejected),
    ],
)
async def test_every_failure_of_an_order_is_classed_as_what_it_proves(bybit, fault, kind):
    exchange, broker = bybit
    await exchange.faults(**fault)
    with pytest.raises(kind) as error:
        await broker.place(entry(exchange.exchange.account.last_price(BTC)))
    assert type(error.value) is kind or issubclass(type(error.value), kind)
    landed = "lose_answer" in fault
    assert len(await broker.positions()) == landed


async def test_reading_is_repeated_a_few_times_and_then_unavailable(bybit):
    exchange, broker = bybit
    await exchange.faults(answer={"path": "/v5/position/list", "status": 500, "times": 2})
    assert await broker.positions() == []
    await exchange.faults(answer={"path": "/v5/position/list", "status": 500, "times": 50})
    with pytest.raises(Unavailable):
        await broker.positions()


async def test_arming_names_everything_that_stands_against_it(bybit):
    exchange, broker = bybit
    symbols = [BTC, "ETH/USDT:USDT"]
    with pytest.raises(ConfigError, match="LIVE_CONFIRM"):
        await arm(broker, "12345", symbols, D(3))
    assert await arm(broker, exchange.exchange.terms.uid, symbols, D(3)) == exchange.exchange.terms.uid
    assert (await broker.position_modes([BTC]))[BTC] == (0, D(3))
    # a position keeps what it was opened with: at more it might be liquidated before its stop
    await broker.place(entry(exchange.exchange.account.last_price(BTC)))
    await arm(broker, exchange.exchange.terms.uid, symbols, D(5))
    modes = await broker.position_modes(symbols)
    assert [modes[symbol] for symbol in symbols] == [(0, D(3)), (0, D(5))]


def test_keys_that_may_withdraw_or_cannot_trade_are_refused():
    facts = {
        "uid": "1",
        "permissions": {"ContractTrade": ["Order", "Position"], "Wallet": []},
        "read_only": False,
        "margin_mode": "REGULAR_MARGIN",
    }
    assert [check.name for check in key_checks(facts, "1") if not check.good] == []
    for rights, missing in ((["Order"], "Positions"), (["Position"], "Orders"), ([], "Orders and Positions")):
        checks = key_checks({**facts, "permissions": {"ContractTrade": rights}}, "1")
        (short,) = [check for check in checks if not check.good]
        assert (short.name, f"tick Contract - {missing} for it" in short.cure) == ("key trades", True)
    bad = {
        "uid": "1",
        "permissions": {"Wallet": ["AccountTransfer", "Withdraw"]},
        "read_only": True,
        "margin_mode": "PORTFOLIO_MARGIN",
    }
    assert not any(check.good for check in key_checks(bad, ""))
    assert len(against_modes({"A": (1, D(5)), "B": (0, D(4)), "C": (0, D(5))}, D(5))) == 2


class Recorded:
    """A client that answers with recorded bodies."""

    def __init__(self, instruments, executions=()):
        self.bodies = {"v5/market/instruments-info": instruments, "v5/execution/list": executions}

    async def get(self, path, params):
        return {"list": self.bodies.get(path, [])}

    async def pages(self, path, params):
        yield self.bodies[path]


def execution(**change):
    row = {
        "symbol": "BTCUSDT", "orderId": "v", "orderLinkId": "", "side": "Sell", "execFee": "0.1", "execId": "x", "execPrice": "1",
        "execQty": "1", "execType": "Trade", "execTime": "1672282722429", "stopOrderType": "StopLoss", "closedSize": "1", "isMaker": False,
    }  # fmt: skip
    return {**row, **change}


RULES = {
    "symbol": "BTCUSDT", "contractType": "LinearPerpetual", "status": "Trading", "baseCoin": "BTC", "quoteCoin": "USDT",
    "settleCoin": "USDT", "leverageFilter": {"maxLeverage": "100"}, "priceFilter": {"tickSize": "0.1"},
    "lotSizeFilter": {"qtyStep": "0.001", "minOrderQty": "0.001", "maxMktOrderQty": "100", "minNotionalValue": "5"},
}  # fmt: skip


def test_contracts_without_rules_keep_a_name_and_what_is_no_perpetual_is_passed_over():
    broker = BybitBroker(None)
    assert broker._symbol("1000PEPEUSDT") == "1000PEPE/USDT:USDT"
    assert broker._venue_id("1000PEPE/USDT:USDT") == "1000PEPEUSDT"
    for name in ("BTC-26DEC25", "BTCPERP", "USDT"):
        # dated futures and such: their id is their name, there and back
        assert broker._symbol(name) == broker._venue_id(name) == name
    row = {"symbol": "BTC-26DEC25", "execType": "Trade", "execQty": "1", "execPrice": "1"}
    assert broker._fill(row) is None


async def test_rows_that_cannot_be_read_are_counted_and_hide_no_other():
    broker = BybitBroker(Recorded([RULES, {"symbol": "ODDUSDT", "contractType": "LinearPerpetual", "settleCoin": "USDT"}],
        [execution(), execution(execQty="many"), {}, execution(execId="f", execType="Funding"), execution(symbol="NOPE"),
         execution(execId="n", unknownField=[1], execType="SomethingNew")]))  # fmt: skip
    assert list(await broker.instruments()) == [BTC]
    fills = await broker.fills_since(0, 1)
    assert [(fill.exec_id, fill.cause) for fill in fills] == [("f", Cause.FUNDING), ("x", Cause.STOP_LOSS)]
    assert broker.malformed == 3


DATA = Path(__file__).parents[3] / "shared" / "data" / "rest_bybit_v5"


@pytest.mark.skipif(not DATA.exists(), reason="recorded exchange bodies are not beside the checkout")
async def test_the_recorded_trading_rules_of_the_real_exchange_are_understood():
    body = json.loads(gzip.decompress((DATA / "instruments-info_linear_2026-08-09.json.gz").read_bytes()))["result"][
        "list"
    ]
    broker = BybitBroker(Recorded(body))
    rules = await broker.instruments()
    assert broker.malformed == 0
    assert len(rules) > 300
    assert rules["1000000MOG/USDT:USDT"].venue_id == "1000000MOGUSDT"
    assert all(held.tick > 0 and held.step > 0 and held.min_qty >= held.step for held in rules.values())


def changes(client) -> list[str]:
    """Note the symbols whose leverage is set, in order."""
    asked, post = [], client.post

    async def noted(path, params):
        if path.endswith("set-leverage"):
            asked.append(params["symbol"])
        return await post(path, params)

    client.post = noted
    return asked


async def test_arming_sets_only_what_differs(bybit):
    exchange, broker = bybit
    symbols, uid = sorted(await broker.instruments()), exchange.exchange.terms.uid
    await arm(broker, uid, symbols, D(7))
    await broker.set_leverage(symbols[1], D(3))
    asked = changes(broker._client)
    assert await arm(broker, uid, symbols, D(7)) == uid
    assert asked == [broker._venue_id(symbols[1])]


async def test_a_leverage_above_a_symbols_maximum_is_its_maximum_and_says_so(bybit, capsys):
    exchange, broker = bybit
    symbols = sorted(await broker.instruments())
    low = broker._by_symbol[symbols[0]]
    broker._by_symbol[symbols[0]] = dataclasses.replace(low, max_leverage=D("12.5"))
    await arm(broker, exchange.exchange.terms.uid, symbols, D(20))
    modes = await broker.position_modes(symbols)
    assert [modes[symbol] for symbol in symbols[:2]] == [(0, D("12.5")), (0, D(20))]
    assert f"symbol={symbols[0]}" in capsys.readouterr().out


@pytest.mark.parametrize(("code", "good"), [(110013, True), (110043, False), (110125, True)])
async def test_a_symbol_that_refuses_its_leverage_is_named_and_stops_nobody(bybit, capsys, code, good):
    exchange, broker = bybit
    symbols, uid = sorted(await broker.instruments())[:3], exchange.exchange.terms.uid
    await exchange.faults(answer={"path": "/v5/position/set-leverage", "code": code})
    if good:
        assert await arm(broker, uid, symbols, D(9)) == uid
        assert f"symbol={symbols[0]}" in capsys.readouterr().out
    else:
        # "not modified", and yet it reads back otherwise: that is no success
        with pytest.raises(ConfigError, match=symbols[0]):
            await arm(broker, uid, symbols, D(9))


async def test_a_leverage_whose_outcome_is_unknown_lets_the_start_wait(bybit):
    exchange, broker = bybit
    symbols, uid = sorted(await broker.instruments())[:3], exchange.exchange.terms.uid
    await exchange.faults(lose_answer={"path": "/v5/position/set-leverage"})
    with pytest.raises(Unavailable):
        await arm(broker, uid, symbols, D(9))
    asked = changes(broker._client)
    assert await arm(broker, uid, symbols, D(9)) == uid
    assert broker._venue_id(symbols[0]) not in asked


@pytest.mark.parametrize("code", [110001, 110008, 110010])
async def test_an_order_that_is_gone_is_cancelled(bybit, code):
    exchange, broker = bybit
    await exchange.faults(answer={"path": "/v5/order/cancel", "code": code})
    gone = order_id(DIGEST, "e", 0, paper=False)
    await broker.cancel(BTC, gone)
    assert (await broker.order(BTC, gone)).state is OrderState.NOT_FOUND


async def test_paper_in_slices_fills_by_the_book_and_goes_on_with_the_next_price(tmp_path):
    async with practice(tmp_path / "exchange", speed=0.001) as exchange:
        client = exchange.client()
        bybit = BybitBroker(client)
        rules = await bybit.instruments()
        file = AtomicFile(tmp_path / "paper.json")
        told: list[int] = []
        for attempt in range(30):
            broker = PaperBroker(
                file, "paper:test", D(10_000_000), Costs(), "3m", bybit.instruments, rules, slices=True
            )  # fmt: skip
            broker.on_bars(BTC, Bars.of([Bar(180_000 * attempt, 60_000, 60_000, 60_000, 60_000, 1, 300_000)]))
            broker.on_price(BTC, 60_000.0, 180_000 * (attempt + 1))
            request = entry(D(60_000), attempt, stop=None, target=None, qty=D("0.5"))
            await broker.place(request)
            first = [fill for fill in await broker.fills_since(0, 2**50) if fill.order_id == request.order_id]
            # a restart in between forgets nothing
            broker = PaperBroker(
                file, "paper:test", D(10_000_000), Costs(), "3m", bybit.instruments, rules, slices=True
            )  # fmt: skip
            broker.on_price(BTC, 60_000.0, 180_000 * (attempt + 1) + 10_000)
            fills = [fill for fill in await broker.fills_since(0, 2**50) if fill.order_id == request.order_id]
            assert sum(fill.qty for fill in fills) == D("0.5")
            assert (await broker.order(BTC, request.order_id)).state is OrderState.FILLED
            assert len({fill.exec_id for fill in fills}) == len(fills)
            told.append(len(fills) - len(first))
        assert 0 in told
        assert any(told)
        await client.close()

"""The practice exchange's account: liquidation, settlement, splits, transfers, legs of hedge mode."""

from dataclasses import replace
from decimal import Decimal as D

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain import margin
from domain.account import AccountState, ClosedPnl, Execution, VenueOrder, VenuePosition, executions
from domain.candle import Bar
from domain.errors import Rejected
from domain.fills import Costs
from domain.instrument import Instrument
from domain.order import OrderKind, OrderSide
from sandbox.codes import code_of
from sandbox.margin_account import ISOLATED, REGULAR
from sandbox.mark import MarkBar
from sandbox.practice_account import PracticeAccount

FREE = Costs(D(0), D(0), D(0), D(0))
SYMBOL, OTHER = "A/USDT:USDT", "B/USDT:USDT"
BUY, SELL = OrderSide.BUY, OrderSide.SELL


def rules(symbol=SYMBOL, most=50, first=50_000) -> Instrument:
    return Instrument(
        symbol, symbol[0] + "USDT", D("0.1"), D("0.01"), D("0.01"), D(100_000), D(5), D(most),
        tiers=margin.tiers(D(most), D(first)),
    )  # fmt: skip


def account(mode=REGULAR, wallet=1_000, costs=FREE, leverage=10, **instrument) -> PracticeAccount:
    instruments = {name: rules(name, **instrument) for name in (SYMBOL, OTHER)}
    held = PracticeAccount(AccountState(wallet=D(wallet)), instruments, costs)
    held.set_margin_mode(mode)
    for symbol in instruments:
        held.mark(symbol, D(100))
        held.set_leverage(symbol, D(leverage), 0)
    return held


def buy(held, qty="10", side=BUY, symbol=SYMBOL, **more):
    numbers = {name: D(value) for name, value in more.items() if name in {"price", "trigger", "stop", "target"}}
    kind = OrderKind.LIMIT if "price" in numbers else OrderKind.MARKET
    order = VenueOrder(id="", link_id=more.get("link_id", ""), symbol=symbol, side=side, kind=kind, qty=D(qty),
                       index=more.get("index", 0), reduce_only=more.get("reduce_only", False), **numbers)  # fmt: skip
    return held.place(order, 1, at_once=True)


def play(held, low, high, close, symbol=SYMBOL):
    """Play a bar whose mark price is the last one."""
    events = held.on_mark(symbol, MarkBar(float(low), float(high), float(close)), 59_999)
    opened = float(held.last_price(symbol))
    events += held.on_bar(symbol, Bar(0, opened, float(high), float(low), float(close), 1.0, 1.0), 60_000)
    held.take_mark(symbol, D(str(close)))
    return events + held.check_margin(59_999)


def kinds(events):
    return [(one.kind, one.create_type) for one in executions(events)]


def test_an_isolated_position_loses_its_margin_and_no_more():
    held = account(ISOLATED)
    buy(held)
    position = held.position(SYMBOL)
    level = held.liquidation_price(position)
    assert level == D(90) / D("0.99")
    assert play(held, 91, 100, 95) == []
    events = play(held, 80, 95, 82)
    (bust,) = executions(events)
    assert (bust.kind, bust.create_type, bust.price, bust.qty) == ("BustTrade", "CreateByTakeOver_PassThrough", 90, 10)
    assert (held.state.wallet, position.qty, held.liquidation_price(position)) == (900, 0, None)
    told = [one.status for one in events if isinstance(one, VenuePosition)]
    assert (told[0], told[-1]) == ("Liq", "Normal")
    assert [one.kind for one in events if isinstance(one, ClosedPnl)] == ["BustTrade"]


@pytest.mark.parametrize(
    ("stop", "first"), [("92", "Trade"), ("85", "BustTrade")], ids=["a nearer stop", "a stop beyond liquidation"]
)
def test_of_stop_and_liquidation_the_nearer_comes_first(stop, first):
    held = account(ISOLATED)
    buy(held, stop=stop)
    events = play(held, 80, 100, 82)
    assert [one.kind for one in executions(events)] == [first]
    assert held.position(SYMBOL).qty == 0
    assert held.state.orders == {}


def test_added_margin_moves_the_liquidation_price_away():
    held = account(ISOLATED)
    buy(held)
    before = held.liquidation_price(held.position(SYMBOL))
    held.add_margin(SYMBOL, D(50), 2)
    assert held.liquidation_price(held.position(SYMBOL)) == before - D(5) / D("0.99")
    with pytest.raises(Rejected) as refused:
        held.add_margin(SYMBOL, D(10_000), 2)
    assert code_of(refused.value) == 110014
    shared = account()
    with pytest.raises(Rejected) as refused:
        shared.add_margin(SYMBOL, D(1), 2)
    assert code_of(refused.value) == 110015


def test_shared_margin_carries_a_position_as_far_as_the_wallet_goes():
    held = account(leverage=5)
    buy(held)
    assert held.liquidation_price(held.position(SYMBOL)) is None
    buy(held, "40")
    level = held.liquidation_price(held.position(SYMBOL))
    assert level == D(4_000) / 50 / D("0.99")
    assert executions(play(held, 81, 100, 81)) == []
    assert kinds(play(held, 70, 81, 71)) == [("BustTrade", "CreateByTakeOver_PassThrough")]
    assert 0 <= held.state.wallet < 5


def test_a_second_position_counts_against_shared_margin():
    held = account(leverage=10)
    buy(held, "40")
    alone = held.liquidation_price(held.position(SYMBOL))
    buy(held, "40", symbol=OTHER)
    assert held.liquidation_price(held.position(SYMBOL)) > alone
    held.take_mark(OTHER, D(85))
    assert held.liquidation_price(held.position(SYMBOL)) > alone + 10


def test_working_orders_are_cancelled_before_a_liquidation():
    held = account()
    buy(held, "80")
    (resting,) = [one for one in buy(held, "1", price="60") if isinstance(one, VenueOrder)]
    events = play(held, 80, 100, 80)
    cancelled = [one for one in events if isinstance(one, VenueOrder) and one.id == resting.id]
    assert [(one.status, one.cancel_type) for one in cancelled] == [("Cancelled", "CancelAllBeforeLiq")]
    assert held.position(SYMBOL).qty == 0


def test_a_large_position_goes_down_its_tiers_first():
    """250,000 of value on tiers of 50,000: it is reduced as far as the margin left asks for, and only then taken over."""
    held = account(ISOLATED, wallet=100_000, leverage=12)
    buy(held, "2400")
    position = held.position(SYMBOL)
    level = held.liquidation_price(position)
    events = play(held, level - D("0.1"), 100, level - D("0.1"))
    assert {one for one in kinds(events)} == {("Trade", "CreateByLiq")}
    assert 0 < position.qty < 2_400
    orders = [one for one in events if isinstance(one, VenueOrder)]
    assert {(one.status, one.create_type) for one in orders} == {("Filled", "CreateByLiq")}
    last = play(held, 50, level, 50)
    assert kinds(last)[-1] == ("BustTrade", "CreateByTakeOver_PassThrough")
    assert set(kinds(last)[:-1]) <= {("Trade", "CreateByLiq")}
    # taken over at once, all of the 20,000 of margin would have gone
    assert D(80_000) < held.state.wallet < D(90_000)


def test_the_mark_price_decides_not_the_last_one():
    held = account(ISOLATED)
    buy(held)
    held.on_mark(SYMBOL, MarkBar(95.0, 100.0, 97.0), 1)
    assert executions(held.on_bar(SYMBOL, Bar(0, 100.0, 100.0, 70.0, 97.0, 1.0, 1.0), 60_000)) == []
    assert held.position(SYMBOL).qty == 10
    assert kinds(held.on_mark(SYMBOL, MarkBar(90.0, 97.0, 97.0), 1)) == [("BustTrade", "CreateByTakeOver_PassThrough")]


def test_a_position_may_be_as_large_as_its_leverage_allows():
    held = account(wallet=100_000, leverage=50)
    with pytest.raises(Rejected, match=r"adjust your leverage to 28\.57") as refused:
        buy(held, "600")
    assert code_of(refused.value) == 110090
    buy(held, "400")
    held.set_leverage(SYMBOL, D(20), 2)
    buy(held, "500")
    with pytest.raises(Rejected) as refused:
        held.set_leverage(SYMBOL, D(30), 3)
    assert code_of(refused.value) == 110013


def test_leverage_that_would_liquidate_at_once_is_refused():
    held = account(ISOLATED, leverage=5)
    buy(held)
    held.take_mark(SYMBOL, D(85))
    with pytest.raises(Rejected) as refused:
        held.set_leverage(SYMBOL, D(10), 2)
    assert code_of(refused.value) == 110011
    with pytest.raises(Rejected) as refused:
        held.set_margin_mode("PORTFOLIO_MARGIN")
    assert code_of(refused.value) == 3400045


def test_a_delisted_contract_is_delivered():
    held = account()
    buy(held, stop="90")
    buy(held, "1", price="60")
    events = held.settle(SYMBOL, D(110), 2)
    (delivery,) = executions(events)
    assert (delivery.kind, delivery.create_type, delivery.price, delivery.side) == (
        "Delivery",
        "CreateBySettle",
        110,
        SELL,
    )
    assert {one.cancel_type for one in events if isinstance(one, VenueOrder)} == {"CancelBySettle"}
    assert (held.state.wallet, held.state.orders) == (1_100, {})
    # it is a trade, not an order
    assert delivery.order_id not in {one.id for one in events if isinstance(one, VenueOrder)}


@pytest.mark.parametrize(("ratio", "qty", "price"), [(D(10), D(100), D(10)), (D("0.1"), D(1), D(1_000))])
def test_a_split_changes_the_size_and_not_the_value(ratio, qty, price):
    held = account()
    buy(held, stop="90")
    equity = held.equity()
    events = held.split(SYMBOL, ratio, 2)
    assert [(one.kind, one.side, one.qty, one.price, one.fee) for one in executions(events)] == [
        ("CorporateAction", SELL, 10, 100, 0), ("CorporateAction", BUY, qty, price, 0),
    ]  # fmt: skip
    assert (held.position(SYMBOL).qty, held.last_price(SYMBOL), held.equity()) == (qty, price, equity)
    assert held.state.orders == {}


def test_positions_move_from_elsewhere():
    held = account(wallet=10_000, costs=Costs())
    moved = held.transfer(SYMBOL, BUY, D(5), D(102), 2, "MovePosition")
    assert kinds(moved) == [("MovePosition", "CreateByBlockTradeMovePosition_PassThrough")]
    assert (executions(moved)[0].fee, held.state.wallet, held.position(SYMBOL).avg_price) == (0, 10_000, 102)
    assert kinds(held.transfer(SYMBOL, SELL, D(8), None, 3, "BlockTrade")) == [
        ("BlockTrade", "CreateByBlock_PassThrough")
    ]
    assert held.position(SYMBOL).qty == -3
    assert kinds(held.transfer(SYMBOL, BUY, D(3), None, 4, "Trade")) == [("Trade", "CreateByClosing")]
    for qty, price in ((D("0.001"), None), (D(0), None), (D(1), D(106)), (D(1), D(94))):
        with pytest.raises(Rejected):
            held.transfer(SYMBOL, BUY, qty, price, 5, "MovePosition")


def test_only_a_profitable_position_is_deleveraged():
    held = account()
    buy(held, stop="90")
    with pytest.raises(Rejected):
        held.deleverage(SYMBOL, D(1), 2)
    held.take_mark(SYMBOL, D(120))
    events = held.deleverage(SYMBOL, D("0.5"), 2)
    assert [(one.kind, one.qty, one.price) for one in executions(events)] == [("AdlTrade", 5, 120)]
    assert executions(events)[0].create_type == "CreateByAdl_PassThrough"
    told = [one.status for one in events if isinstance(one, VenuePosition)]
    assert (told[0], told[-1]) == ("Adl", "Normal")
    # the stop goes on, for what is left
    assert [one.qty for one in held.state.orders.values()] == [5]


def test_legs_of_hedge_mode_stand_side_by_side_and_want_their_index():
    held = account(wallet=10_000)
    held.set_legs(SYMBOL, D(5), D(2), 1)
    assert [(one.index, one.qty) for one in held.legs(SYMBOL)] == [(1, 5), (2, -2)]
    with pytest.raises(Rejected, match="position idx not match position mode") as refused:
        buy(held)
    assert code_of(refused.value) == 10001
    with pytest.raises(Rejected, match="position idx not match position mode"):
        buy(held, symbol=OTHER, index=1)
    held.take_mark(SYMBOL, D(110))
    assert held.equity() == 10_000 + 50 - 20
    assert held.margin() == D(70)
    events = buy(held, "9", side=SELL, index=1, reduce_only=True)
    assert [(one.qty, one.closed) for one in executions(events)] == [(5, 5)]
    assert [(one.index, one.qty) for one in held.legs(SYMBOL)] == [(1, 0), (2, -2)]
    with pytest.raises(Rejected) as refused:
        buy(held, "1", side=SELL, index=1, reduce_only=True)
    assert code_of(refused.value) == 110017
    with pytest.raises(Rejected, match="position mode cannot be switched"):
        buy(held, symbol=OTHER)
        held.set_legs(OTHER, D(1), D(1), 2)
    held.set_legs(SYMBOL, D(0), D(0), 3)
    assert [(one.index, one.qty) for one in held.legs(SYMBOL)] == [(0, 0)]


def test_the_stop_of_a_leg_closes_that_leg():
    held = account(wallet=10_000)
    held.set_legs(SYMBOL, D(5), D(2), 1)
    held.set_leg_stops(SYMBOL, 1, 2, stop=D(95), target=None)
    with pytest.raises(Rejected):
        held.set_leg_stops(SYMBOL, 2, 2, stop=D(95), target=None)
    events = play(held, 94, 100, 96)
    assert [(one.qty, one.price, one.stop_type) for one in executions(events)] == [(5, 95, "StopLoss")]
    assert [(one.index, one.qty) for one in held.legs(SYMBOL)] == [(1, 0), (2, -2)]


def test_stocks_and_commodities_want_an_agreement():
    held = account(wallet=10_000)
    buy(held, "1")
    held._instruments[SYMBOL] = replace(rules(), category="stock")
    with pytest.raises(Rejected, match="agree to the Trading Terms before trading this contract") as refused:
        buy(held)
    assert code_of(refused.value) == 110125
    # what reduces a position needs none
    buy(held, "1", side=SELL, reduce_only=True)
    held.state.agreed = True
    buy(held)
    held._instruments[OTHER] = replace(rules(OTHER), category="innovation")
    buy(held, symbol=OTHER)


STEPS = st.one_of(
    st.tuples(st.just("order"), st.sampled_from([BUY, SELL]), st.integers(1, 900), st.sampled_from([SYMBOL, OTHER])),
    st.tuples(st.just("move"), st.integers(30, 300), st.integers(0, 3), st.sampled_from([SYMBOL, OTHER])),
    st.tuples(st.just("split"), st.sampled_from(["0.5", "2", "3"]), st.just(0), st.just(OTHER)),
    st.tuples(st.just("transfer"), st.sampled_from([BUY, SELL]), st.integers(1, 300), st.sampled_from([SYMBOL, OTHER])),
    st.tuples(st.just("adl"), st.just(0), st.just(0), st.sampled_from([SYMBOL, OTHER])),
)


@settings(max_examples=200, deadline=None)
@given(
    steps=st.lists(STEPS, max_size=25), mode=st.sampled_from([ISOLATED, REGULAR]), leverage=st.sampled_from([2, 8, 12])
)
def test_the_wallet_is_what_executions_and_closed_profits_say(steps, mode, leverage):
    """Whatever happens, liquidations included, no money appears and none is lost, and positions are their executions."""
    held = account(mode, wallet=20_000, costs=Costs(), leverage=leverage)
    events = []
    for step, first, second, symbol in steps:
        try:
            if step == "order":
                events += buy(held, str(second), side=first, symbol=symbol)
            elif step == "move":
                last, now = held.last_price(symbol), D(first)
                events += play(held, min(last, now) - second, max(last, now) + second, now, symbol)
            elif step == "split":
                events += held.split(symbol, D(first), 5)
            elif step == "transfer":
                events += held.transfer(symbol, first, D(second), None, 5, "MovePosition")
            else:
                events += held.deleverage(symbol, D("0.5"), 5)
        except Rejected:
            continue
    paid = sum((one.fee for one in executions(events)), D(0))
    gained = sum((one.pnl + one.open_fee + one.close_fee for one in events if isinstance(one, ClosedPnl)), D(0))
    assert held.state.wallet == pytest.approx(D(20_000) + gained - paid, abs=D("1e-12"))
    if not any(step[0] == "split" for step in steps):
        for symbol in (SYMBOL, OTHER):
            signed = [one.side.sign * one.qty for one in executions(events) if one.symbol == symbol]
            assert held.position(symbol).qty == sum(signed, D(0))
    ids = [one.id for one in executions(events)]
    assert len(ids) == len(set(ids))
    assert all(isinstance(one, Execution) and one.price > 0 for one in executions(events))
    held.check_margin(6)
    if mode == REGULAR and held.open_positions():
        assert held.equity() > held.all_maintenance()
    # what is beyond bankruptcy is the exchange's loss; a tick of rounding is the account's gain
    assert mode == ISOLATED or held.equity() >= 0

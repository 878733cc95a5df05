"""The simulated account: matching, money, protection."""

from decimal import Decimal as D

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.account import AccountState, ClosedPnl, Execution, SimulatedAccount, VenueOrder, executions
from domain.candle import Bar
from domain.errors import Objection, Rejected
from domain.fills import Costs
from domain.instrument import Instrument
from domain.order import OrderKind, OrderSide
from sandbox.codes import code_of, words_of

FREE = Costs(D(0), D(0), D(0), D(0))
RULES = Instrument("A/USDT:USDT", "AUSDT", D("0.1"), D("0.01"), D("0.01"), D(1000), D(5), D(50))
SYMBOL = RULES.symbol


def account(costs: Costs = FREE, wallet: int = 10_000) -> SimulatedAccount:
    held = SimulatedAccount(AccountState(wallet=D(wallet)), {SYMBOL: RULES}, costs)
    held.mark(SYMBOL, D(100))
    held.set_leverage(SYMBOL, D(5), 0)
    return held


def order(side=OrderSide.BUY, kind=OrderKind.MARKET, qty="10", **more) -> VenueOrder:
    numbers = {name: D(value) for name, value in more.items() if name in {"price", "trigger", "stop", "target"}}
    rest = {name: value for name, value in more.items() if name not in numbers}
    return VenueOrder(id="", symbol=SYMBOL, side=side, kind=kind, qty=D(qty), **{"link_id": "", **numbers, **rest})


def bar(opened, high, low, close, time=60_000) -> Bar:
    return Bar(time, float(opened), float(high), float(low), float(close), 1.0, 1.0)


def test_a_bar_that_touches_stop_and_target_is_a_stop():
    held = account()
    held.place(order(stop="95", target="105"), 1, at_once=True)
    events = held.on_bar(SYMBOL, bar(100, 106, 94, 100), 120_000)

    (fill,) = executions(events)
    assert (fill.price, fill.stop_type) == (D(95), "StopLoss")
    assert held.position(SYMBOL).qty == 0
    assert held.state.orders == {}


def test_a_gap_fills_at_the_open():
    held = account()
    held.place(order(stop="95", target="105"), 1, at_once=True)
    assert executions(held.on_bar(SYMBOL, bar(90, 91, 89, 90), 120_000))[0].price == D(90)
    held.place(order(stop="80", target="105"), 2, at_once=True)
    assert executions(held.on_bar(SYMBOL, bar(110, 111, 109, 110, 120_000), 180_000))[0].price == D(110)


def test_an_entry_inside_a_bar_may_be_stopped_in_it_but_not_reach_its_target():
    held = account()
    held.place(order(kind=OrderKind.LIMIT, price="98", stop="95", target="105"), 1, at_once=True)
    events = held.on_bar(SYMBOL, bar(100, 106, 97, 105), 120_000)
    assert [fill.price for fill in executions(events)] == [D(98)]

    held = account()
    held.place(order(kind=OrderKind.LIMIT, price="98", stop="95", target="105"), 1, at_once=True)
    events = held.on_bar(SYMBOL, bar(100, 106, 94, 105), 120_000)
    assert [fill.price for fill in executions(events)] == [D(98), D(95)]


def test_a_market_order_waits_for_the_next_open_when_the_market_steps():
    held = account()
    assert executions(held.place(order(), 1, at_once=False)) == []
    assert executions(held.on_bar(SYMBOL, bar(101, 102, 100, 101), 120_000))[0].price == D(101)


def test_fees_slippage_and_closed_profit_are_exact():
    costs = Costs(taker=D("0.001"), maker=D(0), half_spread=D("0.001"), slippage=D("0.001"))
    held = account(costs)
    held.place(order(), 1, at_once=True)
    held.place(order(OrderSide.SELL, reduce_only=True), 2, at_once=True)

    # bought at 100.2, sold at 99.8, and a thousandth of each value in fees
    assert held.state.wallet == D(10_000) - D(4) - D(10) * D("0.001") * (D("100.2") + D("99.8"))


def test_limits_pay_maker_fees_when_the_price_comes_to_them():
    costs = Costs(taker=D("0.001"), maker=D("0.0001"), half_spread=D(0), slippage=D(0))
    held = account(costs)
    held.place(order(kind=OrderKind.LIMIT, price="99"), 1, at_once=True)
    (fill,) = executions(held.on_bar(SYMBOL, bar(100, 101, 98, 100), 120_000))
    assert (fill.maker, fill.fee, fill.price) == (True, D("0.0990"), D(99))


def test_funding_is_paid_by_longs_and_received_by_shorts():
    held = account()
    held.place(order(), 1, at_once=True)
    (paid,) = executions(held.on_funding(SYMBOL, D("0.0001"), 100))
    assert (paid.kind, paid.fee) == ("Funding", D("0.1000"))
    held = account()
    held.place(order(OrderSide.SELL), 1, at_once=True)
    assert executions(held.on_funding(SYMBOL, D("0.0001"), 100))[0].fee == D("-0.1000")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"qty": "0.001"}, 10001),
        ({"qty": "10.005"}, 10001),
        ({"qty": "0.04"}, 110094),
        ({"qty": "900"}, 110007),
        ({"stop": "101"}, 10001),
        ({"target": "99"}, 10001),
        ({"price": "99.05", "kind": OrderKind.LIMIT}, 10001),
        ({"reduce_only": True, "side": OrderSide.SELL}, 110017),
    ],
)
def test_orders_the_exchange_would_refuse_are_refused_with_its_code(change, code):
    with pytest.raises(Rejected) as refused:
        account().place(order(**change), 1, at_once=True)
    assert code_of(refused.value) == code


def test_an_order_id_is_taken_once_for_ever():
    held = account()
    held.place(order(link_id="one"), 1, at_once=True)
    with pytest.raises(Rejected) as refused:
        held.place(order(link_id="one"), 2, at_once=True)
    assert code_of(refused.value) == 110072


def test_going_flat_cancels_what_would_only_reduce():
    held = account()
    held.place(order(stop="95", target="110"), 1, at_once=True)
    held.place(order(OrderSide.SELL, OrderKind.LIMIT, "5", price="105", reduce_only=True), 2, at_once=True)
    assert len(held.state.orders) == 3
    held.on_bar(SYMBOL, bar(100, 101, 94, 95), 120_000)
    assert held.state.orders == {}


def test_a_partial_exit_leaves_the_rest_protected_to_its_size():
    held = account()
    held.place(order(stop="95", target="110"), 1, at_once=True)
    held.place(order(OrderSide.SELL, OrderKind.LIMIT, "5", price="105", reduce_only=True), 2, at_once=True)
    held.on_bar(SYMBOL, bar(100, 106, 99, 105), 120_000)
    assert {(o.stop_type, o.qty) for o in held.state.orders.values()} == {("StopLoss", D(5)), ("TakeProfit", D(5))}


steps = st.lists(
    st.tuples(
        st.sampled_from(["buy", "sell", "limit", "bar", "fund", "stops"]),
        st.integers(1, 40),
        st.integers(-8, 8),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(steps)
def test_money_adds_up_whatever_happens(actions):
    """Wallet = start + closed gross - fees - funding, and closed profits carry the same fees; nothing rests reduce-only
    on a flat position, and a protected position is protected for exactly its size.
    """
    costs = Costs(D("0.0005"), D("0.0002"), D("0.0001"), D("0.0002"))
    held = account(costs, 1_000_000)
    price, time, events = 100.0, 60_000, []
    for kind, qty, move in actions:
        try:
            if kind in {"buy", "sell"}:
                side = OrderSide.BUY if kind == "buy" else OrderSide.SELL
                mark = RULES.price(price)
                stop, target = mark - side.sign * 5, mark + side.sign * 5
                events += held.place(order(side, qty=str(qty), stop=stop, target=target), time, at_once=True)
            elif kind == "limit":
                side = OrderSide.BUY if move < 0 else OrderSide.SELL
                events += held.place(
                    order(side, OrderKind.LIMIT, str(qty), price=RULES.price(price + move)), time, at_once=True
                )
            elif kind == "fund":
                events += held.on_funding(SYMBOL, D("0.0001"), time)
            elif kind == "stops" and held.position(SYMBOL).qty:
                sign = 1 if held.position(SYMBOL).qty > 0 else -1
                events += held.set_stops(SYMBOL, time, stop=RULES.price(price) - sign * 3, target=None)
            else:
                close = max(5.0, price + move)
                high, low = max(price, close) + qty / 10, max(1.0, min(price, close) - qty / 10)
                events += held.on_bar(SYMBOL, bar(price, high, low, close, time), time + 60_000)
                price, time = close, time + 60_000
        except Rejected:
            continue
    fees = sum((e.fee for e in events if isinstance(e, Execution)), D(0))
    closed = sum((e.pnl + e.open_fee + e.close_fee for e in events if isinstance(e, ClosedPnl)), D(0))
    signed = sum((e.qty * e.side.sign for e in events if isinstance(e, Execution) and e.kind == "Trade"), D(0))
    position = held.position(SYMBOL)
    assert abs(held.state.wallet - (D(1_000_000) + closed - fees)) < D("1e-12")
    assert position.qty == signed
    resting = [o for o in held.state.orders.values() if o.reduce_only]
    if not position.qty:
        assert resting == []
    for one in resting:
        assert one.qty == abs(position.qty)
        assert one.side.sign == (-1 if position.qty > 0 else 1)


def resting(held: SimulatedAccount) -> dict[str, D]:
    """Return the levels of what protects the position, by its kind."""
    return {one.stop_type: one.trigger for one in held.state.orders.values() if one.stop_type}


def test_stop_and_target_set_later_protect_as_those_of_the_entry_do():
    held = account()
    held.place(order(), 1, at_once=True)
    held.set_stops(SYMBOL, 2, stop=D(95), target=None)
    assert resting(held) == {"StopLoss": D(95)}
    held.set_stops(SYMBOL, 3, stop=None, target=D(110))
    assert resting(held) == {"StopLoss": D(95), "TakeProfit": D(110)}
    position = held.position(SYMBOL)
    assert (position.stop, position.target) == (95, 110)
    held.set_stops(SYMBOL, 4, stop=D(0), target=D(111))
    assert resting(held) == {"TakeProfit": D(111)}
    assert executions(held.on_bar(SYMBOL, bar(100, 112, 90, 100), 120_000))[0].price == D(111)


@pytest.mark.parametrize(("level", "kind"), [({"stop": "95"}, "StopLoss"), ({"target": "105"}, "TakeProfit")])
def test_a_stop_or_a_target_alone_protects(level, kind):
    held = account()
    held.place(order(**level), 1, at_once=True)
    assert resting(held).keys() == {kind}
    (closed,) = executions(held.on_bar(SYMBOL, bar(100, 106, 94, 100), 120_000))
    assert (closed.stop_type, held.position(SYMBOL).qty) == (kind, 0)


def test_realised_profit_counts_both_fees_and_funding():
    held = account(Costs(taker=D("0.001"), maker=D(0), half_spread=D(0), slippage=D(0)))
    held.place(order(), 1, at_once=True)
    held.on_funding(SYMBOL, D("0.0001"), 100)
    position = held.position(SYMBOL)
    assert position.realised == D("-0.1")
    held.mark(SYMBOL, D(110))
    (part,) = [one for one in held.place(order(OrderSide.SELL, qty="4", reduce_only=True), 2, at_once=True)
               if isinstance(one, ClosedPnl)]  # fmt: skip
    # four of ten: 40 of profit, 0.4 of the opening fee of 1, 0.44 to close
    assert (part.pnl, part.open_fee, part.close_fee) == (D("39.16"), D("0.4"), D("0.44"))
    assert (position.realised, position.open_fee) == (D("39.06"), D("0.6"))


def test_every_account_answers_for_its_legs_not_only_the_practice_exchanges():
    held = account()
    held.place(order(), 0, at_once=True)
    assert [(one.index, one.qty) for one in held.legs(SYMBOL)] == [(0, 10)]
    assert held.leg(SYMBOL, 0) is held.position(SYMBOL)
    with pytest.raises(Rejected) as refused:
        held.leg(SYMBOL, 1)
    assert (code_of(refused.value), words_of(refused.value)) == (10001, "position idx not match position mode")
    assert refused.value.objection is Objection.MODE

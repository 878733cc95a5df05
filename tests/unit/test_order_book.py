"""The order book: what it holds, how it splits orders, and that slices change no trade's plan."""

from dataclasses import replace
from decimal import Decimal as D

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain import fills
from domain.account import AccountState, ClosedPnl, Execution, SimulatedAccount, VenueOrder, VenuePosition, executions
from domain.account_state import EndReason
from domain.candle import Bar
from domain.direction import Fate, Slicing, equal_slices
from domain.errors import Rejected
from domain.fills import Costs
from domain.instrument import Instrument
from domain.order import OrderKind, OrderSide
from domain.order_book import LEVELS, MAKERS, OrderBooks
from sandbox.codes import code_of

RULES = Instrument("A/USDT:USDT", "AUSDT", D("0.1"), D("0.01"), D("0.01"), D(100_000), D(5), D(50))
SYMBOL, MINUTE = RULES.symbol, 60_000
BUY, SELL = OrderSide.BUY, OrderSide.SELL
DEEP, THIN = 10_000_000.0, 1_000.0


def books(turnover: float = DEEP, rules: Instrument = RULES) -> OrderBooks:
    made = OrderBooks({SYMBOL: rules}, Costs())
    made.on_bar(SYMBOL, 0, MINUTE, turnover)
    return made


def account(turnover: float | None = DEEP, wallet: int = 10_000_000) -> SimulatedAccount:
    """An account with the last price at 100; without books where there is no turnover."""
    held = SimulatedAccount(
        AccountState(wallet=D(wallet)), {SYMBOL: RULES}, Costs(), books=None if turnover is None else books(turnover)
    )
    held.mark(SYMBOL, D(100))
    return held


def order(side=BUY, kind=OrderKind.MARKET, qty="10", **more) -> VenueOrder:
    return VenueOrder(id="", symbol=SYMBOL, side=side, kind=kind, qty=D(qty), **{"link_id": "", **more})


def bar(opened, high, low, close, time=MINUTE, turnover=DEEP) -> Bar:
    return Bar(time, float(opened), float(high), float(low), float(close), 1.0, turnover)


def finish(held: SimulatedAccount, now: int = 60_000) -> list:
    return held.on_time(now)


def test_the_first_level_is_where_the_cost_model_fills_and_prices_get_worse():
    bids, asks = books().book(SYMBOL, D(100), LEVELS)
    assert asks[0].price == fills.market_price(BUY, D(100), RULES, Costs())
    assert bids[0].price == fills.market_price(SELL, D(100), RULES, Costs())
    assert [level.price for level in asks] == sorted({level.price for level in asks})
    assert [level.price for level in bids] == sorted({level.price for level in bids}, reverse=True)
    assert all(RULES.floor_qty(level.qty) == level.qty > 0 for level in (*bids, *asks))
    assert len(books().book(SYMBOL, D(100), 5)[0]) == 5


def test_a_cheap_contract_has_no_bids_below_its_tick():
    bids, _ = books().book(SYMBOL, D("0.3"), LEVELS)
    assert bids[-1].price >= RULES.tick
    assert len(bids) == len({level.price for level in bids})


def test_depth_follows_the_turnover_and_a_quiet_minute_leaves_some():
    first = [books(turnover).book(SYMBOL, D(100), 1)[1][0].qty for turnover in (0.0, 1e5, 1e6)]
    assert first[0] >= D(10)
    assert first[2] == pytest.approx(10 * first[1], rel=D("0.01"))
    busy = replace(RULES, turnover_24h=D(1_440_000_000))
    assert books(0.0, busy).book(SYMBOL, D(100), 1)[1][0].qty >= D(2_500)


def test_the_length_of_the_bar_does_not_matter():
    short, long = books(1e6), OrderBooks({SYMBOL: RULES}, Costs())
    long.on_bar(SYMBOL, 0, 3 * MINUTE, 3e6)
    assert short.book(SYMBOL, D(100), 20) == long.book(SYMBOL, D(100), 20)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 5_000_000), st.floats(0, 1e8), st.sampled_from([BUY, SELL]), st.text(max_size=5), st.integers(0, 9)
)
def test_an_order_gets_whole_steps_that_add_up_no_better_than_the_published_book(steps, turnover, side, key, time):
    made, qty = books(), steps * RULES.step
    made.on_bar(SYMBOL, time * MINUTE, MINUTE, turnover)
    first = fills.market_price(side, D(100), RULES, Costs())
    taken = made.take(SYMBOL, side, first, qty, worst=D(100) * (1 + side.sign * D("0.03")), key=key)
    again = made.take(SYMBOL, side, first, qty, worst=D(100) * (1 + side.sign * D("0.03")), key=key)
    assert taken == again
    assert sum((one.qty for one in taken.slices), taken.left) == qty
    assert all(one.qty >= RULES.step and RULES.floor_qty(one.qty) == one.qty for one in taken.slices)
    assert bool(taken.left) == bool(taken.reason)
    bids, asks = made.book(SYMBOL, D(100), LEVELS)
    offered = {level.price: level.qty for level in (asks if side is BUY else bids)}
    for price, most in offered.items():
        assert sum(one.qty for one in taken.slices if one.price == price) <= most
    assert {one.price for one in taken.slices} <= offered.keys()
    for price in offered:
        assert sum(one.price == price for one in taken.slices) <= MAKERS


def test_books_differ_from_bar_to_bar():
    made = books()
    before = made.book(SYMBOL, D(100), 5)
    made.on_bar(SYMBOL, MINUTE, MINUTE, DEEP)
    assert made.book(SYMBOL, D(100), 5) != before


def test_a_market_order_walks_and_what_finds_no_maker_is_cancelled():
    held = account(THIN)
    events = [*held.place(order(qty="500"), 1, at_once=True), *finish(held)]
    some = executions(events)
    assert len({one.price for one in some}) > 3
    assert sum(one.qty for one in some) == held.position(SYMBOL).qty == D(500)

    held = account(THIN)
    events = [*held.place(order(qty="50000"), 1, at_once=True), *finish(held)]
    ended = [one for one in events if isinstance(one, VenueOrder)][-1]
    assert (ended.status, ended.reject_reason) == ("Cancelled", EndReason.NO_MAKER)
    assert 0 < ended.filled == held.position(SYMBOL).qty < ended.qty
    assert held.state.orders == {}


def test_what_the_exchange_itself_closes_is_closed_whole_however_thin_the_book():
    held = account(THIN)
    held.state.positions[SYMBOL] = VenuePosition(symbol=SYMBOL, qty=D(90_000), avg_price=D(100))
    held.director = ends(Fate(D(0), "Cancelled", "EC_Others"))
    closing = order(SELL, qty="90000", reduce_only=True, forced=True)
    (fill,) = executions(held.place(closing, 0, at_once=True))
    assert (fill.qty, held.position(SYMBOL).qty) == (D(90_000), 0)


def test_slices_of_one_moment_are_one_closed_profit_that_adds_up():
    held = account(THIN)
    held.place(order(qty="300"), 0, at_once=True)
    finish(held)
    events = [*held.place(order(SELL, qty="300", reduce_only=True), 1, at_once=True), *finish(held)]
    closed = [one for one in events if isinstance(one, ClosedPnl)]
    sold = executions(events)
    assert sum(one.fills for one in closed) == len(sold) > len(closed)
    assert sum(one.qty for one in closed) == 300
    assert sum(one.close_fee for one in closed) == sum(one.fee for one in sold)
    value = sum(one.qty * one.exit_price for one in closed)
    assert abs(value - sum(one.qty * one.price for one in sold)) < D("1e-12")


def test_a_price_band_stops_a_market_order():
    made = books(THIN)
    taken = made.take(SYMBOL, BUY, D("100.1"), D(5_000), worst=D(101), key="")
    assert taken.reason == EndReason.PRICE_BAND
    assert all(one.price <= D(101) for one in taken.slices)


def sliced(parts: int, apart: int = 0):
    """Direct every order into so many slices."""

    class Director:
        def fate(self, _):
            return None

        def slicing(self, _):
            return Slicing(parts, apart)

    return Director()


def ends(fate: Fate):
    """Direct every order to a fate."""

    class Director:
        def fate(self, _):
            return fate

        def slicing(self, _):
            return None

    return Director()


def test_slices_apart_in_time_leave_the_order_partly_filled_and_its_stop_grows():
    held = account()
    held.director = sliced(4, 1_000)
    events = held.place(order(qty="10", link_id="one", stop=D(95), target=D(110)), 0, at_once=True)
    for number in range(1, 4):
        (working,) = (one for one in held.state.orders.values() if one.link_id)
        done = D("2.5") * number
        assert (working.status, working.filled, held.position(SYMBOL).qty) == ("PartiallyFilled", done, done)
        assert executions(events)[-1].leaves == 10 - done
        assert {(one.stop_type, one.qty) for one in held.state.orders.values() if one.stop_type} == {
            ("StopLoss", done), ("TakeProfit", done)
        }  # fmt: skip
        assert held.next_due == number * 1_000
        assert held.on_time(number * 1_000 - 1) == []
        events = held.on_time(number * 1_000)
    told = [one.status for one in events if isinstance(one, VenueOrder) and one.link_id]
    assert told == ["Filled"]
    assert held.next_due is None
    assert {one.qty for one in held.state.orders.values()} == {D(10)}


def test_a_stop_moved_between_two_slices_stays_where_it_was_moved():
    held = account()
    held.director = sliced(2, 1_000)
    held.place(order(stop=D(95)), 0, at_once=True)
    held.set_stops(SYMBOL, 500, stop=D(97), target=None)
    finish(held)
    ((trigger, qty),) = {(one.trigger, one.qty) for one in held.state.orders.values()}
    assert (trigger, qty) == (D(97), D(10))


def test_an_order_that_is_being_filled_can_be_cancelled_and_keeps_what_it_has():
    held = account()
    held.director = sliced(2, 1_000)
    held.place(order(), 0, at_once=True)
    (working,) = held.state.orders.values()
    with pytest.raises(Rejected) as refused:
        held.amend(working.id, 1, qty=D(6), price=None, trigger=None)
    assert code_of(refused.value) == 110079
    (ended,) = held.cancel(working.id, 1)
    assert (ended.status, ended.filled) == ("Cancelled", D(5))
    assert (finish(held), held.position(SYMBOL).qty) == ([], D(5))


def test_a_state_with_an_order_half_filled_can_be_written_down_and_gone_on_with():
    import msgspec

    held = account()
    held.director = sliced(2, 1_000)
    held.place(order(), 0, at_once=True)
    state = msgspec.json.decode(msgspec.json.encode(held.state), type=AccountState)
    again = SimulatedAccount(state, {SYMBOL: RULES}, Costs(), books=books())
    assert sum(one.qty for one in executions(again.on_time(1_000))) == 5
    assert again.position(SYMBOL).qty == 10


def test_what_waits_is_filled_before_the_next_bar_moves_on():
    held = account()
    held.director = sliced(2, 1_000)
    held.place(order(), 0, at_once=True)
    (fill,) = executions(held.on_bar(SYMBOL, bar(120, 121, 119, 120), 2 * MINUTE))
    assert fill.price < 101


@pytest.mark.parametrize("side", [BUY, SELL])
def test_a_touch_fills_a_part_and_a_bar_that_goes_through_all_of_it(side):
    shares = set()
    for number in range(20):
        held = account()
        level = D(100) - side.sign
        held.place(order(side, OrderKind.LIMIT, price=level, link_id=f"l{number}"), 0, at_once=True)
        far = 100 + side.sign
        high, low = (far, level) if side is BUY else (level, far)
        fills_now = executions(held.on_bar(SYMBOL, bar(100, high, low, 100), 2 * MINUTE))
        done = sum(one.qty for one in fills_now)
        assert RULES.step <= done <= 10
        shares.add(done)
        assert all(one.maker and one.price == level for one in fills_now)
        if done < 10:
            (working,) = held.state.orders.values()
            assert (working.status, working.filled) == ("PartiallyFilled", done)
        beyond = level - side.sign
        high, low = (far, beyond) if side is BUY else (beyond, far)
        rest = executions(held.on_bar(SYMBOL, bar(100, high, low, 100, 2 * MINUTE), 3 * MINUTE))
        assert done + sum(one.qty for one in rest) == 10
        assert held.state.orders == {}
    assert len(shares) > 10


def test_without_a_book_a_touch_fills_all():
    held = account(None)
    held.place(order(kind=OrderKind.LIMIT, price=D(99)), 0, at_once=True)
    (fill,) = executions(held.on_bar(SYMBOL, bar(100, 101, 99, 100), 2 * MINUTE))
    assert fill.qty == 10


def test_a_resting_order_that_filled_in_part_is_cancelled_with_what_it_has():
    held = account()
    held.place(order(kind=OrderKind.LIMIT, price=D(99), link_id="x"), 0, at_once=True)
    held.on_bar(SYMBOL, bar(100, 101, 99, 100), 2 * MINUTE)
    (working,) = held.state.orders.values()
    (ended,) = held.cancel(working.id, 3 * MINUTE)
    # Bybit: derivatives end Cancelled though they have filled; PartiallyFilledCanceled is spot's
    assert ended.status == "Cancelled"
    assert 0 < ended.filled < 10


@pytest.mark.parametrize("turnover", [None, DEEP])
@pytest.mark.parametrize(
    ("price", "force", "status", "reason"),
    [
        (D("100.5"), "PostOnly", "Cancelled", EndReason.POST_ONLY),
        (D(99), "PostOnly", "New", EndReason.NONE),
        (D(99), "IOC", "Cancelled", EndReason.NO_MAKER),
        (D(99), "FOK", "Cancelled", EndReason.NO_MAKER),
        (D("100.5"), "IOC", "Filled", EndReason.NONE),
        (D("100.5"), "FOK", "Filled", EndReason.NONE),
        (D("100.5"), "GTC", "Filled", EndReason.NONE),
    ],
)
def test_time_in_force_is_honoured(turnover, price, force, status, reason):
    held = account(turnover)
    limit = order(kind=OrderKind.LIMIT, qty="1", price=price, time_in_force=force)
    events = [*held.place(limit, 0, at_once=True), *finish(held)]
    last = [one for one in events if isinstance(one, VenueOrder)][-1]
    assert (last.status, last.reject_reason) == (status, reason)
    assert bool(executions(events)) == (status == "Filled")


def test_what_does_not_rest_is_decided_at_once_though_the_market_steps():
    held = account()
    events = held.place(
        order(kind=OrderKind.LIMIT, price=D(99), time_in_force="IOC"), 0, at_once=False
    )  # fmt: skip
    assert events[-1].status == "Cancelled"
    held.place(order(kind=OrderKind.LIMIT, price=D("100.5"), time_in_force="GTC"), 0, at_once=False)
    assert [one.status for one in held.state.orders.values()] == ["New"]


def test_a_book_too_thin_fills_an_ioc_in_part_and_a_fok_not_at_all_and_leaves_the_rest_of_a_gtc():
    ended = {}
    for force in ("IOC", "FOK", "GTC"):
        held = account(THIN)
        limit = order(kind=OrderKind.LIMIT, qty="500", price=D("100.1"), time_in_force=force)
        events = [*held.place(limit, 0, at_once=True), *finish(held)]
        last = [one for one in events if isinstance(one, VenueOrder)][-1]
        ended[force] = (last.status, last.reject_reason, 0 < last.filled < 500)
        assert all(one.price <= D("100.1") for one in executions(events))
    assert ended == {
        "IOC": ("Cancelled", EndReason.PRICE_BAND, True),
        "FOK": ("Cancelled", EndReason.NOT_WHOLE, False),
        "GTC": ("PartiallyFilled", EndReason.NONE, True),
    }


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"kind": OrderKind.LIMIT, "price": D("115.1")}, 110003),
        ({"kind": OrderKind.LIMIT, "price": D("84.9"), "side": SELL}, 110003),
        ({"qty": "0", "side": SELL, "reduce_only": True, "close_on_trigger": True}, 110017),
        ({"qty": "0"}, 10001),
        ({"kind": OrderKind.LIMIT, "price": D(99), "time_in_force": "Forever"}, 10001),
    ],
)
def test_what_the_exchange_refuses(change, code):
    with pytest.raises(Rejected) as refused:
        account().place(order(**change), 0, at_once=True)
    assert code_of(refused.value) == code


def test_a_limit_far_on_its_own_side_of_the_market_is_no_price_beyond_the_limit():
    held = account()
    held.place(order(kind=OrderKind.LIMIT, price=D(20)), 0, at_once=True)
    held.place(order(SELL, OrderKind.LIMIT, price=D(500)), 0, at_once=True)
    assert len(held.state.orders) == 2


def test_a_reduction_with_a_stop_of_its_own_is_refused():
    held = account()
    held.place(order(), 0, at_once=True)
    finish(held)
    with pytest.raises(Rejected) as refused:
        held.place(order(SELL, reduce_only=True, stop=D(105)), 1, at_once=True)
    assert code_of(refused.value) == 10001


def test_zero_that_reduces_and_closes_on_trigger_is_the_whole_position():
    held = account()
    held.place(order(qty="12.34", stop=D(90)), 0, at_once=True)
    finish(held)
    held.place(order(SELL, qty="0", reduce_only=True, close_on_trigger=True), 1, at_once=True)
    finish(held)
    assert (held.position(SYMBOL).qty, held.state.orders) == (0, {})


def test_amendments_that_change_nothing_or_cannot_be_are_refused():
    held = account()
    held.place(order(kind=OrderKind.LIMIT, price=D(99)), 0, at_once=True)
    (name,) = held.state.orders
    held.on_bar(SYMBOL, bar(100, 101, 99, 100), 2 * MINUTE)
    filled = held.state.orders[name].filled
    for change, code in (
        ({"price": D(99)}, 10001), ({"qty": D(10), "price": D(99)}, 10001), ({}, 10001), ({"qty": filled}, 110064),
        ({"price": D(120)}, 110003), ({"price": D("99.05")}, 10001),
    ):  # fmt: skip
        with pytest.raises(Rejected) as refused:
            held.amend(name, 1, **{"qty": None, "price": None, "trigger": None, **change})
        assert code_of(refused.value) == code, change
    held.amend(name, 1, qty=D(11), price=D(98), trigger=None)
    assert (held.state.orders[name].qty, held.state.orders[name].price) == (D(11), D(98))


def test_an_order_amended_to_cross_the_market_fills_at_once_or_is_cancelled_when_it_may_only_rest():
    for force, status in (("GTC", "Filled"), ("PostOnly", "Cancelled")):
        held = account()
        held.place(order(kind=OrderKind.LIMIT, price=D(99), time_in_force=force), 0, at_once=True)
        (name,) = held.state.orders
        events = held.amend(name, 1, qty=None, price=D("100.5"), trigger=None, at_once=True) + finish(held)
        assert [one.status for one in events if isinstance(one, VenueOrder)][-1] == status
        assert held.state.orders == {}


@pytest.mark.parametrize("turnover", [None, DEEP])
@pytest.mark.parametrize(("share", "status"), [("0", "Cancelled"), ("0.4", "Cancelled"), ("0.4", "Rejected")])
def test_an_accepted_order_ends_as_directed(turnover, share, status):
    held = account(turnover)
    held.director = ends(Fate(D(share), status, EndReason.PRICE_BAND, 2_000))
    held.place(order(stop=D(95)), 0, at_once=True)
    working = next(one for one in held.state.orders.values() if not one.stop_type)
    assert (working.filled, held.position(SYMBOL).qty) == (10 * D(share), 10 * D(share))
    assert finish(held, 1_999) == []
    (ended,) = finish(held, 2_000)
    assert (ended.status, ended.reject_reason, ended.filled) == (status, EndReason.PRICE_BAND, 10 * D(share))
    stops = [one.qty for one in held.state.orders.values()]
    assert stops == ([10 * D(share)] if D(share) else [])


def test_a_stop_that_the_exchange_ends_is_gone_from_the_position():
    held = account()
    held.place(order(stop=D(95), target=D(110)), 0, at_once=True)
    finish(held)
    held.director = ends(Fate(D("0.3"), "Cancelled", EndReason.NO_MAKER))
    events = held.on_bar(SYMBOL, bar(100, 101, 94, 96), 2 * MINUTE)
    assert sum(one.qty for one in executions(events)) == 3
    position = held.position(SYMBOL)
    assert (position.qty, position.stop, position.target) == (D(7), 0, D(110))
    assert [(one.stop_type, one.qty) for one in held.state.orders.values()] == [("TakeProfit", D(7))]
    assert [one.stop for one in events if isinstance(one, VenuePosition)][-1] == 0


def test_a_position_turned_round_loses_what_protected_its_old_side():
    held = account()
    held.place(order(stop=D(95), target=D(110)), 0, at_once=True)
    held.place(order(SELL, qty="30"), 1, at_once=True)
    finish(held)
    assert (held.position(SYMBOL).qty, held.position(SYMBOL).stop, held.state.orders) == (D(-20), 0, {})


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_an_order_that_turns_a_position_round_protects_the_new_side_only(parts):
    held = account()
    held.place(order(stop=D(95), target=D(110)), 0, at_once=True)
    finish(held)
    held.director = sliced(parts, 1_000)
    held.place(order(SELL, qty="12", stop=D(104), target=D(90)), 1, at_once=True)
    if parts > 1:
        assert (held.position(SYMBOL).stop, held.position(SYMBOL).target) == (D(95), D(110))
    finish(held)
    assert {(one.side, one.trigger, one.qty) for one in held.state.orders.values()} == {
        (BUY, D(104), D(2)), (BUY, D(90), D(2))
    }  # fmt: skip


def test_equal_slices_are_whole_steps_and_never_more_than_there_are():
    for steps in (1, 2, 7, 100):
        for parts in (1, 2, 3, 8):
            made = equal_slices(steps * RULES.step, D(1), parts, RULES.step)
            assert len(made) == min(steps, parts)
            assert sum(one.qty for one in made) == steps * RULES.step
            assert all(one.qty >= RULES.step for one in made)


actions = st.lists(
    st.tuples(st.sampled_from(["long", "short", "leave", "limit", "bar"]), st.integers(1, 4_000), st.integers(-4, 4)),
    max_size=25,
)


def play(held: SimulatedAccount, moves) -> list:
    """Trade on quarter-tick bars, so that no resting order is merely touched; return all events."""
    price, time, events = 100.0, MINUTE, []
    for number, (kind, steps, move) in enumerate(moves):
        qty, mark, at = steps * RULES.step, RULES.price(price), held.position(SYMBOL).qty
        link = {"link_id": f"o{number}", "qty": str(qty)}
        try:
            if kind in {"long", "short"}:
                side = BUY if kind == "long" else SELL
                more = {"stop": mark - side.sign * 3, "target": mark + side.sign * 5}
                events += held.place(order(side, **link, **more), time, at_once=steps % 2 == 0)
            elif kind == "leave" and at:
                part = min(abs(at), qty)
                away = {"reduce_only": True, **link, "qty": str(part)}
                events += held.place(order(SELL if at > 0 else BUY, **away), time, at_once=True)
            elif kind == "limit" and move:
                side = BUY if move < 0 else SELL
                events += held.place(order(side, OrderKind.LIMIT, price=mark + move, **link), time, at_once=True)
            elif kind == "bar":
                close = max(50.0, price + move)
                high, low = max(price, close) + 0.55, min(price, close) - 0.55
                high, low = float(RULES.price(high)) + 0.1, float(RULES.price(low)) - 0.1
                events += held.on_time(time + MINUTE - 1)
                events += held.on_bar(SYMBOL, bar(price, high, low, close, time), time + MINUTE)
                price, time = close, time + MINUTE
        except Rejected:
            continue
        events += held.on_time(time + MINUTE - 1)
    return events


def summary(held: SimulatedAccount, events) -> tuple:
    per_order: dict[str, list] = {}
    for one in executions(events):
        per_order.setdefault(one.link_id or one.stop_type, []).append(one)
    totals = {
        name: (sum(one.qty for one in some), round(sum(one.qty * one.price for one in some), 12))
        for name, some in per_order.items()
    }
    waiting = sorted(
        (one.stop_type, one.side, one.qty - one.filled, one.level) for one in held.state.orders.values() if one.level
    )
    return totals, waiting, held.position(SYMBOL).qty


@settings(max_examples=200, deadline=None)
@given(actions)
def test_slices_change_no_trades_plan(moves):
    """What fits the first level comes to the same money, positions and protection in one execution or in many."""
    whole, parts = account(None), account(1e10)
    one, many = play(whole, moves), play(parts, moves)
    assert summary(whole, one) == summary(parts, many)
    assert abs(whole.state.wallet - parts.state.wallet) < D("1e-9")
    assert abs(whole.position(SYMBOL).avg_price - parts.position(SYMBOL).avg_price) < D("1e-12")


@settings(max_examples=80, deadline=None)
@given(actions, st.sampled_from([0.0, 3e4, 1e6]))
def test_slices_add_up_and_are_the_same_each_time(moves, turnover):
    runs = []
    for _ in range(2):
        held = account(turnover)
        runs.append((held, play(held, moves)))
    (held, events), (_, again) = runs
    assert events == again
    for name in {one.order_id for one in executions(events)}:
        some = [one for one in executions(events) if one.order_id == name]
        last = [one for one in events if isinstance(one, VenueOrder) and one.id == name][-1]
        assert sum(one.qty for one in some) == last.filled <= last.qty
        assert sum(one.qty * one.price for one in some) == last.value
        assert sum(one.fee for one in some) == last.fee
        assert all(one.fee == one.qty * one.price * one.fee_rate for one in some)
        assert [one.leaves for one in some] == sorted((one.leaves for one in some), reverse=True)
    fees = sum((one.fee for one in events if isinstance(one, Execution)), D(0))
    closed = sum((e.pnl + e.open_fee + e.close_fee for e in events if isinstance(e, ClosedPnl)), D(0))
    assert abs(held.state.wallet - (D(10_000_000) + closed - fees)) < D("1e-9")
    assert held.position(SYMBOL).qty == sum((one.qty * one.side.sign for one in executions(events)), D(0))

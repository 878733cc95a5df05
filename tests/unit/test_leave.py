"""A strategy says leave: positions and phantoms are left on that bar, live, after a restart and in a backtest."""

from __future__ import annotations

from decimal import Decimal as D

import pytest

from domain.candle import Bar, Bars, ClosedBar, Series
from domain.exits import ExitPlan
from domain.fills import Costs
from domain.ids import Identity
from domain.instrument import Instrument
from domain.leaves import Leaves
from domain.order import Cause, OrderKind, Side
from domain.records import Fill
from domain.signal import Leave
from engine.commands import CancelOrder, MoveStop, PlaceOrder, SwitchedOff
from engine.positions import Book
from engine.trader import Plan, Trader, TraderTerms
from ml.phantom_tracker import PhantomTradeTracker
from tests.unit.test_decisions import LIMITS, STEP, A, B, Theirs, signal, world

WHO = Identity("synthetic", "synthetic", "1")
FREE = Costs(D(0), D(0), D(0), D(0))


def enter(symbol, start, _, **changed):
    return signal(symbol, start, **changed)


def leave(side=None):
    return lambda *_: Leave(side)


def placed(commands) -> list[PlaceOrder]:
    return [one for one in commands if isinstance(one, PlaceOrder)]


def filled(trader, order: PlaceOrder, name: str, price: str = "100", qty: D | None = None):
    request = order.request
    return trader.on_fill(
        Fill(
            time=order.intent.time + 1, exec_id=name, order_id=request.order_id, venue_order_id=name,
            symbol=request.symbol, side=request.side, qty=qty or request.qty, price=D(price), fee=D(0),
            closed_qty=request.qty if request.reduce_only else D(0), cause=Cause.UNKNOWN if request.reduce_only else Cause.ENTRY,
        )
    )  # fmt: skip


def opened(on: dict, exits=ExitPlan(), **terms):
    trader, bar = world({0: enter, **on}, exits=exits, **terms)
    (entry,) = placed(bar())
    filled(trader, entry, "e")
    return trader, bar, entry


@pytest.mark.parametrize(("side", "leaves"), [(None, True), (Side.LONG, True), (Side.SHORT, False)])
def test_what_is_held_on_the_side_that_is_meant_is_closed_at_the_market_for_its_own_cause(side, leaves):
    trader, bar, entry = opened({2: leave(side)})
    bar()
    orders = placed(bar())
    assert [one.intent.cause for one in orders] == ([Cause.EXIT_SIGNAL] if leaves else [])
    if not leaves:
        return
    (out,) = orders
    assert (out.request.kind, out.request.reduce_only, out.request.qty) == (OrderKind.MARKET, True, entry.request.qty)
    assert placed(bar()) == []
    filled(trader, out, "x", "101")
    (held,) = trader.flat()
    trade = held.to_trade(WHO)
    assert (trade.exit_reason, trade.r_multiple, trade.legs[-1].cause) == ("exit_signal", D("0.5"), "exit_signal")


def test_leaving_comes_before_the_timeout_and_before_the_stop_moves():
    exits = ExitPlan(trail_start_r=0.1, trail_distance_r=0.1, timeout_ms=2 * STEP)
    _, bar, _ = opened({2: leave()}, exits)
    bar(close=100.1)
    last = bar(close=103.0)
    assert [one.intent.cause for one in placed(last)] == [Cause.EXIT_SIGNAL]
    assert not [one for one in last if isinstance(one, MoveStop)]


def test_what_another_strategy_holds_is_not_left():
    trader, bar = world({1: leave(), 2: leave()}, {0: lambda symbol, start, _: signal(symbol, start, "other")})
    (entry,) = placed(bar())
    filled(trader, entry, "e")
    assert placed(bar()) == placed(bar(B)) == placed(bar()) == []


def test_an_entry_that_has_not_filled_is_withdrawn_and_what_filled_of_it_is_closed():
    _, bar = world({0: enter, 1: leave()}, limit_entries=True)
    (entry,) = placed(bar())
    assert [type(one) for one in bar()] == [CancelOrder]
    trader, bar = world({0: enter, 1: leave()}, limit_entries=True)
    (entry,) = placed(bar())
    filled(trader, entry, "half", qty=entry.request.qty / 2)
    withdrawn, out = bar()
    assert (type(withdrawn), out.intent.cause, out.request.qty) == (
        CancelOrder,
        Cause.EXIT_SIGNAL,
        entry.request.qty / 2,
    )
    # the rest fills while it is being withdrawn: it is closed for the same reason
    filled(trader, out, "x", qty=out.request.qty)
    late = placed(filled(trader, entry, "rest", qty=entry.request.qty / 2))
    assert [one.intent.cause for one in late] == [Cause.EXIT_SIGNAL]


WRONG = {"a word": "long", "a number": 1, "an order's side": "Sell"}


@pytest.mark.parametrize("name", WRONG)
def test_a_side_that_is_none_switches_the_strategy_off_and_leaves_nothing(name):
    trader, bar, _ = opened({1: leave(WRONG[name])})
    commands = bar()
    (off,) = [one for one in commands if isinstance(one, SwitchedOff)]
    assert f"a Leave whose side is {WRONG[name]!r}" in off.reason
    assert placed(commands) == []
    assert trader.book.of_symbol(A).bracket.stop == D(98)


def reborn(records, on: dict, rows: list[Bar], **known) -> Trader:
    """A trader that has read the records of a life that was cut off, and the bars up to now."""
    rules = {A: Instrument(A, "AUSDT", D("0.1"), D("0.01"), D("0.01"), D(100_000), D(5), D(50))}
    terms = TraderTerms(
        WHO, LIMITS, {"theirs": Plan(Theirs(on), ExitPlan())}, paper=False, unfilled_timeout_ms=9 * STEP
    )
    trader = Trader(terms, rules, lambda _: Bars.of(rows))
    trader.situation.equity, trader.situation.market_time = D(10_000), len(rows) * STEP
    for record in records:
        trader.restore(record)
    trader.warm_up(A, 2 * STEP, **known)
    return trader


@pytest.mark.parametrize("known", [{}, {"leaving": True}])
def test_what_was_said_before_the_order_was_written_down_is_done_at_the_next_start_and_once(known):
    """Killed between the close of the bar and the journal; also where the symbol is traded no more."""
    trader, bar, _ = opened({2: leave()})
    bar()
    records = list(trader.book.live())
    rows = [Bar(at * STEP, 100.0, 100.5, 99.5, 100.0, 1.0, 1.0) for at in range(5)]
    on = {0: enter, 2: leave()}
    again = reborn(records, on, rows, **known)
    (out,) = placed(again.resume())
    assert (out.intent.cause, out.request.reduce_only) == (Cause.EXIT_SIGNAL, True)
    assert placed(again.resume()) == []
    # killed once more, now behind the journal: the order is known, and asked for no second time
    third = reborn([*records, out.intent], on, rows, **known)
    assert placed(third.resume()) == []
    assert third.book.of_symbol(A).exit_cause is Cause.EXIT_SIGNAL


def test_records_alone_give_the_same_book():
    trader, bar, entry = opened({1: leave()})
    (out,) = placed(bar())
    replayed = Book()
    for record in [*trader.book.live()]:
        replayed.apply(record)
    (one,), (other,) = replayed.positions(), trader.book.positions()
    assert (one.orders, one.fills, one.exit_cause, one.exit_attempts) == (
        other.orders, other.fills, Cause.EXIT_SIGNAL, 1,
    )  # fmt: skip
    assert (replayed.of_symbol(A).exit_order, replayed.of_symbol(A).entry_order) == (
        out.request.order_id, entry.request.order_id,
    )  # fmt: skip


def test_what_was_said_before_the_position_was_there_leaves_nothing_at_a_start():
    trader, bar, _ = opened({})
    bar()
    rows = [Bar(at * STEP, 100.0, 100.5, 99.5, 100.0, 1.0, 1.0) for at in range(4)]
    assert placed(reborn(trader.book.live(), {0: leave()}, rows).resume()) == []


def test_where_only_leaving_is_left_no_entry_is_made():
    rows = [Bar(0, 100.0, 100.5, 99.5, 100.0, 1.0, 1.0)]
    trader = reborn([], {1: enter}, rows, leaving=True)
    rows.append(Bar(STEP, 100.0, 100.5, 99.5, 100.0, 1.0, 1.0))
    assert trader.on_bar(ClosedBar(Series(A, "3m"), rows[-1]))[1:] == []
    assert trader.counts["signals"] == 0


def test_a_phantom_is_left_on_the_same_bar_and_the_rest_of_it_in_r():
    rules, leaves = Instrument(A, "AUSDT", D("0.1"), D("0.01"), D("0.01"), D(100_000), D(5), D(50)), Leaves()
    tracker = PhantomTradeTracker(WHO, {"theirs": ExitPlan(timeout_ms=2 * STEP)}, lambda _: rules, FREE, leaves)
    series = Series(A, "3m")
    tracker.record_signal(A, signal(A, 0), None, False, None, "theirs", "score")
    tracker.record_signal(A, signal(A, -STEP, time=0, side=Side.SHORT, stop=102.0, target=95.0), None, False, None,
                          "theirs", "score")  # fmt: skip
    leaves.note("theirs", series, 0, Leave(Side.SHORT))
    leaves.note("other", series, STEP, Leave())
    leaves.note("theirs", series, 2 * STEP, Leave(Side.LONG))
    ended = [
        (one.exit_reason, one.realized_rr, one.outcome, one.exit_time // STEP)
        for at in range(3)
        for one in tracker.update_phantom_prices(ClosedBar(series, Bar(at * STEP, 100, 101.5, 99, 100 + at / 2, 1, 1)))
    ]
    # said on the bar on which its time was up as well: the strategy comes first
    assert ended == [("exit_signal", D(0), "loss", 1), ("exit_signal", D("0.5"), "win", 3)]


def test_of_what_was_said_only_so_much_is_kept():
    leaves, series = Leaves(2), Series(A, "3m")
    for at in range(3):
        leaves.note("theirs", series, at * STEP, Leave())
    assert [leaves.on_bar("theirs", series, at * STEP, Side.LONG) for at in range(3)] == [False, True, True]

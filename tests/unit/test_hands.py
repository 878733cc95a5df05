"""Hands other than the bot's on its positions: each is noticed once, told, and met by its rule."""

from __future__ import annotations

from decimal import Decimal as D
from types import SimpleNamespace

import pytest

from domain.order import Cause, OrderSide, OrderState, Side
from domain.records import Fill, OrderEnded, StopMoved, Touch
from engine.intake import Intake
from tests.torture.virtual import run_virtually
from tests.unit.test_reconciliation import A, Case, fill, opened
from tests.unit.test_trader import World

SELL, BUY = OrderSide.SELL, OrderSide.BUY


def seen(case: Case, qty=None, stop=None, target=None):
    """Have the exchange report the position, by default as the book has it, and compare."""
    held = case.trader.book.of_symbol(A)
    case.report(
        qty or held.qty, stop=str(held.bracket.stop if stop is None else stop),
        target=str(held.bracket.target if target is None else target),
    )  # fmt: skip
    case.compare()
    return held


def touches(case: Case):
    return [one.touch for one in case.shell.touches]


def by_hand(case: Case, side, qty, closed=0, number=500):
    made = Fill(
        time=10**9 + number, exec_id=f"h{number}", order_id="", venue_order_id=f"hand{number}", symbol=A, side=side, qty=D(qty),
        price=D(100), fee=D(0), closed_qty=D(closed), cause=Cause.MANUAL,
    )  # fmt: skip
    others = D(qty) - D(closed) if closed else D(0)

    async def take(_):
        for held in case.trader.book.take(made):
            await case.reconciler.guard.hands.executed(held, made, others)

    run_virtually(take)


def test_a_position_as_it_should_be_is_nobodys_business():
    case = opened()
    for _ in range(3):
        seen(case)
    assert touches(case) == []


@pytest.mark.parametrize(
    ("side", "qty", "closed", "touch"),
    [(BUY, "20", "0", Touch.ADDED), (SELL, "3", "3", Touch.REDUCED), (SELL, "all", "all", Touch.CLOSED),
     (SELL, "twice", "all", Touch.REVERSED)],
)  # fmt: skip
def test_executions_of_a_hand_are_told_for_what_they_did(side, qty, closed, touch):
    case = opened()
    whole = case.entry.request.qty
    amounts = {"all": whole, "twice": 2 * whole}
    by_hand(case, side, amounts.get(qty, qty), amounts.get(closed, closed))
    assert touches(case) == [touch]
    if touch in {Touch.CLOSED, Touch.REVERSED}:
        (held,) = case.trader.flat()
        trade = held.to_trade(case.world.terms.who)
        assert (trade.touched, trade.exit_reason, trade.quantity) == (touch.value, "manual", whole)


def test_one_order_of_a_hand_in_many_executions_is_told_once():
    case = opened()
    for number in range(3):
        made = Fill(
            time=10**9, exec_id=f"h{number}", order_id="", venue_order_id="one", symbol=A, side=BUY, qty=D(1), price=D(100),
            fee=D(0), closed_qty=D(0), cause=Cause.MANUAL,
        )  # fmt: skip

        async def take(_, made=made):
            for held in case.trader.book.take(made):
                await case.reconciler.guard.hands.executed(held, made, D(0))

        run_virtually(take)
    assert touches(case) == [Touch.ADDED]


def test_executions_of_our_own_orders_of_stops_and_of_the_exchange_are_no_hands():
    case = opened()
    for number, cause in enumerate((Cause.STOP_LOSS, Cause.ADL, Cause.LIQUIDATION)):
        made = Fill(
            time=10**9, exec_id=f"h{number}", order_id="", venue_order_id="v", symbol=A, side=SELL, qty=D(1), price=D(100),
            fee=D(0), closed_qty=D(1), cause=cause,
        )  # fmt: skip
        held = case.trader.book.of_symbol(A)
        run_virtually(lambda _, held=held, made=made: case.reconciler.guard.hands.executed(held, made, D(0)))
    assert touches(case) == []


def test_a_tighter_stop_is_kept_and_only_moved_further():
    case = opened()
    seen(case)
    held = seen(case, stop=D(99))
    assert (held.bracket.stop, touches(case)) == (D(99), [Touch.STOP_TIGHTENED])
    seen(case, stop=D(99))
    assert touches(case) == [Touch.STOP_TIGHTENED]
    assert case.exchange.stops == []


def test_a_looser_stop_is_set_again_and_told():
    case = opened()
    seen(case)
    held = seen(case, stop=D(90))
    assert (held.bracket.stop, touches(case)) == (D("98.0"), [Touch.STOP_LOOSENED])
    assert case.exchange.stops[-1][0] == D("98.0")


def test_a_stop_of_ours_that_a_late_list_shows_is_no_hands():
    case = opened()
    seen(case)
    held = case.trader.book.of_symbol(A)
    held.known_stops.add(D(99))
    seen(case, stop=D(99))
    assert touches(case) == []


def test_levels_at_which_its_stop_has_stood_are_no_news_when_a_late_list_shows_them():
    case = opened()
    seen(case)
    held = case.trader.book.of_symbol(A)
    for level in (D(99), D("99.5")):
        case.trader.restore(StopMoved(time=1, digest=held.digest, symbol=A, stop=level, cause=Cause.TRAILING_STOP))
    for late in (D(98), D(99)):
        seen(case, stop=late)
    assert touches(case) == []
    seen(case, stop=D("99.8"))
    case.trader.restore(StopMoved(time=1, digest=held.digest, symbol=A, stop=D(100), cause=Cause.TRAILING_STOP))
    for late in (D("99.5"), D("99.8")):
        seen(case, stop=late)
    assert touches(case) == [Touch.STOP_TIGHTENED]
    assert held.bracket.stop == 100


def test_a_stop_that_is_gone_is_set_again_and_told_once_it_stands():
    case = opened()
    seen(case)
    seen(case, stop=0)
    assert case.exchange.stops[-1][0] == D("98.0")
    assert touches(case) == []
    seen(case)
    assert touches(case) == [Touch.STOP_REMOVED]


def test_a_stop_that_has_just_been_hit_in_part_is_no_hands():
    case = opened()
    seen(case)
    seen(case, stop=0)
    case.trader.book.take(Fill(
        time=10**9, exec_id="s", order_id="", venue_order_id="v", symbol=A, side=SELL, qty=D(1), price=D(98), fee=D(0),
        closed_qty=D(1), cause=Cause.STOP_LOSS,
    ))  # fmt: skip
    seen(case)
    assert touches(case) == []


def test_a_target_that_is_gone_is_set_again():
    case = opened()
    for _ in range(2):
        seen(case, target=0)
    assert touches(case) == [Touch.TARGET_REMOVED]
    assert case.exchange.stops[-1] == (D("98.0"), D("105.0"))


def test_a_target_that_was_moved_stays_where_it_is():
    case = opened()
    for _ in range(2):
        held = seen(case, target=D(103))
    assert (touches(case), held.bracket.target) == ([Touch.TARGET_MOVED], D(103))


def test_a_target_that_a_hand_set_where_the_strategy_has_none_is_told_and_stays():
    case = Case(world=World({0: Side.LONG}, reward=0.0))
    case.world.entered()
    for _ in range(2):
        held = seen(case)
    assert touches(case) == []
    for _ in range(2):
        held = seen(case, target=D(103))
    assert (touches(case), held.bracket.target) == ([Touch.TARGET_MOVED], D(103))


def test_seconds_without_a_stop_count_from_when_it_was_last_seen():
    case = opened()

    async def live(loop):
        held = case.trader.book.of_symbol(A)
        case.report(held.qty, stop="98.0", target="105.0")
        await case.reconciler.compare()
        loop.jump(7.0)
        case.report(held.qty, stop="0", target="105.0")
        await case.reconciler.compare()

    run_virtually(live)
    assert case.reconciler.found.naked_s[-1] >= 7


def test_a_touched_position_is_the_same_after_a_restart():
    case = opened()
    by_hand(case, BUY, 20)
    seen(case)
    seen(case, stop=D(99))
    again = case.world.fresh()
    for record in [*case.world.records, *case.shell.records]:
        again.restore(record)
    again.book.take(next(iter(case.trader.book.of_symbol(A).fills.values())))
    held, before = again.book.of_symbol(A), case.trader.book.of_symbol(A)
    assert held.bracket.stop == before.bracket.stop == D(99)
    assert [one.touch for one in held.touches] == [Touch.ADDED, Touch.STOP_TIGHTENED]


def test_the_partial_target_grows_with_what_a_hand_has_added():
    from domain.exits import ExitPlan
    from engine.commands import CancelOrder, PlaceOrder
    from tests.unit.test_trader import World

    world = World({0: Side.LONG}, exits=ExitPlan(partial_r=1.0, partial_fraction=0.5))
    entry, (first,) = world.entered()
    (cancel,) = world.fill(qty="20", side=BUY, cause=Cause.MANUAL)
    assert (type(cancel), cancel.order_id) == (CancelOrder, first.request.order_id)
    ended = OrderEnded(1, first.request.order_id, A, OrderState.CANCELLED)
    (second,) = world.trader.on_order_ended(ended)
    assert isinstance(second, PlaceOrder)
    assert second.request.qty == (entry.request.qty + 20) / 2


def test_a_hands_execution_that_was_nobodys_until_the_entry_was_known_is_told_once():
    case = Case(world=World({0: Side.LONG}))
    (entry,) = case.world.bar()
    request, funding = entry.request, SimpleNamespace(belongs_here=lambda _: False)
    intake = Intake(
        case.trader, None, case.shell, case.reconciler, None, lambda *_: None, None, funding
    )  # fmt: skip
    since = case.trader.book.of_symbol(A).intended_at
    closing = fill(901, SELL, 3, 100, time=since + 2, closed=3, cause=Cause.MANUAL)
    opening = fill(900, BUY, request.qty, 100, time=since + 1, order_id=request.order_id, cause=Cause.ENTRY)
    for one in (closing, opening, opening):
        run_virtually(lambda _, one=one: intake.take_fills([one]))
    assert [(one.touch, one.name) for one in case.shell.touches] == [(Touch.REDUCED, "v901")]

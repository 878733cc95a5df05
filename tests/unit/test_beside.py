"""What stands beside a position of ours, or is missing from it, is met by the policy within seconds."""

import asyncio
import dataclasses
from decimal import Decimal as D

import pytest

from domain.errors import Unavailable
from domain.order import Cause, Side
from domain.records import Touch
from engine.attribution import RACE_MS
from engine.flattening import AGAIN_S
from engine.reconciliation import Policy, Reconciler, ReconcileTerms
from engine.unexplained import LATE_S, MISSING_S, WAIT_S
from tests.torture.virtual import run_virtually
from tests.unit.test_reconciliation import BUY, SELL, A, Case, fill, opened
from tests.unit.test_trader import World


def compared(case, seconds):
    """Compare every second for so long."""

    async def rounds(loop):
        while loop.time() <= seconds:
            await case.reconciler.compare()
            await asyncio.sleep(1)

    run_virtually(rounds)
    return case.reconciler.found


def beside(more, policy=Policy.IGNORE):
    """Return a case in which the exchange shows so much more than our entry has filled."""
    case = opened()
    case.reconciler = Reconciler(case.trader, case.exchange, case.shell, ReconcileTerms(policy, D("0.05"), "3m"))
    case.qty = case.entry.request.qty
    case.report(str(case.qty + D(more)), stop=str(case.entry.request.stop), target=str(case.entry.request.target))
    return case


@pytest.mark.parametrize("more", ["2", "-0.5"])
def test_a_difference_that_may_still_be_explained_is_not_met(more):
    case = beside(more)
    found = compared(case, WAIT_S - 1)
    assert (found.foreign, found.mismatched, case.shell.touches) == ([], [A], [])


def filling(more):
    """Return a case in which so much more is there than known, and the entry has so much left to fill."""
    case = Case(world=World({0: Side.LONG}, limit_entries=True))
    case.entry = case.world.bar()[0]
    request = case.entry.request
    case.trader.on_fill(fill(1, BUY, request.qty - 5, 100, order_id=request.order_id))
    case.qty = case.trader.book.of_symbol(A).qty
    case.report(str(case.qty + D(more)), stop=str(request.stop), target=str(request.target))
    return case


def test_while_an_entry_may_still_be_filling_what_is_more_is_waited_for_as_long():
    assert compared(filling("2"), WAIT_S - 1).foreign == []
    assert compared(filling("2"), WAIT_S).foreign == [A]


@pytest.mark.parametrize(("more", "seconds"), [("2", WAIT_S), ("-0.5", MISSING_S)])
def test_it_is_compared_again_in_the_moment_in_which_the_wait_is_over(more, seconds):
    """Seen: the next of the regular comparisons came two seconds later."""
    case = beside(more)

    async def once(_):
        await case.reconciler.compare()
        await asyncio.sleep(10)

    run_virtually(once)
    assert case.shell.nudges == [seconds]


def test_what_is_more_than_executions_explain_is_somebody_elses():
    case = beside("2")
    assert compared(case, WAIT_S).foreign == [A]
    assert case.trader.situation.foreign == {A: D(200)}
    assert (case.trader.book.of_symbol(A).qty, case.shell.touches) == (case.qty, [])


def test_a_list_that_leaves_it_out_does_not_begin_the_wait_anew():
    case = beside("2")

    async def rounds(_):
        shown = case.exchange.reports
        for reports in (shown, [], shown):
            case.exchange.reports = reports
            await case.reconciler.compare()
            await asyncio.sleep(WAIT_S / 2)

    run_virtually(rounds)
    assert case.reconciler.found.foreign == [A]


@pytest.mark.parametrize("late_s", [0.2, LATE_S - 0.1])
def test_an_execution_that_a_list_does_not_show_yet_does_not_begin_the_wait_anew(late_s):
    """Seen: what was missing from a position was told after 8 s, because its partial target filled meanwhile."""
    case = beside("-5")

    async def rounds(_):
        late = case.exchange.reports
        await case.reconciler.compare()
        await asyncio.sleep(1)
        case.trader.on_fill(fill(900, SELL, 7, 100, time=999_999, closed=7, cause=Cause.PARTIAL))
        await case.reconciler.compare()
        await asyncio.sleep(late_s)
        await case.reconciler.compare()
        case.exchange.reports = [dataclasses.replace(late[0], qty=late[0].qty - 7)]
        await case.reconciler.compare()
        await asyncio.sleep(MISSING_S - 1 - late_s)
        await case.reconciler.compare()

    run_virtually(rounds)
    assert [one.touch for one in case.shell.touches] == [Touch.REDUCED]


def test_what_came_to_be_known_while_executions_were_asked_for_is_not_somebody_elses():
    """Seen: an entry of ours filled in that moment, and was told as somebody else's."""
    case = filling("5")
    held = case.trader.book.of_symbol(A)
    rest = fill(901, BUY, 5, 100, time=held.intended_at + 1, order_id=case.entry.request.order_id)
    listed = [*held.fills.values(), rest]
    case.shell.catch_up = case.exchange.positions

    async def asked(*_):
        case.trader.on_fill(rest)
        return listed

    case.exchange.fills_since = asked
    assert compared(case, 0).foreign == []


def test_an_entry_that_fills_before_that_is_known_does_not_begin_the_wait_anew():
    """Seen: the list had our own fill for a moment before it was told, and the rest was nobody's for ten seconds."""
    case = filling("2")
    shown = case.exchange.reports

    async def rounds(_):
        for more in (0, 3, 0):
            case.exchange.reports = [dataclasses.replace(shown[0], qty=shown[0].qty + more)]
            await case.reconciler.compare()
            await asyncio.sleep(WAIT_S / 2)

    run_virtually(rounds)
    assert case.reconciler.found.foreign == [A]


def test_what_somebody_adds_in_the_open_does_not_begin_the_wait_anew():
    case = beside("2")
    first = case.trader.book.of_symbol(A)

    async def rounds(_):
        await case.reconciler.compare()
        await asyncio.sleep(1)
        case.trader.on_fill(fill(900, BUY, 3, 100, time=first.intended_at - 1, cause=Cause.MANUAL))
        case.report(str(case.qty + 5), stop="98", target="105")
        await case.reconciler.compare()
        await asyncio.sleep(WAIT_S - 1)
        await case.reconciler.compare()

    run_virtually(rounds)
    assert case.reconciler.found.foreign == [A]


def test_what_executions_explain_as_somebody_elses_is_so_at_once():
    case = beside("2")
    first = case.trader.book.of_symbol(A)
    case.trader.on_fill(fill(900, BUY, 2, 100, time=first.intended_at - 1, cause=Cause.MANUAL))
    assert case.trader.book.net_of_strays(A, 0) == D(2)
    assert compared(case, 0).foreign == [A]


def passed_over(*more):
    """Return a case in which two more are there, opened long before our entry, and some more executions are listed."""
    case = beside("2")
    held = case.trader.book.of_symbol(A)
    earlier = fill(900, BUY, 2, 100, time=held.intended_at - RACE_MS - 1, cause=Cause.MANUAL)
    case.exchange.fills = [earlier, *held.fills.values(), *more]
    case.shell.catch_up = case.exchange.positions
    return case


def test_what_was_opened_before_our_entry_and_passed_over_is_somebody_elses_at_once():
    """Seen: a late list let an entry out; the wait began anew with each change, and the rest was nobody's for 8 s."""
    case = passed_over()
    assert compared(case, 0).foreign == [A]
    assert (case.trader.book.of_symbol(A).qty, case.shell.touches) == (case.qty, [])


@pytest.mark.parametrize("order_id", ["", "ours"])
def test_while_an_execution_has_still_to_be_told_none_explains_a_difference(order_id):
    case = passed_over()
    own = case.entry.request.order_id if order_id else ""
    case.exchange.fills.append(fill(901, BUY, 1, 100, time=999_999, order_id=own, cause=Cause.MANUAL))
    assert compared(case, 0).foreign == []


def test_executions_that_make_up_another_quantity_explain_nothing():
    case = passed_over()
    case.exchange.fills = case.exchange.fills[1:]
    assert compared(case, 0).foreign == []


def test_where_executions_are_not_listed_the_wait_decides():
    case = passed_over()

    async def away(*_):
        raise Unavailable("away")

    case.exchange.fills_since = away
    assert compared(case, 0).foreign == []
    assert compared(case, WAIT_S).foreign == [A]


def test_executions_that_come_after_all_end_it():
    case = beside("2")
    compared(case, WAIT_S)
    case.trader.on_fill(fill(900, BUY, 2, 100, time=999_999, cause=Cause.MANUAL))
    found = compared(case, 0)
    assert (found.foreign, found.mismatched, case.trader.situation.foreign) == ([], [], {})
    assert case.trader.book.of_symbol(A).qty == case.qty + 2


def test_what_is_less_than_executions_explain_is_told_once_as_a_hands():
    case = beside("-0.5")
    found = compared(case, 20)
    (touched,) = case.shell.touches
    assert (touched.touch, touched.left) == (Touch.REDUCED, case.qty)
    assert (found.foreign, found.mismatched, case.shell.commands) == ([], [A], [])


def other_side(policy=Policy.IGNORE):
    """Return a case in which somebody's position stands where ours was, on the other side, at the same size."""
    case = beside("0", policy)
    held = case.trader.book.of_symbol(A)
    case.report(str(-held.qty))
    return case


def test_what_stands_on_the_other_side_is_somebody_elses_and_gets_no_stop_of_ours():
    """Seen: ours was taken away unlisted, and for a minute what was opened then was nobody's."""
    case = other_side()
    found = compared(case, WAIT_S)
    assert (found.foreign, found.mismatched, case.exchange.stops) == ([A], [A], [])
    assert [one.touch for one in case.shell.touches] == [Touch.REDUCED]


def test_on_the_other_side_nothing_is_adopted_into_ours_and_all_is_closed_that_is_to_be():
    case = other_side(Policy.ADOPT)
    assert compared(case, WAIT_S).foreign == [A]
    assert case.trader.book.of_symbol(A).qty == case.qty
    case = other_side(Policy.FLATTEN)
    compared(case, WAIT_S)
    (command,) = case.shell.commands
    assert (command.request.side, command.request.qty, command.request.reduce_only) == (BUY, case.qty, True)


def test_written_off_with_what_stood_beside_it_nothing_of_it_is_left():
    """Seen: what was written off was taken as the closing of the other one, and the operator's command freed nothing."""
    case = beside("2")
    held = case.trader.book.of_symbol(A)
    case.trader.on_fill(fill(900, BUY, 2, 100, time=held.intended_at - 1, cause=Cause.MANUAL))
    case.exchange.reports, case.exchange.is_flat = [], True
    assert run_virtually(lambda _: case.reconciler.settle()) == [A]
    assert (held.flat, case.trader.book.net_of_strays(A, 0)) == (True, 0)


def test_to_be_closed_it_is_closed_alone_and_not_at_every_look():
    case = beside("2", Policy.FLATTEN)
    compared(case, WAIT_S + AGAIN_S - 1)
    (command,) = case.shell.commands
    assert (command.request.side, command.request.qty, command.request.reduce_only) == (SELL, D(2), True)


def test_to_be_adopted_it_becomes_part_of_ours():
    case = beside("2", Policy.ADOPT)
    found = compared(case, WAIT_S + 5)
    assert (found.foreign, found.mismatched, case.trader.book.of_symbol(A).qty) == ([], [], case.qty + 2)


def test_to_be_protected_our_own_stop_guards_it():
    case = beside("2", Policy.PROTECT)
    compared(case, WAIT_S + 5)
    assert case.exchange.stops == []


@pytest.mark.parametrize("qty", ["7", "-7"])
def test_what_stands_beside_an_entry_that_has_not_filled_is_noted_and_left_alone(qty):
    """Seen: while an entry's end was unknown, what a hand had opened in its symbol was nobody's for ten seconds."""
    world = World({0: Side.LONG}, limit_entries=True)
    case = Case(Policy.FLATTEN, world)
    world.bar()
    case.report(qty)
    found = compared(case, WAIT_S)
    assert (found.foreign, case.shell.commands, case.shell.touches) == ([A], [], [])
    assert case.trader.book.of_symbol(A).pending


def test_an_empty_page_does_not_take_away_somebody_elses_position():
    case = opened()
    qty = case.entry.request.qty
    case.report(str(qty), stop="98", target="105")
    other = "B/USDT:USDT"
    mine = case.exchange.reports[0]
    case.exchange.reports.append(dataclasses.replace(mine, symbol=other, qty=D(7)))
    case.compare()
    case.exchange.reports = [mine]
    assert case.compare().foreign == [other]
    case.exchange.is_flat = True
    assert case.compare().foreign == []


@pytest.mark.parametrize("shown_then", [[], "other"])
def test_a_stranger_that_the_second_list_leaves_out_is_met_all_the_same(shown_then):
    """Seen: a position nobody knew was unknown for one comparison more, whenever the second list left it out."""
    case = Case()
    case.report("7")
    first, other = case.exchange.reports, "B/USDT:USDT"
    lists = [first, [dataclasses.replace(first[0], symbol=other)] if shown_then else []]

    async def positions():
        return lists.pop(0) if lists else first

    case.exchange.positions = positions
    assert A in case.compare().foreign

"""Stops that trail at a fraction of the price, leaves that need a gain, and signals that turn a position."""

from __future__ import annotations

from decimal import Decimal as D

import msgspec
import pytest

from domain.candle import Bar
from domain.exits import Bracket, ExitPlan, time_to_leave, trail, widen
from domain.fills import Costs
from domain.order import Cause, Side
from domain.phantom import follow, open_phantom
from domain.records import Opening
from engine.commands import MoveStop
from sections import Exits
from tests.unit.test_decisions import STEP, A, signal
from tests.unit.test_leave import leave, opened, placed
from tests.unit.test_roi import RULES

TWICE = ((D(0), D("0.03")), (D("0.02"), D("0.01")))
FREE = Costs(D(0), D(0), D(0), D(0))


def bracket(side, stop, plan=ExitPlan(trailing=TWICE)) -> Bracket:
    return Bracket(side, D(100), D(stop), D(stop), D(0), plan, 0)


@pytest.mark.parametrize(("side", "best", "stop"), [
    (Side.LONG, 100.5, "97.485"), (Side.LONG, 101.99, "98.9303"), (Side.LONG, 102.0, "100.98"), (Side.LONG, 110.0, "108.90"),
    (Side.LONG, 99.0, "95"), (Side.SHORT, 99.5, "102.485"), (Side.SHORT, 98.0, "98.98"), (Side.SHORT, 101.0, "105"),
])  # fmt: skip
def test_the_stop_is_a_fraction_of_the_best_price_behind_it_and_closer_from_a_gain_on(side, best, stop):
    held = bracket(side, 95 if side is Side.LONG else 105)
    moved = trail(widen(held, best, best))
    assert moved.stop == D(stop)
    assert (moved.stop_cause is Cause.TRAILING_STOP) is (moved.stop != held.stop)


def test_a_stop_that_has_trailed_is_not_loosened_and_the_first_row_says_when_it_begins():
    held = trail(widen(bracket(Side.LONG, 95), 110.0, 100.0))
    assert trail(widen(held, 105.0, 104.0)).stop == held.stop
    late = bracket(Side.SHORT, 105, ExitPlan(trailing=TWICE[1:], trail_start_r=0.2))
    assert (late.trail_price, late.plan.trails, ExitPlan().trails) == (D(99), True, False)


@pytest.mark.parametrize(("side", "close", "cause"), [
    (Side.LONG, 100.51, Cause.EXIT_SIGNAL), (Side.LONG, 100.5, None), (Side.SHORT, 99.49, Cause.EXIT_SIGNAL),
    (Side.SHORT, 100.0, None),
])  # fmt: skip
def test_a_leave_that_needs_a_gain_is_followed_only_above_it(side, close, cause):
    plan = ExitPlan(least_gain=D("0.005"))
    assert time_to_leave(bracket(side, 95 if side is Side.LONG else 105, plan), close, STEP, leave=True) is cause
    assert time_to_leave(bracket(side, 95 if side is Side.LONG else 105, plan), close, STEP, leave=False) is None


def test_a_position_and_its_phantom_move_their_stop_alike():
    plan = ExitPlan(trailing=TWICE)
    _, bar, _ = opened({}, plan)
    (moved,) = [one for one in bar(close=103.0) if isinstance(one, MoveStop)]
    phantom = open_phantom(signal(A, 0), plan, RULES, FREE, phantom_id="d", gate="score", score=None, features=None)
    follow(phantom, Bar(STEP, 103.0, 103.5, 102.5, 103.0, 1, 1), RULES, FREE)
    assert moved.stop == phantom.bracket.stop == D("102.4")


def test_a_position_is_left_by_a_leave_in_profit_only():
    _, bar, _ = opened({1: leave(), 2: leave()}, ExitPlan(least_gain=D("0.01")))
    assert placed(bar(close=100.9)) == []
    assert [one.intent.cause for one in placed(bar(close=101.1))] == [Cause.EXIT_SIGNAL]


def test_a_signal_that_turns_leaves_the_other_side_and_enters_only_where_nothing_is_held():
    def turn(symbol, start, _):
        return signal(symbol, start, side=Side.SHORT, stop=102.0, target=95.0, turns=True)

    trader, bar, _ = opened({1: turn})
    orders = placed(bar())
    assert [one.intent.cause for one in orders] == [Cause.EXIT_SIGNAL]
    assert trader.decisions.leaves.on_bar("theirs", ("A/USDT:USDT", "3m"), STEP, Side.LONG)
    _, bar, _ = opened({1: lambda symbol, start, _: signal(symbol, start, turns=True)})
    assert placed(bar()) == []


def test_records_keep_both_and_older_ones_have_neither():
    plan = ExitPlan(trailing=TWICE, least_gain=D("0.01"))
    opening = Opening("s", "3m", 0, Side.LONG, D(100), D(98), D(0), plan, D(1))
    told = msgspec.json.encode(opening)
    assert msgspec.json.decode(told, type=Opening) == opening
    body = msgspec.json.decode(told)
    del body["plan"]["trailing"], body["plan"]["least_gain"]
    assert msgspec.convert(body, Opening, strict=False).plan == ExitPlan()


@pytest.mark.parametrize("wrong", [{-0.1: 0.1}, {0.1: 0}, {0.1: 1}])
def test_distances_that_cannot_be_are_refused(wrong):
    with pytest.raises(Exception, match="trailing"):
        Exits.brought({"trailing": wrong})

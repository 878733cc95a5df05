"""Stops that trail and tighten, at the very edge of their rules."""

from decimal import Decimal as D

import pytest

from domain.exits import Bracket, ExitPlan, after_partial, tighten, timed_out, trail
from domain.order import Cause, Side

PLAN = ExitPlan(partial_r=1.0, trail_start_r=2.0, trail_distance_r=0.5, timeout_ms=1_000)


def bracket(side=Side.LONG, best=100, stop=None, plan=PLAN):
    """Return the bracket of an entry at 100 with R of 10."""
    first = D(100) - 10 * side.sign
    return Bracket(
        side,
        D(100),
        first,
        D(stop) if stop is not None else first,
        D(0),
        plan,
        opened_at=500,
        best=D(best),
        worst=D(100),
    )


@pytest.mark.parametrize(
    ("side", "best", "stop"),
    [
        (Side.LONG, "119.99", 90), (Side.LONG, 120, 115), (Side.LONG, 130, 125),
        (Side.SHORT, "80.01", 110), (Side.SHORT, 80, 85), (Side.SHORT, 70, 75),
    ],
)  # fmt: skip
def test_a_stop_trails_from_the_very_move_that_the_plan_names(side, best, stop):
    trailed = trail(bracket(side, best))
    assert trailed.stop == stop
    assert (trailed.stop_cause is Cause.TRAILING_STOP) == (stop not in {90, 110})


def test_without_a_start_nothing_trails():
    held = bracket(best=200, plan=ExitPlan(trail_distance_r=0.5))
    assert trail(held) is held


@pytest.mark.parametrize(
    ("side", "stop", "moved"),
    [
        (Side.LONG, "95.01", True), (Side.LONG, 95, False), (Side.LONG, "94.99", False),
        (Side.SHORT, "104.99", True), (Side.SHORT, 105, False), (Side.SHORT, "105.01", False),
    ],
)  # fmt: skip
def test_a_stop_only_comes_nearer_and_keeps_its_cause_where_it_stands(side, stop, moved):
    held = bracket(side, stop=D(100) - 5 * side.sign)
    tightened = tighten(held, D(stop), Cause.TRAILING_STOP)
    assert (tightened.stop, tightened.stop_cause) == (
        (D(stop), Cause.TRAILING_STOP) if moved else (held.stop, Cause.STOP_LOSS)
    )


def test_after_the_partial_target_the_stop_stands_at_the_entry_where_the_plan_says_so():
    assert (after_partial(bracket()).stop, after_partial(bracket()).stop_cause) == (100, Cause.BREAK_EVEN)
    held = bracket(plan=ExitPlan(partial_r=1.0, break_even=False))
    assert after_partial(held) is held
    # it never loosens one that has trailed beyond the entry
    assert after_partial(bracket(stop=101)).stop == 101


@pytest.mark.parametrize(("now", "over"), [(1_499, False), (1_500, True)])
def test_a_position_times_out_to_the_millisecond(now, over):
    assert timed_out(bracket(), now) is over


def test_a_plan_without_a_timeout_never_times_out():
    assert not timed_out(bracket(plan=ExitPlan()), 10**15)


@pytest.mark.parametrize(("side", "price"), [(Side.LONG, 110), (Side.SHORT, 90)])
def test_the_partial_target_lies_its_distance_beyond_the_entry(side, price):
    assert bracket(side).partial_price == price
    assert bracket(side, plan=ExitPlan()).partial_price is None

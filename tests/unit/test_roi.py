"""A table of gains that are enough: exact, and the same for positions, phantoms and backtests."""

from __future__ import annotations

from decimal import Decimal as D

import msgspec
import pytest
from pydantic import ValidationError

from bootstrap.user_strategies import exits_of
from domain.candle import Bar
from domain.exits import Bracket, ExitPlan, roi_reached
from domain.fills import Costs
from domain.instrument import Instrument
from domain.order import Cause, Side
from domain.phantom import follow, open_phantom
from domain.records import Opening
from sections import Exits, StrategyChoice
from tests.unit.test_decisions import STEP, A, signal
from tests.unit.test_leave import leave, opened, placed

MINUTE = 60_000
TABLE = ((0, D("0.03")), (6 * MINUTE, D("0.01")), (12 * MINUTE, D(0)), (20 * MINUTE, D("-0.05")))
RULES = Instrument(A, "AUSDT", D("0.1"), D("0.01"), D("0.01"), D(100_000), D(5), D(50))


@pytest.mark.parametrize(("side", "minutes", "close", "enough"), [
    (Side.LONG, 0, 103.0, True), (Side.LONG, 0, 102.99999999, False), (Side.LONG, 5, 102.0, False),
    (Side.LONG, 6, 101.0, True), (Side.LONG, 11, 100.99, False), (Side.LONG, 12, 100.0, True),
    (Side.LONG, 12, 99.9, False), (Side.LONG, 20, 95.0, True), (Side.SHORT, 0, 97.0, True),
    (Side.SHORT, 0, 97.00000001, False), (Side.SHORT, 6, 99.0, True), (Side.SHORT, 20, 106.0, False),
])  # fmt: skip
def test_what_is_enough_depends_on_the_time_to_the_last_digit(side, minutes, close, enough):
    stop = D(90) if side is Side.LONG else D(110)
    # filled a moment after the bar that gave the signal had closed
    bracket = Bracket(side, D(100), stop, stop, D(0), ExitPlan(roi=TABLE), 7 * MINUTE + 412)
    assert roi_reached(bracket, close, (7 + minutes) * MINUTE) is enough


def test_without_a_table_and_before_its_first_row_nothing_is_enough():
    bracket = Bracket(Side.LONG, D(100), D(90), D(90), D(0), ExitPlan(), 0)
    assert not roi_reached(bracket, 10_000.0, 10**9)
    late = msgspec.structs.replace(bracket, plan=ExitPlan(roi=((MINUTE, D(0)),)))
    assert [roi_reached(late, 200.0, at) for at in (0, MINUTE - 1, MINUTE)] == [False, False, True]


def test_a_position_is_closed_at_the_market_for_its_own_cause_and_before_its_timeout():
    _, bar, _ = opened({}, ExitPlan(roi=TABLE, timeout_ms=2 * STEP))
    assert placed(bar(close=102.9)) == []
    assert [one.intent.cause for one in placed(bar(close=101.0))] == [Cause.ROI]
    _, bar, _ = opened({1: leave()}, ExitPlan(roi=TABLE))
    assert [one.intent.cause for one in placed(bar(close=104.0))] == [Cause.EXIT_SIGNAL]


def test_a_phantom_is_closed_on_the_same_bar():
    one = open_phantom(
        signal(A, 0), ExitPlan(roi=TABLE), RULES, Costs(D(0), D(0), D(0), D(0)), phantom_id="d", gate="score", score=None,
        features=None,
    )  # fmt: skip
    for at, close in ((1, 102.9), (2, 101.0)):
        assert not one.outcome
        follow(one, Bar(at * STEP, 100, 103, 99, close, 1, 1), RULES, Costs(D(0), D(0), D(0), D(0)))
    assert (one.exit_reason, one.outcome, one.realized_rr) == ("roi", "win", D("0.5"))


def test_records_keep_the_table_and_older_ones_have_none():
    opening = Opening("s", "3m", 0, Side.LONG, D(100), D(98), D(0), ExitPlan(roi=TABLE), D(1))
    told = msgspec.json.encode(opening)
    assert msgspec.json.decode(told, type=Opening) == opening
    body = msgspec.json.decode(told)
    del body["plan"]["roi"]
    assert msgspec.convert(body, Opening, strict=False).plan.roi == ()


class Brings:
    exits = {"minimal_roi": {"30": 0.01, 0: 0.04}, "timeout_bars": 8}


def test_a_class_brings_its_table_and_the_settings_may_bring_another():
    assert exits_of(Brings(), StrategyChoice()).minimal_roi == {30: D("0.01"), 0: D("0.04")}
    told = StrategyChoice(exits=Exits.model_validate({"minimal_roi": {"60": "0.02"}}))
    assert (exits_of(Brings(), told).minimal_roi, exits_of(Brings(), told).timeout_bars) == ({60: D("0.02")}, 8)


@pytest.mark.parametrize("table", [
    {"-1": 0.1}, {"soon": 0.1}, {1.5: 0.1}, {0: float("nan")}, {0: float("inf")}, {0: -1}, {0: "much"}, [0.1],
])  # fmt: skip
def test_a_table_that_is_none_is_refused(table):
    with pytest.raises(ValidationError):
        Exits.model_validate({"minimal_roi": table})

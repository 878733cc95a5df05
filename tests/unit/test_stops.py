"""Stops: what a refusal means, and what it never means."""

from dataclasses import replace
from decimal import Decimal as D

import pytest

from domain.errors import Objection, OutcomeUnknown, Rejected, Unavailable
from domain.order import PositionReport, Side
from engine.stops import Placed, Stops
from tests.torture.virtual import run_virtually
from tests.unit.test_trader import RULES, A

COARSE = replace(RULES, tick=D(1))


class Exchange:
    """Refuses stops by the rules that it has, and shows one position."""

    def __init__(self, *, rules=RULES, mark="100", stop="90", qty="1", refuse=(), index=0):
        self.rules, self.asked, self.refuse = rules, [], list(refuse)
        self.reports = [PositionReport(A, D(qty), D(100), D(stop), D(0), D(5), D(mark), D(0), index)] if D(qty) else []

    async def set_stop(self, symbol, stop, target, *, index=0):
        self.asked.append((stop, target))
        if self.refuse:
            raise self.refuse.pop(0)
        for price in (stop, target):
            if price and self.rules.price(price) != price:
                raise Rejected("price invalid", 10001, Objection.RULES)
        mark = self.reports[0].mark_price if self.reports else D(100)
        sign = 1 if self.reports and self.reports[0].qty > 0 else -1
        if sign * (mark - stop) <= 0 or (target and sign * (target - mark) <= 0):
            raise Rejected("a stop or target on the wrong side of base_price", 10001, Objection.CROSSED)

    async def positions(self):
        return self.reports


class Book:
    """Rules that are read again from the exchange when a refusal says that they are wrong."""

    def __init__(self, exchange, known=RULES):
        self.exchange, self.known, self.asked = exchange, known, []

    def get(self, symbol):
        return self.known

    async def contradicted(self, symbol, refused):
        self.asked.append(refused.objection)
        if refused.objection is Objection.RULES:
            self.known = self.exchange.rules


def placed(exchange, stop, target=None, *, side=Side.LONG, last=None, known=RULES, index=0):
    stops = Stops(exchange, Book(exchange, known), lambda _: last)
    target = None if target is None else D(target)
    return run_virtually(lambda _: stops.set(A, side, D(stop), target, index=index))


def test_what_is_taken_is_set():
    exchange = Exchange()
    assert placed(exchange, "95").placed is Placed.SET
    assert exchange.asked == [(D(95), None)]


@pytest.mark.parametrize(("side", "qty", "stop", "expected"), [
    (Side.LONG, "1", "95.7", "95"), (Side.SHORT, "-1", "104.2", "105"),
])  # fmt: skip
def test_off_the_new_tick_it_is_rounded_away_from_the_price_and_asked_for_again(side, qty, stop, expected):
    exchange = Exchange(rules=COARSE, qty=qty)
    outcome = placed(exchange, stop, side=side)
    assert (outcome.placed, outcome.stop) == (Placed.SET, D(expected))
    assert len(exchange.asked) == 2


def test_a_known_tick_is_kept_to_from_the_start():
    exchange = Exchange(rules=COARSE)
    outcome = placed(exchange, "95.7", "104.4", known=COARSE)
    assert (outcome.placed, exchange.asked) == (Placed.SET, [(D(95), D(104))])


@pytest.mark.parametrize(("side", "qty", "mark", "stop"), [
    (Side.LONG, "1", "94", "95"), (Side.SHORT, "-1", "106", "105"),
])  # fmt: skip
def test_a_stop_that_the_price_has_passed_means_that_the_position_has_to_be_closed(side, qty, mark, stop):
    assert placed(Exchange(qty=qty, mark=mark), stop, side=side).placed is Placed.CROSSED


def test_the_last_price_counts_as_well_as_the_mark_price():
    """The exchange compares with the last price, which its list of positions does not show."""
    refused = Rejected("params error", 10001, Objection.RULES)
    for last, expected in ((D("94.9"), Placed.CROSSED), (D("95.1"), Placed.KEPT), (None, Placed.KEPT)):
        assert placed(Exchange(refuse=[refused] * 2), "95", last=last).placed is expected


@pytest.mark.parametrize(
    "objection", [Objection.OTHER, Objection.RULES, Objection.FUNDS, Objection.CLOSED, Objection.MODE]
)
def test_for_any_other_reason_the_old_stop_stands_and_nothing_is_to_be_closed(objection):
    refused = [Rejected("no", 1, objection)] * 2
    assert placed(Exchange(stop="90", refuse=list(refused)), "95").placed is Placed.KEPT
    assert placed(Exchange(stop="0", refuse=list(refused)), "95").placed is Placed.NAKED


def test_without_a_position_there_is_nothing_to_guard():
    absent = Rejected("can not set tp/sl/ts for zero position", 10001, Objection.ABSENT)
    exchange = Exchange(qty="0", refuse=[absent])
    assert placed(exchange, "95", "105").placed is Placed.ABSENT
    assert len(exchange.asked) == 1
    # the list and the refusal may tell different things: the list lags, and the old stop is seen in it
    assert placed(Exchange(refuse=[absent]), "95").placed is Placed.KEPT


def test_a_target_that_the_price_has_passed_does_not_keep_the_stop_from_being_set():
    exchange = Exchange(mark="106", stop="0")
    assert placed(exchange, "95", "105").placed is Placed.SET
    assert exchange.asked == [(D(95), D(105)), (D(95), None)]


def test_a_leg_of_hedge_mode_is_looked_at_by_its_own_index():
    refused = Rejected("no", 1, Objection.OTHER)
    assert placed(Exchange(refuse=[refused], index=2), "95", index=1).placed is Placed.ABSENT
    assert placed(Exchange(refuse=[refused], index=1), "95", index=1).placed is Placed.KEPT


def test_what_nobody_knows_is_not_taken_for_a_refusal():
    assert placed(Exchange(refuse=[OutcomeUnknown("timed out")]), "95").placed is Placed.UNKNOWN
    late = [Rejected("off", 10001, Objection.RULES), OutcomeUnknown("timed out")]
    assert placed(Exchange(rules=COARSE, refuse=late), "95.5").placed is Placed.UNKNOWN
    with pytest.raises(Unavailable):
        placed(Exchange(refuse=[Unavailable("busy")]), "95")


@pytest.mark.parametrize(("mark", "asked"), [("89", 1), ("100", 2)])
def test_where_the_price_was_reported_beyond_the_stop_one_refusal_is_enough(mark, asked):
    """Seen: a position without a stop waited for its exit until the exchange had refused the stop alone as well."""
    exchange = Exchange(mark="89")
    there = replace(exchange.reports[0], mark_price=D(mark))
    stops = Stops(exchange, Book(exchange), lambda _: None)
    outcome = run_virtually(lambda _: stops.set(A, Side.LONG, D(90), D(110), there=there))
    assert (outcome.placed, len(exchange.asked)) == (Placed.CROSSED, asked)

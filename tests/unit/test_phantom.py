"""A phantom ends as a real trade on the same bars would have: its witness is the simulated account."""

from __future__ import annotations

from decimal import Decimal as D

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.account import AccountState, Execution, SimulatedAccount, VenueOrder
from domain.candle import Bar
from domain.errors import Rejected
from domain.exits import Bracket, ExitPlan, after_partial, timed_out, trail, widen
from domain.fills import Costs
from domain.instrument import Instrument
from domain.order import OrderKind, Side
from domain.phantom import LOSS, TIMEOUT, WIN, follow, open_phantom
from domain.signal import Signal

STEP = 180_000
A = "A/USDT:USDT"
RULES = Instrument(A, "AUSDT", D("0.1"), D("0.01"), D("0.01"), D(100_000), D(5), D(50))
COSTS = Costs()
FREE = Costs(D(0), D(0), D(0), D(0))


def signal(side: Side = Side.LONG, stop: float = 2.0, target: float = 4.0) -> Signal:
    ahead = 100.0 + side.sign * target if target else 0.0
    return Signal("scalp", A, "3m", 0, STEP, side, 100.0, 100.0 - side.sign * stop, ahead)


def phantom(plan: ExitPlan = ExitPlan(), side: Side = Side.LONG, costs: Costs = FREE, **more):
    return open_phantom(
        signal(side, **more), plan, RULES, costs, phantom_id="d", gate="score", score=61.0, features=None
    )


def bar(number: int, opened: float, high: float, low: float, close: float) -> Bar:
    return Bar(number * STEP, opened, high, low, close, 1.0, 1.0)


def test_a_bar_that_touches_both_is_a_stop_and_bars_before_the_signal_do_not_count():
    one = phantom()
    assert not follow(one, bar(0, 100, 110, 90, 100), RULES, FREE)
    assert follow(one, bar(1, 100, 110, 90, 100), RULES, FREE)
    assert (one.outcome, one.exit_price, one.realized_rr, one.exit_reason) == (LOSS, D("98.0"), D(-1), "stop_loss")


def test_a_gap_fills_at_the_open():
    one = phantom()
    follow(one, bar(1, 95, 96, 94, 95), RULES, FREE)
    assert (one.exit_price, one.realized_rr) == (D("95.0"), D("-2.5"))


def test_after_the_partial_target_the_stop_stands_at_the_entry_from_the_next_bar_on():
    plan = ExitPlan(partial_r=1.0, partial_fraction=0.5)
    one = phantom(plan)
    follow(one, bar(1, 100, 102.5, 99.5, 101), RULES, FREE)
    assert (one.tp1_hit, one.be_moved, one.outcome) == (True, True, "")
    follow(one, bar(2, 101, 101, 99, 99.5), RULES, FREE)
    assert (one.outcome, one.exit_reason, one.exit_price) == (WIN, "break_even", D("100.0"))
    assert one.realized_rr == D("0.5")


def test_one_bar_through_partial_target_and_target_pays_both():
    one = phantom(ExitPlan(partial_r=1.0, partial_fraction=0.5))
    follow(one, bar(1, 100, 105, 99.5, 104), RULES, FREE)
    assert (one.outcome, one.realized_rr) == (WIN, D("1.5"))


def test_a_timeout_is_an_outcome_of_its_own():
    one = phantom(ExitPlan(timeout_ms=2 * STEP))
    follow(one, bar(1, 100, 101, 99, 101), RULES, FREE)
    follow(one, bar(2, 101, 102, 100, 101.5), RULES, FREE)
    assert (one.outcome, one.exit_reason, one.realized_rr) == (TIMEOUT, "timeout", D("0.75"))
    assert one.excursions() == (D(1), D("-0.5"))


def test_while_a_bar_is_missing_nothing_is_decided():
    one = phantom()
    assert not follow(one, bar(2, 100, 110, 90, 100), RULES, FREE)
    assert one.outcome == ""
    assert follow(one, bar(1, 100, 101, 99, 100), RULES, FREE)
    assert follow(one, bar(2, 100, 110, 99, 100), RULES, FREE)
    assert one.outcome == WIN
    assert not follow(one, bar(3, 100, 110, 90, 100), RULES, FREE)


def test_fees_and_slippage_are_paid():
    one = phantom(costs=COSTS)
    assert one.bracket.entry == D("100.1")
    follow(one, bar(1, 100, 110, 99, 104), RULES, COSTS)
    gross = one.exit_price - one.bracket.entry
    assert one.exit_price < one.bracket.target
    assert one.made == gross - (one.exit_price + one.bracket.entry) * COSTS.taker


def test_a_phantom_survives_being_written_down():
    one = phantom(ExitPlan(partial_r=1.0))
    follow(one, bar(1, 100, 102.5, 99.5, 101), RULES, FREE)
    again = msgspec.json.decode(msgspec.json.encode(one), type=type(one))
    assert again == one


class Witness:
    """The same signal traded on the simulated account, its stop moved as the bot moves it."""

    def __init__(self, side: Side, plan: ExitPlan, costs: Costs, **more) -> None:
        self.side, self.plan, self.costs = side, plan, costs
        self.account = SimulatedAccount(AccountState(D(1_000_000)), {A: RULES}, costs)
        self.account.mark(A, D("100.0"))
        held = phantom(plan, side, costs, **more).bracket
        self.account.place(
            self.order(side.entry, OrderKind.MARKET, D(10), stop=held.stop, target=held.target), STEP, at_once=True
        )
        self.bracket: Bracket = held
        if held.partial_price is not None:
            part = D(10) * D(str(plan.partial_fraction))
            price = RULES.price(held.partial_price)
            self.account.place(
                self.order(side.exit, OrderKind.LIMIT, part, price=price, reduce_only=True), STEP, at_once=False
            )
        self.partial = False

    def order(self, side, kind, qty, **more):
        return VenueOrder(id="", link_id="", symbol=A, side=side, kind=kind, qty=qty, **more)

    def leave(self, now: int) -> None:
        rest = abs(self.account.position(A).qty)
        self.account.place(self.order(self.side.exit, OrderKind.MARKET, rest, reduce_only=True), now, at_once=True)

    def show(self, one: Bar) -> None:
        closes_at = one.open_time + STEP
        events = self.account.on_bar(A, one, closes_at)
        self.partial |= any(isinstance(e, Execution) and e.order_type == "Limit" for e in events)
        if not self.account.position(A).qty:
            return
        wanted = trail(widen(self.bracket, one.high, one.low))
        if timed_out(self.bracket, closes_at):
            rest = abs(self.account.position(A).qty)
            self.account.place(
                self.order(self.side.exit, OrderKind.MARKET, rest, reduce_only=True), closes_at, at_once=True
            )
            return
        wanted = after_partial(wanted) if self.partial else wanted
        stop = RULES.price_down(wanted.stop) if self.side is Side.LONG else RULES.price_up(wanted.stop)
        if self.side.sign * (stop - self.bracket.stop) < RULES.tick:
            stop = self.bracket.stop
        else:
            try:
                self.account.set_stops(A, closes_at, stop=stop, target=None)
            except Rejected:
                self.leave(closes_at)
                return
        self.bracket = msgspec.structs.replace(wanted, stop=stop)


@st.composite
def paths(draw):
    """Bars that gap, spike and drift within a few R of the entry."""
    price, rows = 100.0, []
    for number in range(1, 25):
        opened = price + draw(st.sampled_from([0.0, 0.0, 0.0, 0.5, -0.5, 2.5, -2.5]))
        close = opened + draw(st.integers(-15, 15)) / 10
        high = max(opened, close) + draw(st.integers(0, 25)) / 10
        low = min(opened, close) - draw(st.integers(0, 25)) / 10
        rows.append(bar(number, *(round(value, 1) for value in (opened, high, low, close))))
        price = close
    return rows


@given(
    rows=paths(),
    side=st.sampled_from(Side),
    partial=st.sampled_from([0.0, 0.5, 1.0, 1.5]),
    fraction=st.sampled_from([0.3, 0.5]),
    target=st.sampled_from([4.0, 0.0]),
    trail=st.sampled_from([0.0, 0.5, 1.0]),
    timeout=st.sampled_from([0, 3 * STEP, 10 * STEP]),
    costs=st.sampled_from([FREE, COSTS]),
)
@settings(max_examples=400, deadline=None)
def test_it_ends_as_the_simulated_account_says(rows, side, partial, fraction, target, trail, timeout, costs):
    plan = ExitPlan(partial_r=partial, partial_fraction=fraction, trail_start_r=trail, timeout_ms=timeout)
    one, witness = phantom(plan, side, costs, target=target), Witness(side, plan, costs, target=target)
    for row in rows:
        follow(one, row, RULES, costs)
        witness.show(row)
        flat = not witness.account.position(A).qty
        assert bool(one.outcome) is flat
        if flat:
            assert 10 * one.made == pytest.approx(witness.account.state.wallet - 1_000_000, abs=D("1e-12"))
            return
        assert one.bracket.stop == witness.bracket.stop

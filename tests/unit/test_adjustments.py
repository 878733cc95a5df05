"""What the operator changes by word: risk, blacklist, lifted protections; on top of the configuration, over restarts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D

import pytest

from domain.errors import BadData
from domain.order import Side
from domain.records import Adjusted
from domain.trade import Trade
from engine.adjustments import Adjustments
from engine.commands import PlaceOrder, Refused, Remember
from engine.protections import Protection, locks
from engine.recall import replay
from engine.risk import RiskLimits
from tests.unit.test_trader import A, World

LIMITS = RiskLimits(D(1), 3, D(10), D(10), D(5), D(5), D(0), D(0))
NOW = datetime(2026, 11, 20, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
MINUTE = 60_000


def lost(symbol: str, minutes_ago: int) -> Trade:
    at = NOW - timedelta(minutes=minutes_ago)
    return Trade(symbol, "long", D(1), D(1), D(1), at, at, D(-10), D(-1), "stop_loss")


def test_a_changed_risk_holds_until_it_is_taken_back_and_the_rest_stays():
    held = Adjustments(LIMITS)
    held.restore(held.with_risk(D("0.25"), 5))
    assert held.limits == replace(LIMITS, percent=D("0.25"))
    held.configure(replace(LIMITS, percent=D(2), max_open_trades=9), ())
    assert (held.limits.percent, held.limits.max_open_trades) == (D("0.25"), 9)
    held.restore(held.with_risk(None, 6))
    assert held.limits.percent == 2
    for wrong in (D(0), D(-1), D("10.01"), D("NaN")):
        with pytest.raises((BadData, ArithmeticError)):
            held.with_risk(wrong, 7)


def test_banned_symbols_are_refused_and_only_those_banned_by_word_can_be_let_in_again():
    held = Adjustments(LIMITS, ["X"])
    held.restore(held.with_banned(["B", A], 1))
    assert held.banned == [A, "B", "X"]
    assert held.refuses("X")
    held.restore(held.without_banned(["B"], 2))
    assert held.banned == [A, "X"]
    with pytest.raises(BadData, match="configuration"):
        held.without_banned(["X"], 3)
    with pytest.raises(BadData, match="not on the blacklist"):
        held.without_banned(["B"], 3)


def test_locks_name_symbol_protection_and_end_and_unlocking_forgets_what_came_before():
    cooldown = Protection("CooldownPeriod", 60 * MINUTE, 1, 30 * MINUTE, False, D(0), D(0))
    guard = Protection("StoplossGuard", 60 * MINUTE, 2, 20 * MINUTE, False, D(0), D(0))
    held = Adjustments(replace(LIMITS, protections=(cooldown, guard)))
    closed = [lost("B", 10), lost(A, 5)]
    found = held.locks(closed, [A, "B", "C"], NOW_MS, D(1_000))
    assert {(one.symbol, one.method, (one.until - NOW_MS) // MINUTE) for one in found} == {
        ("*", "StoplossGuard", 15), (A, "CooldownPeriod", 25), ("B", "CooldownPeriod", 20),
    }  # fmt: skip
    held.restore(held.with_unlocked(A, NOW_MS))
    assert [one for one in held.locks(closed, [A], NOW_MS, D(1_000)) if one.symbol == A] == []
    held.restore(held.with_unlocked("*", NOW_MS))
    assert held.locks(closed, [A, "B"], NOW_MS, D(1_000)) == []
    # a loss after that counts again
    assert held.locks([*closed, lost("C", -1)], ["C"], NOW_MS + 2 * MINUTE, D(1_000))
    assert locks((cooldown,), closed, ["C"], NOW_MS, D(1)) == []


def test_the_trader_refuses_what_is_banned_and_sizes_by_the_changed_risk_also_after_a_restart():
    world = World({2: Side.LONG, 5: Side.LONG, 8: Side.LONG})
    world.records += [
        one.record
        for one in world.trader.adjust(world.trader.adjustments.with_banned([A], 1))
        if isinstance(one, Remember)
    ]
    for _ in range(3):
        commands = world.bar()
    assert isinstance(commands[-1], Refused)
    assert commands[-1].gate == "blacklist"
    for made in (world.trader.adjustments.without_banned([A], 2),):
        world.records += [one.record for one in world.trader.adjust(made)]
    world.records += [one.record for one in world.trader.adjust(world.trader.adjustments.with_risk(D("0.5"), 3))]
    for trader in (world.trader, world.fresh()):
        replay(trader, world.records)
        assert trader.adjustments.made == Adjusted(3, D("0.5"), (), {})
    for _ in range(3):
        commands = world.bar()
    placed = next(one for one in commands if isinstance(one, PlaceOrder))
    whole = World({2: Side.LONG})
    for _ in range(3):
        usual = whole.bar()
    assert placed.request.qty < next(one for one in usual if isinstance(one, PlaceOrder)).request.qty * D("0.51")

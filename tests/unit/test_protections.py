"""What protections forbid is what their plain definition says, whatever was asked before, and costs no more with years."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal as D

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from domain.durations import MINUTE_MS
from domain.records import Adjusted
from domain.trade import Trade
from engine.adjustments import EVERYTHING, Adjustments
from engine.closed_trades import ClosedTrades
from engine.protections import Lock, Protection, blocked, locks
from engine.risk import RiskLimits

METHODS = ("CooldownPeriod", "StoplossGuard", "MaxDrawdown", "LowProfitPairs")
SYMBOLS = ("A", "B", "C")
BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
BEGIN_MS = int(BEGIN.timestamp() * 1000)
STOPS = {"stop_loss", "liquidation"}


def trade(minute: int, symbol: str, pnl: int, reason: str, leverage: int = 2) -> Trade:
    at = BEGIN + timedelta(minutes=minute)
    return Trade(symbol, "long", D(1), D(1), D(1), at, at, D(pnl), D(pnl) / 7, reason, D(leverage), "scalp",
                 trade_id=f"{minute}-{symbol}-{pnl}")  # fmt: skip


def exit_ms(one: Trade) -> int:
    return round(one.exit_time.timestamp() * 1000)


def forbids(one: Protection, window: list[Trade], equity: D) -> bool:
    """Say what freqtrade's protection says of the trades of its lookback, the last of which has just ended."""
    if one.method == "CooldownPeriod":
        return bool(window)
    if one.method == "StoplossGuard":
        lost = [each for each in window if each.exit_reason in STOPS and each.pnl_usd < 0]
        return bool(lost) and lost[-1] is window[-1] and len(lost) >= one.trade_limit
    if len(window) < one.trade_limit:
        return False
    if one.method == "LowProfitPairs":
        return sum((each.pnl_percent / each.leverage for each in window), D(0)) < one.required_profit
    sums = [sum((each.pnl_usd for each in window[:count]), D(0)) for count in range(len(window) + 1)]
    worst = max(max(sums[: i + 1]) - total for i, total in enumerate(sums))
    return equity > 0 and worst / equity > one.max_drawdown


def plainly(one: Protection, closed: list[Trade], symbol: str, now: int, equity: D) -> int | None:
    """Look at every trade and every window, newest first."""
    mine = [each for each in closed if symbol == each.symbol or not one.per_pair]
    for i in reversed(range(len(mine))):
        at = exit_ms(mine[i])
        if at <= now < at + one.stop_ms:
            window = [each for each in mine[: i + 1] if exit_ms(each) > at - one.lookback_ms]
            if forbids(one, window, equity):
                return at + one.stop_ms
    return None


trades = st.builds(
    trade, st.integers(0, 300), st.sampled_from(SYMBOLS), st.integers(-9, 9),
    st.sampled_from(("stop_loss", "take_profit", "liquidation")), st.integers(1, 5),
)  # fmt: skip
protections = st.builds(
    Protection, st.sampled_from(METHODS), st.integers(1, 200).map(lambda one: one * MINUTE_MS), st.integers(1, 5),
    st.integers(1, 120).map(lambda one: one * MINUTE_MS), st.booleans(), st.integers(-3, 2).map(D),
    st.sampled_from((D(0), D("0.05"), D("0.2"))),
)  # fmt: skip
moments = st.integers(-5, 320).map(lambda minute: BEGIN_MS + minute * MINUTE_MS)


@given(st.lists(trades, max_size=30), st.lists(protections, min_size=1, max_size=4),
       st.lists(st.tuples(moments, st.sampled_from((50, 100, 0, -1))), min_size=1, max_size=4))  # fmt: skip
def test_what_is_forbidden_is_what_the_plain_definition_says(made, rules, asked):
    """However often, in whatever order of time, and with whatever equity it is asked, while trades go on ending."""
    told, held = [], ClosedTrades()
    for one in sorted(made, key=lambda each: each.exit_time):
        told.append(one)
        held.append(one)
        for now, equity in asked:
            for symbol in SYMBOLS:
                expected = [plainly(rule, told, symbol, now, D(equity)) for rule in rules]
                first = next((i for i, until in enumerate(expected) if until is not None), None)
                for closed in (held, held.copy(), told):
                    reason = blocked(rules, closed, symbol, now, D(equity))
                    if first is None:
                        assert reason is None
                    else:
                        left = (expected[first] - now) // MINUTE_MS
                        assert reason == f"{rules[first].method} for {left} more minutes"
            found = [
                Lock(symbol, rule.method, until)
                for rule in rules
                for symbol in (SYMBOLS if rule.per_pair else ("*",))
                if (until := plainly(rule, told, symbol, now, D(equity))) is not None
            ]
            assert locks(rules, held, SYMBOLS, now, D(equity)) == found


@given(st.lists(trades, max_size=25), st.lists(protections, min_size=1, max_size=3), moments,
       st.dictionaries(st.sampled_from((*SYMBOLS, EVERYTHING)), moments.filter(lambda one: one > 0), max_size=3))  # fmt: skip
def test_what_was_lifted_counts_no_more_and_what_ends_afterwards_does(made, rules, now, unlocked):
    limits = RiskLimits(
        percent=D(1), max_open_trades=3, max_exposure=D(5), max_position=D(5), daily_loss_percent=D(5), leverage=D(5),
        fee=D(0), slippage=D(0), protections=tuple(rules),
    )  # fmt: skip
    adjustments, held = Adjustments(limits), ClosedTrades()
    adjustments.restore(Adjusted(time=0, unlocked=unlocked))
    for one in made:
        held.append(one)
        told = sorted(held, key=lambda each: each.exit_time)
        assert list(held) == told
        expected = []
        for symbol in ("*", *SYMBOLS):
            after = max(unlocked.get(EVERYTHING, 0), unlocked.get(symbol, 0))
            counted = [each for each in told if exit_ms(each) > after]
            expected += [
                Lock(symbol, rule.method, until)
                for rule in rules
                if rule.per_pair == (symbol != "*")
                and (until := plainly(rule, counted, symbol, now, D(100))) is not None
            ]
        assert adjustments.locks(held, SYMBOLS, now, D(100)) == expected


@given(st.lists(trades, min_size=1, max_size=20), st.data())
def test_a_trade_told_late_or_amended_is_judged_as_if_it_had_always_been_so(made, data):
    held, rule = ClosedTrades(), Protection("MaxDrawdown", 10**9, 1, 10**8, False, D(0), D("0.01"))
    for one in made:
        held.append(one)
        blocked([rule], held, "A", BEGIN_MS + 310 * MINUTE_MS, D(100))
    one = data.draw(st.sampled_from(list(held)))
    held.amend(msgspec.structs.replace(one, pnl_usd=D(-50)))
    again = ClosedTrades(list(held))
    for equity in (D(100), D(10_000)):
        now = BEGIN_MS + 310 * MINUTE_MS
        assert blocked([rule], held, "A", now, equity) == blocked([rule], list(again), "A", now, equity)


def test_the_oldest_are_let_go_and_each_window_is_looked_at_once():
    looked = []

    def judge(window) -> bool:
        looked.append(len(window))
        return False

    held = ClosedTrades(most=50)
    for minute in range(200):
        held.append(trade(minute, "A", 1, "take_profit"))
        for _ in range(3):
            for later, ended in held.line("A").newest_first():
                if later == 20:
                    break
                held.line("A").judged("rule", later, ended.at - 10 * MINUTE_MS, judge)
    assert (len(held), len(held.line("A")._exits)) == (50, 50)
    assert len(looked) == 200
    assert max(looked) == 10

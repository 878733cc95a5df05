"""Trades grouped by time, symbol, strategy and exit: nothing is lost, nothing counted twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal as D

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from domain.reports import Group, Period, by_group, by_period, curve, slump
from domain.trade import Trade

NOW = datetime(2026, 11, 18, 12, tzinfo=UTC)


def trade(minutes: int, pnl: int, symbol: str = "A", reason: str = "stop_loss") -> Trade:
    at = NOW - timedelta(minutes=minutes)
    return Trade(
        symbol,
        "long",
        D(1),
        D(1),
        D(1),
        at - timedelta(minutes=30),
        at,
        D(pnl),
        D(1),
        reason,
        r_multiple=D(pnl),
        trade_id=str(minutes),
    )


TRADES = st.lists(
    st.builds(trade, st.integers(0, 50_000), st.integers(-50, 50), st.sampled_from("ABC"), st.sampled_from(("x", "y"))),
    max_size=30,
)


@given(TRADES)
def test_periods_and_groups_add_up_to_the_trades(trades):
    total = sum((one.pnl_usd for one in trades), D(0))
    for period, count in ((Period.DAY, 40), (Period.WEEK, 8), (Period.MONTH, 4)):
        found = by_period(trades, period, count, NOW)
        assert len(found) == count
        assert sum((one.pnl for one in found), D(0)) == total
        assert sum(one.trades for one in found) == len(trades)
        assert [one.name for one in found] == sorted((one.name for one in found), reverse=True)
    for group in Group:
        found = by_group(trades, group)
        assert sum((one.pnl for one in found), D(0)) == total
        assert [one.pnl for one in found] == sorted((one.pnl for one in found), reverse=True)


def test_hours_are_those_of_entries_in_utc():
    entered = datetime(2026, 3, 1, 23, 59, tzinfo=timezone(timedelta(hours=2)))
    (found,) = by_group([replace(trade(5, 1), entry_time=entered, exit_time=entered + timedelta(hours=3))], Group.HOUR)
    assert (found.name, found.trades) == ("21:00", 1)


@given(TRADES)
def test_the_worst_fall_is_the_deepest_of_all_falls(trades):
    points = [D(0), *(total for _, total in curve(trades))]
    assert slump(trades).depth == max(points[i] - points[j] for i in range(len(points)) for j in range(i, len(points)))


def test_periods_begin_at_midnight_on_monday_and_on_the_first():
    trades = [
        trade(12 * 60, 5),
        trade(12 * 60 + 1, 7),
        trade((2 * 24 + 12) * 60 + 1, 11),
        trade((17 * 24 + 12) * 60 + 1, 13),
    ]
    assert [(one.name, one.pnl) for one in by_period(trades, Period.DAY, 2, NOW)] == [
        ("2026-11-18", 5),
        ("2026-11-17", 7),
    ]
    assert [(one.name, one.pnl) for one in by_period(trades, Period.WEEK, 2, NOW)] == [
        ("2026-11-16", 12),
        ("2026-11-09", 11),
    ]
    assert [(one.name, one.pnl) for one in by_period(trades, Period.MONTH, 2, NOW)] == [
        ("2026-11-01", 23),
        ("2026-10-01", 13),
    ]
    row = by_group(trades, Group.EXIT)[0]
    assert (row.trades, row.wins, row.win_rate, row.held_s, row.mean_r) == (4, 4, 100.0, 1_800.0, 9.0)
    assert slump([]).depth == 0

"""Stocks are expected when their exchange is open, and only then."""

from __future__ import annotations

import numpy as np
import pytest

from domain.candle import Bars, Series
from domain.coverage import Span, bars_in, cover
from history.calendar import closed, together
from history.port import on_days
from tests.venues import walk

HOUR, DAY = 3_600_000, 86_400_000
FRIDAY = 1_732_838_400_000  # 2024-11-29, the half day after Thanksgiving
WEEK = Span(FRIDAY - 4 * DAY, FRIDAY + 3 * DAY)


def open_bars(timeframe: str, step: int) -> int:
    return bars_in([WEEK], step) - bars_in(closed(Series("AAPL", timeframe), WEEK), step)


@pytest.mark.parametrize(
    ("timeframe", "step", "expected"),
    # three whole days, a holiday, a half day, a weekend; hours that a session touches count
    [("1d", DAY, 4), ("30m", HOUR // 2, 3 * 13 + 7), ("1h", HOUR, 3 * 7 + 4), ("1m", HOUR // 60, 3 * 390 + 210)],
)
def test_a_week_with_a_holiday_and_a_half_day(timeframe, step, expected):
    assert open_bars(timeframe, step) == expected


def test_what_never_closes_is_always_expected():
    assert closed(Series("BTC/USD", "1h"), WEEK) == []
    assert closed(Series("BTC/USDT:USDT", "1h"), WEEK) == []


def test_completeness_counts_sessions_and_forgives_bars_from_outside():
    series = Series("AAPL", "30m")
    step = HOUR // 2
    whole = np.arange(WEEK.start, WEEK.end, step, dtype=np.int64)
    shut = closed(series, WEEK)
    in_session = np.array([t for t in whole if not any(span.start <= t < span.end for span in shut)])
    assert cover(in_session, WEEK, "30m", shut).completeness == 100.0
    assert cover(whole, WEEK, "30m", shut).completeness == 100.0
    held = cover(in_session[3:], WEEK, "30m", shut)
    assert held.lacking == 3
    assert held.completeness == pytest.approx(100 * (46 - 3) / 46)


def test_sessions_are_asked_for_in_one_go():
    series = Series("AAPL", "30m")
    sessions = [Span(WEEK.start + n * DAY, WEEK.start + n * DAY + 7 * HOUR) for n in range(5)]
    assert together(sessions, series) == [Span(sessions[0].start, sessions[-1].end)]
    far = Span(WEEK.start + 60 * DAY, WEEK.start + 61 * DAY)
    assert together([*sessions, far], series) == [Span(sessions[0].start, sessions[-1].end), far]
    assert together(sessions, Series("BTC/USD", "30m")) == sessions


def test_daily_bars_of_stocks_stand_under_their_date():
    new_york = walk(3, WEEK.start + 5 * HOUR, DAY)
    assert on_days(new_york, Series("AAPL", "1d")).open_time.tolist() == [WEEK.start + n * DAY for n in range(3)]
    assert on_days(new_york, Series("AAPL", "1h")) is new_york
    assert on_days(Bars.of([(-1, *[1.0] * 6)]), Series("AAPL", "1d")).open_time.tolist() == [-1]

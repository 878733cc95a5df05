"""Bars: what they accept, how they join and resample."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.candle import Bar, Bars, check_bar, join, resample, timeframe_ms
from domain.errors import BadData

GOOD = Bar(180_000, 10.0, 12.0, 9.0, 11.0, 5.0, 50.0)


@pytest.mark.parametrize(
    ("text", "expected"), [("3m", 180_000), ("15m", 900_000), ("1h", 3_600_000), ("1d", 86_400_000)]
)
def test_timeframes_are_counts_of_units(text, expected):
    assert timeframe_ms(text) == expected


@pytest.mark.parametrize("text", ["", "m", "0m", "15", "x", "15M", "-3m", "3.5m"])
def test_other_timeframes_are_refused_by_name(text):
    with pytest.raises(BadData, match="timeframe"):
        timeframe_ms(text)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"high": float("nan")}, "finite"),
        ({"close": float("inf")}, "finite"),
        ({"low": -1.0}, "zero or negative"),
        ({"open": 0.0}, "zero or negative"),
        ({"high": 8.0}, "do not enclose"),
        ({"low": 10.5}, "do not enclose"),
        ({"volume": -1.0}, "negative volume"),
        ({"open_time": 180_001}, "grid"),
    ],
)
def test_impossible_bars_are_refused_with_the_reason(change, said):
    check_bar(GOOD, 180_000)
    with pytest.raises(BadData, match=said):
        check_bar(GOOD._replace(**change), 180_000)


def minutes(count: int, start: int = 0) -> Bars:
    rng = np.random.default_rng(count)
    close = 100 + np.cumsum(rng.normal(size=count))
    opened = np.r_[100.0, close][:count]
    rows = zip(
        start + np.arange(count) * 60_000, opened, np.maximum(opened, close) + 1, np.minimum(opened, close) - 1, close,
        rng.random(count), rng.random(count), strict=True,
    )  # fmt: skip
    return Bars.of(rows)


@given(st.integers(0, 40), st.integers(0, 20))
def test_resampling_equals_grouping_by_hand_and_leaves_incomplete_groups_out(count, offset):
    bars = minutes(count, offset * 60_000)
    built = resample(bars, 180_000, 60_000)

    expected = {}
    for row in bars.rows():
        expected.setdefault(row.open_time // 180_000 * 180_000, []).append(row)
    whole = {start: rows for start, rows in expected.items() if len(rows) == 3}
    assert built.open_time.tolist() == list(whole)
    for row, rows in zip(built.rows(), whole.values(), strict=True):
        assert row.open == rows[0].open
        assert row.close == rows[-1].close
        assert row.high == max(r.high for r in rows)
        assert row.low == min(r.low for r in rows)
        assert row.volume == pytest.approx(sum(r.volume for r in rows))


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(1, 100)), max_size=30))
def test_joining_sorts_and_lets_the_later_part_win(rows):
    parts = [Bars.of([(time * 60_000, price, price, price, price, 1, 1)]) for time, price in rows]
    joined = join([Bars.empty(), *parts])

    expected = dict(rows)
    assert joined.open_time.tolist() == [time * 60_000 for time in sorted(expected)]
    assert joined.close.tolist() == [expected[time] for time in sorted(expected)]


def test_missing_bars_are_named():
    bars = minutes(10)
    holed = join([bars[:3], bars[5:]])
    assert holed.missing(60_000) == [180_000, 240_000]


def test_frames_come_back_as_they_went():
    bars = minutes(5, 1_700_000_040_000)
    back = Bars.from_frame(bars.to_frame())
    for one, other in zip(bars.columns(), back.columns(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_frames_without_time_zone_or_columns_are_refused():
    frame = minutes(3).to_frame()
    with pytest.raises(BadData, match="time zone"):
        Bars.from_frame(frame.tz_localize(None))
    with pytest.raises(BadData, match="lacks the columns high"):
        Bars.from_frame(frame.drop(columns="high"))
    other_zone = frame.tz_convert("Asia/Tokyo")
    assert Bars.from_frame(other_zone).open_time.tolist() == Bars.from_frame(frame).open_time.tolist()
    assert isinstance(frame, pd.DataFrame)

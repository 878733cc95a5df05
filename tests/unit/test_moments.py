"""Whatever people have that is a moment is one; what is none is refused in one word."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from bootstrap.moments import milliseconds
from domain.errors import BadData

NOON = 1_706_702_400_000
MIDNIGHT = NOON - 43_200_000


@pytest.mark.parametrize(
    "when",
    [
        "2024-01-31T12:00", "2024-01-31 12:00:00", " 2024-01-31T12:00:00Z ", "2024-01-31T07:00-05:00", "20240131T1200",
        datetime(2024, 1, 31, 12), datetime(2024, 1, 31, 12, tzinfo=UTC),
        datetime(2024, 1, 31, 17, 30, tzinfo=timezone(timedelta(hours=5, minutes=30))),
        pd.Timestamp("2024-01-31 12:00"), pd.Timestamp("2024-01-31 07:00", tz="America/New_York"),
        np.datetime64("2024-01-31T12"), np.datetime64("2024-01-31T12:00:00.000000000"), np.datetime64(NOON, "ms"),
        NOON, NOON // 1000, NOON * 1000, NOON * 1_000_000, float(NOON), NOON / 1000, str(NOON), str(NOON // 1000),
        np.int64(NOON), np.float64(NOON / 1000),
    ],
    ids=lambda when: type(when).__name__,
)  # fmt: skip
def test_a_moment_is_one_however_it_is_told(when):
    assert milliseconds(when, 0) == NOON


@pytest.mark.parametrize("when", ["2024-01-31", "20240131", date(2024, 1, 31), np.datetime64("2024-01-31")])
def test_a_day_is_its_midnight(when):
    assert milliseconds(when, 0) == MIDNIGHT


def test_every_millisecond_is_exact():
    for ms in np.random.default_rng(1).integers(10**12, 4 * 10**12, 200).tolist():
        told = pd.Timestamp(ms, unit="ms", tz="UTC")
        for when in (told, told.to_pydatetime(), told.to_datetime64(), told.isoformat(), ms, ms * 1_000_000):
            assert milliseconds(when, 0) == ms


def test_nothing_and_what_was_before_all_times():
    assert milliseconds(None, 7) == 7
    assert milliseconds("1960-01-01", 7) == 0


@pytest.mark.parametrize(
    "when",
    [
        "yesterday", "", "2024-13-01", "31.01.2024", pd.NaT, np.datetime64("NaT"), float("nan"), float("inf"), True,
        np.True_, 2024, -5, 10**30, [], {}, b"2024-01-31", object(), timedelta(days=1), pd.Timedelta(1, "D"), 1j,
        Decimal("NaN"), np.array([NOON]), slice(1), datetime, ("2024", 1), pd.Series([NOON]),
    ],
    ids=lambda when: type(when).__name__,
)  # fmt: skip
def test_what_is_no_moment_is_bad_data(when):
    with pytest.raises(BadData, match="is no time"):
        milliseconds(when, 0)

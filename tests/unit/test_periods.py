"""Weeks begin on Monday and months on their first day, both in UTC."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.periods import NAMES, closes, opens


def ms(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("interval", "time", "opened", "closed"),
    [
        ("W", ms(2026, 11, 29, 23, 59), ms(2026, 11, 23), ms(2026, 11, 30)),
        ("W", ms(2026, 11, 30), ms(2026, 11, 30), ms(2026, 12, 7)),
        ("M", ms(2024, 2, 29, 12), ms(2024, 2, 1), ms(2024, 3, 1)),
        ("M", ms(2026, 12, 31, 23), ms(2026, 12, 1), ms(2027, 1, 1)),
        ("D", ms(2026, 11, 29, 5), ms(2026, 11, 29), ms(2026, 11, 30)),
        ("720", ms(2026, 11, 29, 13), ms(2026, 11, 29, 12), ms(2026, 11, 30)),
    ],
)
def test_a_candle_opens_and_closes_where_bybits_does(interval, time, opened, closed):
    assert (opens(interval, time), closes(interval, opened)) == (opened, closed)


@given(st.sampled_from(NAMES), st.integers(0, 4_000_000_000_000))
def test_candles_follow_one_another_without_gap(interval, time):
    opened = opens(interval, time)
    closed = closes(interval, opened)
    assert opened <= time < closed
    assert opens(interval, opened) == opened
    assert opens(interval, closed) == closed
    assert opens(interval, closed - 1) == opened

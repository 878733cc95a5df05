"""Rows that can be no bars are set aside, each with its reason, and nothing is lost."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from domain.candle import Bars, check_bar
from domain.coverage import Span
from domain.sifting import sift

STEP, NOW = 60_000, 100 * 60_000
GOOD = (1.0, 2.0, 0.5, 1.5, 10.0, 15.0)
number = st.one_of(st.sampled_from([0.5, 1.0, 1.5, 2.0, 0.0, -1.0]), st.floats(width=32))
row = st.tuples(st.one_of(st.integers(0, 110).map(lambda n: n * STEP), st.integers(-5, 2**60)), *[number] * 6)


@given(st.lists(st.one_of(row, st.integers(0, 50).map(lambda n: (n * STEP, *GOOD))), max_size=30))
def test_every_row_is_kept_or_refused_or_unfinished_or_a_repetition(rows):
    sifted = sift(Bars.of(rows), STEP, NOW)
    assert len(sifted.bars) + len(sifted.refused) + sifted.unfinished + sifted.repeated == len(rows)
    assert (np.diff(sifted.bars.open_time) > 0).all()
    for bar in sifted.bars.rows():
        check_bar(bar, STEP)
        assert bar.open_time + STEP <= NOW
    assert all(one.reason for one in sifted.refused)


def refused(*rows, asked=None):
    return [one.reason for one in sift(Bars.of(rows), STEP, NOW, asked).refused]


def test_each_fault_has_its_reason():
    nan = float("nan")
    assert refused((-1, *GOOD)) == ["no time in milliseconds since 1970"]
    assert refused((0, nan, *GOOD[1:])) == ["a value is not a finite number"]
    assert refused((0, 0.0, *GOOD[1:])) == ["a price is zero or negative"]
    assert refused((0, 1.0, 1.2, 0.5, 1.5, 1, 1)) == ["high and low do not enclose open and close"]
    assert refused((0, *GOOD[:4], -1, 1)) == ["negative volume or turnover"]
    assert refused((1, *GOOD)) == ["opens off the grid of its timeframe"]
    assert refused((STEP, *GOOD), asked=Span(0, STEP)) == ["outside of the range that was asked for"]


def test_of_rows_that_contradict_each_other_none_is_believed():
    assert refused((0, *GOOD), (0, 1.1, *GOOD[1:]), (STEP, *GOOD)) == ["told twice, with different values"] * 2


def test_rows_told_twice_alike_count_once_and_reversed_ones_come_in_order():
    sifted = sift(Bars.of([(2 * STEP, *GOOD), (STEP, *GOOD), (STEP, *GOOD), (0, *GOOD)]), STEP, NOW)
    assert sifted.bars.open_time.tolist() == [0, STEP, 2 * STEP]
    assert sifted.repeated == 1


def test_a_bar_that_is_still_open_is_neither_kept_nor_held_against_the_source():
    sifted = sift(Bars.of([(NOW - STEP, *GOOD), (NOW, *GOOD), (NOW - 1, *GOOD)]), STEP, NOW)
    assert sifted.bars.open_time.tolist() == [NOW - STEP]
    assert sifted.unfinished == 1
    assert len(sifted.refused) == 1

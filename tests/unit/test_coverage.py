"""Missing bars are found exactly, whatever is missing."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.coverage import (
    Span,
    bars_in,
    cover,
    density,
    known_timeframe,
    merged,
    missing,
    parts,
    reach,
    without,
)
from domain.errors import BadData

STEP = 60_000
spans = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 12)).map(lambda p: Span(p[0] * STEP, (p[0] + p[1]) * STEP)), max_size=8
)


def openings(held: list[Span]) -> set[int]:
    return {time for span in held for time in range(span.start, span.end, STEP)}


@given(st.sets(st.integers(0, 80)), st.integers(0, 80 * STEP), st.integers(0, 80 * STEP))
def test_what_is_missing_is_what_the_grid_has_and_the_times_have_not(present, start, end):
    times = np.array(sorted(present), np.int64) * STEP
    found = missing(times, Span(start, end), STEP)
    grid = {time for time in range(0, 81 * STEP, STEP) if start <= time < end}
    assert openings(found) == grid - set(times.tolist())
    assert all(span.start % STEP == 0 and span.end > span.start for span in found)
    assert all(one.end < other.start for one, other in itertools.pairwise(found))


@given(spans, spans)
def test_spans_without_others_are_a_difference_of_sets(one, other):
    assert openings(without(one, other)) == openings(one) - openings(other)
    assert openings(merged(one)) == openings(one)
    assert bars_in(merged(one), STEP) == len(openings(one))


@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(1, 50))
def test_parts_are_the_span_and_none_is_too_long(start, length, size):
    cut = list(parts(Span(start, start + length), size))
    assert sum(one.end - one.start for one in cut) == length
    assert all(0 < one.end - one.start <= size for one in cut)


def test_what_the_exchange_never_had_is_not_missing():
    times = np.array([0, 1, 2, 5, 9], np.int64) * STEP
    held = cover(times, Span(0, 10 * STEP), "1m", [Span(3 * STEP, 5 * STEP)])
    assert (held.expected, held.actual, held.absent, held.lacking) == (10, 5, 2, 3)
    assert held.missing == [Span(6 * STEP, 9 * STEP)]
    assert held.completeness == pytest.approx(100 * 5 / 8)


@given(st.sets(st.integers(0, 60), min_size=2), st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)), max_size=4))
def test_density_counts_the_bars_that_can_be(present, nights):
    times = np.array(sorted(present)) * STEP
    closed = [Span(start * STEP, (start + length) * STEP) for start, length in nights]
    dark = {at for start, length in nights for at in range(start, start + length)}
    expected = set(range(min(present), max(present) + 1)) - dark
    share = 100.0 * len(present & expected) / len(expected) if expected else 100.0
    assert density(times, STEP, closed) == pytest.approx(share)


@given(st.integers(1, 50), st.lists(st.tuples(st.integers(900, 1_000), st.integers(1, 30)), max_size=4))
def test_reaching_back_makes_room_for_so_many_bars_and_not_one_more(count, nights):
    closed = [Span(start * STEP, (start + length) * STEP) for start, length in nights]
    start = reach(1_000 * STEP, count, STEP, lambda _: closed)
    assert bars_in(without([Span(start, 1_000 * STEP)], closed), STEP) == count
    assert start % STEP == 0


def test_an_empty_window_is_complete():
    assert cover(np.empty(0, np.int64), Span(5, 5), "1m").completeness == 100.0


def test_timeframes_that_history_does_not_know_are_refused_with_those_it_does():
    with pytest.raises(BadData, match="'1w' is not known; there are 1m, 3m"):
        known_timeframe("1w")

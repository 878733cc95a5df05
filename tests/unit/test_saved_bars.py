"""Of a window only what is not stored as it is has to be saved."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from domain.candle import Bars, Series
from persistence.saved_bars import LEAST, Mark, SavedBars

BTC = Series("BTC/USDT:USDT", "15m")
MARK = Mark(7, None)


@st.composite
def windows(draw):
    """Two windows: mostly the second goes on where the first ends, and now and then a value in it is another one."""
    times = draw(st.lists(st.integers(0, 400), min_size=2 * LEAST, max_size=80, unique=True).map(sorted))
    whole = [(time, *[float(time % 5 + column) for column in range(6)]) for time in times]
    end, begin = draw(st.integers(LEAST, len(times))), draw(st.integers(0, len(times) - LEAST))
    changed = draw(st.sets(st.tuples(st.integers(0, len(times) - 1), st.integers(1, 6)), max_size=2))
    later = [
        tuple(value + ((row, column) in changed) for column, value in enumerate(one)) for row, one in enumerate(whole)
    ]
    return whole[:end], later[begin:]


def saving(saved, bars, mark=MARK, series=BTC):
    """Return what a save of a window writes, by time: what lacks, and the whole of what somebody else has touched."""
    written = saved.lacking({series: bars}) | saved.others({series: bars}, {series: mark})
    saved.mark({series: mark})
    return {row.open_time: tuple(row) for row in written.get(series, Bars.empty()).rows()}


def by_time(rows):
    return {row[0]: tuple(row) for row in rows}


@given(windows(), st.booleans(), st.booleans())
def test_what_lacks_is_what_was_not_saved_with_the_same_values(both, touched, shuffled):
    first, second = both
    saved, now = SavedBars(), Mark(8, None) if touched else MARK
    assert saving(saved, Bars.of(first)) == by_time(first)
    handed = second[::-1] if shuffled else second
    assert saving(saved, Bars.of(handed), now) == by_time(second if touched else [r for r in second if r not in first])
    assert not saving(saved, Bars.of(second), now)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 60), st.booleans()), min_size=2, max_size=12))
def test_windows_that_roll_are_stored_as_they_are_however_long_and_whatever_of_them_was_corrected(steps):
    saved, stored, begin = SavedBars(), {}, 0
    for step, size, corrected in steps:
        begin += step
        window = {time: stored.get(time, (time, *[float(time)] * 6)) for time in range(begin, begin + size)}
        if corrected:
            middle = begin + size // 2
            window[middle] = (middle, *[window[middle][1] + 0.5] * 6)
        stored |= saving(saved, Bars.of(window.values()))
        assert {time: stored[time] for time in window} == window
    if size >= LEAST:
        assert not saving(saved, Bars.of(window.values()))


def test_a_window_of_which_the_columns_are_not_one_piece_of_memory_is_compared_too():
    held = Bars.of([(time, *[float(time)] * 6) for time in range(4 * LEAST)])
    spread = Bars(*(column[::2] for column in held.columns()))
    saved = SavedBars()
    assert len(saving(saved, spread[: LEAST + 5])) == LEAST + 5
    assert saving(saved, spread[2 : LEAST + 9]) == by_time(spread[LEAST + 5 : LEAST + 9].rows())


def test_too_short_a_window_is_not_remembered_and_always_saved():
    saved = SavedBars()
    held = Bars.of([(time, *[1.0] * 6) for time in range(LEAST)])
    saving(saved, held)
    assert saved.knows({BTC: held})
    assert not saving(saved, held[1:])
    for _ in range(2):
        assert not saved.knows({BTC: held})
        assert saving(saved, held[1:]) == by_time(held[1:].rows())

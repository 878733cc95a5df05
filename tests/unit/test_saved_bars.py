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


@given(windows(), st.booleans())
def test_what_lacks_is_what_was_not_saved_with_the_same_values(both, touched):
    first, second = both
    saved = SavedBars()
    compared = saved.compared({BTC: Bars.of(first)}, {})
    assert compared.lacking[BTC].rows() == Bars.of(first).rows()
    saved.keep(compared.windows, {BTC: MARK})
    marks = {BTC: Mark(8, None) if touched else MARK}
    lacking = saved.compared({BTC: Bars.of(second)}, marks).lacking.get(BTC, Bars.empty())
    wanted = second if touched else [row for row in second if row not in first]
    assert lacking.rows() == Bars.of(wanted).rows()


def test_too_short_a_window_is_not_remembered():
    saved = SavedBars()
    held = Bars.of([(time, *[1.0] * 6) for time in range(LEAST)])
    saved.keep(saved.compared({BTC: held}, {}).windows, {BTC: MARK})
    assert saved.knows({BTC: held})
    saved.keep(saved.compared({BTC: held[1:]}, {BTC: MARK}).windows, {BTC: MARK})
    assert not saved.knows({BTC: held})

"""An allowance lets a burst pass, and then what is regained."""

from hypothesis import given
from hypothesis import strategies as st

from market.allowance import Allowance


def test_a_burst_passes_and_then_one_at_a_time():
    held = Allowance(20, 300)
    assert [held.take(1_000.0) for _ in range(20)] == [0.0] * 20
    assert held.take(1_000.0) == 15
    assert held.take(1_015.0) == 15
    assert held.take(1_330.0) == 0


@given(pauses=st.lists(st.floats(0, 40), max_size=80))
def test_in_no_window_are_there_more_than_a_burst_and_what_it_regains(pauses):
    held, now, tries = Allowance(20, 300), 0.0, []
    for pause in pauses:
        now += pause
        now += held.take(now)
        tries.append(now)
    for first in tries:
        assert sum(first <= one < first + 300 for one in tries) <= 41

"""A token bucket lets a burst pass, and then what is regained."""

from hypothesis import given
from hypothesis import strategies as st

from domain.token_bucket import TokenBucket
from telegram_bot.gate import A_SECOND, BURST, Flood

PAUSES = st.lists(st.floats(0, 40), max_size=80)
ROUNDING_S = 1e-6


def test_a_burst_passes_and_then_one_at_a_time():
    bucket = TokenBucket(20, 300)
    assert [bucket.take(1_000.0) for _ in range(20)] == [0.0] * 20
    assert bucket.take(1_000.0) == 15
    assert bucket.take(1_015.0) == 15
    assert bucket.take(1_330.0) == 0


@given(pauses=PAUSES)
def test_in_no_window_are_there_more_than_a_burst_and_what_it_regains(pauses):
    bucket, now, tries = TokenBucket(20, 300), 0.0, []
    for pause in pauses:
        now += pause
        now += bucket.take(now)
        tries.append(now)
    for first in tries:
        assert sum(first <= time < first + 300 - ROUNDING_S for time in tries) <= 40


@given(pauses=PAUSES)
def test_who_does_not_wait_is_refused_what_is_not_regained(pauses):
    bucket, now, passed = TokenBucket(20, 300), 1_000.0, []
    for pause in [0.0] * 25 + pauses:
        now += pause
        if bucket.allows(now):
            passed.append(now)
    assert passed[:20] == [1_000.0] * 20
    for first in passed:
        assert sum(first <= time < first + 300 - ROUNDING_S for time in passed) <= 40


def test_a_refused_try_costs_nothing():
    bucket = TokenBucket(2, 10)
    assert [bucket.allows(100.0) for _ in range(5)] == [True, True, False, False, False]
    assert not bucket.allows(104.9)
    assert bucket.allows(105.0)


def test_each_person_in_a_chat_has_a_burst_of_their_own():
    flood = Flood()
    burst = int(BURST)
    assert [flood.allows(1, 50.0) for _ in range(burst + 1)] == [True] * burst + [False]
    assert flood.allows(2, 50.0)
    assert flood.allows(1, 50.0 + 1 / A_SECOND)

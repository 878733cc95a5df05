"""How late the loop is, is told of late, freezes included; whoever notes and whoever asks have the same figure."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.lag import HALF_S, PAUSE_S, Lags, LoopLag, quantile_ms


def turned(lag: LoopLag, seconds: float, begun: float = 0.0, late_ms: float = 0.4) -> float:
    """Let the loop turn for so long; return when that ends."""
    for turn in range(int(seconds / PAUSE_S)):
        lag.note(late_ms, begun + turn * PAUSE_S)
    return begun + seconds


def test_a_freeze_of_a_second_shows_in_the_99th_percentile_for_a_minute():
    lag = LoopLag()
    now = turned(lag, 300)
    assert lag.quantile_ms(0.99) == 0
    lag.note(1_000, now + 1)
    assert lag.quantile_ms(0.99) > 250
    now = turned(lag, HALF_S - 2, now + 1)
    assert lag.quantile_ms(0.99) > 250
    turned(lag, 2 * HALF_S, now)
    assert lag.quantile_ms(0.99) == 0
    assert lag.max_ms == 1_000


def test_what_was_before_the_beginning_is_forgotten_by_all_who_hold_it():
    lag = LoopLag()
    held = lag
    lag.note(20_000, 20)
    lag.begin()
    assert (held.quantile_ms(0.99), held.max_ms) == (0, 0)
    held.note(700, 21)
    assert lag.max_ms == 700


def test_what_nobody_noted_for_long_is_of_late_no_longer():
    lag = LoopLag()
    lag.note(900, 1)
    lag.note(1, 1 + 3 * HALF_S)
    assert lag.quantile_ms(1) == 1


@given(
    st.lists(st.lists(st.integers(0, 1_000), max_size=40), min_size=1, max_size=3), st.sampled_from([0.5, 0.9, 0.99, 1])
)
def test_quantiles_of_several_are_those_of_all_their_delays(parts, share):
    held = []
    for delays in parts:
        held.append(Lags())
        for one in delays:
            held[-1].note(one)
    every = [one for delays in parts for one in delays]
    expected = int(np.quantile(every, share, method="inverted_cdf")) if every else 0
    assert quantile_ms(share, *held) == expected

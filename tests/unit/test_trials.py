"""Trying many settings: which there are, what is later than what, and what luck is worth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.trials import choices, deflated_sharpe, folds, trials
from domain.coverage import Span
from domain.errors import BadData

DAY = 86_400_000


def test_values_are_listed_or_stepped():
    assert choices("mr.touch_atr=0.3, 0.5") == ("mr.touch_atr", ["0.3", "0.5"])
    assert choices("risk.percent=0.1:0.5:0.1") == ("risk.percent", ["0.1", "0.2", "0.3", "0.4", "0.5"])
    assert choices("a=2:2:1") == ("a", ["2"])


@pytest.mark.parametrize(
    "text", ["", "mr.touch_atr", "=1", "a=", "a=1:2", "a=1:2:0", "a=2:1:0.5", "a=0:9e9:1e-9", "a=x:y:z"]
)
def test_what_names_no_values_is_refused(text):
    with pytest.raises(BadData, match=r"0\.2:0\.8:0\.1|no sensible steps"):
        choices(text)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(1, 200), st.integers(0, 9))
def test_draws_are_different_combinations_of_the_whole(sizes, draws, seed):
    values = {f"v{place}": [str(n) for n in range(size)] for place, size in enumerate(sizes)}
    whole, drawn = trials(values), trials(values, draws, seed)
    assert len(whole) == np.prod(sizes)
    assert len(drawn) == min(draws, len(whole))
    assert len({tuple(one.items()) for one in drawn}) == len(drawn)
    assert all(one in whole for one in drawn)
    assert drawn == trials(values, draws, seed)


def test_more_than_anybody_can_wait_for_is_refused():
    with pytest.raises(BadData, match="--draws"):
        trials({name: [str(n) for n in range(100)] for name in "abc"})
    assert len(trials({name: [str(n) for n in range(100)] for name in "abc"}, 7)) == 7


@given(st.integers(0, 10**12), st.integers(3 * DAY, 900 * DAY), st.integers(1, 8))
def test_what_is_tried_on_is_later_than_what_was_chosen_on(start, length, count):
    span = Span(start, start + length)
    try:
        found = folds(span, count)
    except BadData:
        assert length / (count + 1) < 2 * DAY
        return
    assert len(found) == count
    for one, following in zip(found, [*found[1:], None], strict=True):
        assert one.chosen_on.start == span.start
        assert one.chosen_on.end == one.tried_on.start
        assert one.tried_on.end > one.tried_on.start
        assert one.tried_on.end == (following.chosen_on.end if following else span.end)


def test_the_best_of_noise_is_not_believed_and_an_edge_is():
    rng, believed = np.random.default_rng(1), 0
    for _ in range(40):
        returns = rng.normal(0, 0.01, (100, 365))
        daily = returns.mean(axis=1) / returns.std(axis=1, ddof=1)
        best = int(daily.argmax())
        alone = deflated_sharpe(returns[best], [daily[best]])
        among = deflated_sharpe(returns[best], daily.tolist())
        assert among < alone
        believed += among > 0.95
    assert believed <= 6
    edge = rng.normal(0.003, 0.01, 365)
    daily = [edge.mean() / edge.std(ddof=1), *rng.normal(0, 0.05, 99)]
    assert deflated_sharpe(edge, daily) > 0.95


def test_too_little_to_say():
    assert deflated_sharpe(np.array([0.1, 0.2]), [1.0]) is None
    assert deflated_sharpe(np.zeros(50), [0.0]) is None

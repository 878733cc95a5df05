"""However few faults the proof draws, every kind is among them."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest

from domain.records import Touch
from tests.torture import kills, sigterm
from tests.torture.episodes import SYMBOLS, Market, rules
from tests.torture.hand import CAUSED_BY, DEEDS
from tests.torture.kills import dealt
from tests.torture.syscalls import FAILURES, some
from tests.torture.venue import Venue
from tests.torture.virtual import run_virtually


@pytest.mark.parametrize("faults", [kills.FAULTS, sigterm.FAULTS])
def test_every_fault_comes_as_often_as_any_other_in_every_round(faults):
    drawn = list(itertools.islice(dealt(random.Random(5), faults), 3 * len(faults)))
    for begin in range(0, len(drawn), len(faults)):
        assert Counter(drawn[begin : begin + len(faults)]) == Counter(faults)
    other = list(itertools.islice(dealt(random.Random(6), faults), len(drawn)))
    assert other != drawn


def test_every_system_call_and_every_failure_is_among_a_few_cases():
    counted = {"write": 7, "flock": 1, "mkdir": 1, "fsync": 1, "rename": 2, "pwrite64": 265}
    for every in (20, 40, 100):
        chosen = [one for i, call in enumerate(counted) for one in some(call, counted[call], every, i)]
        assert {call for call, _, _ in chosen} == counted.keys()
        assert {failure for _, failure, _ in chosen} == set(FAILURES)
        assert all(1 <= number <= counted[call] for call, _, number in chosen)
        assert len(chosen) <= 5 * sum(counted.values()) // every + len(counted)
    assert len(some("pwrite64", 265, 1, 3)) == 5 * 265


def test_everything_that_may_happen_in_an_account_happens():
    async def act(_):
        draw = random.Random(8)
        venue = Venue(draw, {symbol: rules(symbol) for symbol in SYMBOLS}, trouble=0.0)
        venue.account.state.isolated = True
        market = Market(draw, venue)
        for _ in range(600):
            market.step()
            venue.hand.act()
        return venue

    venue = run_virtually(act)
    assert set().union(*venue.hand.kinds.values()) == set(DEEDS) - {"spot"}
    assert venue.hand.spent
    assert set(CAUSED_BY) == set(Touch)

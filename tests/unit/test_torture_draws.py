"""However few faults the proof draws, every kind is among them."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest

from tests.torture import kills, sigterm
from tests.torture.kills import dealt
from tests.torture.syscalls import FAILURES, some


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

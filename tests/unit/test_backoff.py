"""Waits grow, end somewhere, and are spread."""

import random

import pytest

from domain.backoff import Backoff

WAITS = Backoff(0.2, 5.0)


def test_the_bound_doubles_up_to_the_longest():
    assert [WAITS.bound_s(failures) for failures in range(1, 8)] == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


@pytest.mark.parametrize("failures", [10, 1_000, 10**9])
def test_there_is_no_number_of_failures_that_is_too_large(failures):
    assert WAITS.bound_s(failures) == 5.0


def test_before_the_first_failure_the_bound_is_the_first_one():
    assert WAITS.bound_s(0) == 0.2


@pytest.mark.parametrize("failures", [1, 3, 50])
def test_a_wait_lies_between_half_the_first_and_its_bound(failures):
    waits = [WAITS.wait_s(failures, random.Random(1).uniform) for _ in range(100)]
    assert all(0.1 <= wait <= WAITS.bound_s(failures) for wait in waits)


def test_it_is_the_caller_who_draws():
    assert WAITS.wait_s(3, lambda low, high: (low + high) / 2) == pytest.approx(0.45)

"""An order of ours has ended when its executions add up, or when its end is reported; settled when all are known."""

from __future__ import annotations

from decimal import Decimal as D

import pytest

from domain.order import OrderState
from engine.order_register import OwnOrder


def order(filled=0):
    return OwnOrder("L1-x-e0", "A/USDT:USDT", "e", D(10), reduce_only=False, filled=D(filled))


@pytest.mark.parametrize(("filled", "working", "rest"), [(0, True, 10), (4, True, 6), (10, False, 0)])
def test_without_a_report_it_works_until_its_executions_add_up(filled, working, rest):
    held = order(filled)
    assert (held.working, held.settled, held.rest) == (working, not working, rest)


@pytest.mark.parametrize(("filled", "reported", "settled"), [(0, 0, True), (3, 4, False), (4, 4, True), (5, 4, True)])
def test_a_reported_end_settles_it_once_all_that_was_counted_is_known(filled, reported, settled):
    held = order(filled)
    held.end(OrderState.CANCELLED, D(reported))
    assert (held.working, held.rest, held.settled) == (False, 0, settled)


def test_the_first_report_stands_and_a_later_one_only_raises_the_count():
    held = order()
    held.end(OrderState.CANCELLED, D(4))
    held.end(OrderState.FILLED, D(3))
    assert (held.state, held.reported) == (OrderState.CANCELLED, 4)
    held.end(OrderState.FILLED, D(5))
    assert (held.state, held.reported) == (OrderState.CANCELLED, 5)

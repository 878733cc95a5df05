"""Late lists, on a clock of the test's own."""

from decimal import Decimal as D

import pytest

from domain.account import ClosedPnl, Execution, VenueOrder, VenuePosition
from domain.order import OrderKind, OrderSide
from sandbox.delays import CLOSED, EXECUTIONS, HISTORY, LONGEST_MS, OPEN, POSITIONS, Delays

A = "A/USDT:USDT"


class Late:
    """Delays with a clock that the test moves."""

    def __init__(self, **late: int) -> None:
        self.time = 1_000_000
        self.delays = Delays(lambda: self.time)
        self.switch(**late)

    def switch(self, **late: int) -> None:
        self.delays.by_list = {globals()[name.upper()]: delay for name, delay in late.items()}


def order(status="New", filled="0", name="o") -> VenueOrder:
    return VenueOrder(
        id=name, link_id="", symbol=A, side=OrderSide.BUY, kind=OrderKind.LIMIT, qty=D(9), status=status,
        filled=D(filled),
    )  # fmt: skip


def position(qty) -> VenuePosition:
    return VenuePosition(symbol=A, qty=D(qty))


def test_an_order_is_shown_as_it_was():
    late = Late(open=1_000, history=2_000)
    late.delays.note([order()])
    late.time += 500
    late.delays.note([order("PartiallyFilled", "4")])
    now = order("Cancelled", "4")
    late.time += 500
    late.delays.note([now])
    seen = []
    for _ in range(5):
        opened = late.delays.open_orders([], A)
        seen.append(([(one.status, one.filled) for one in opened], len(late.delays.ended_orders([now]))))
        late.time += 500
    assert seen == [
        ([("New", D(0))], 0), ([("PartiallyFilled", D(4))], 0), ([], 0), ([], 0), ([], 1)
    ]  # fmt: skip
    assert late.delays.order(OPEN, None) is None


def test_what_was_there_before_a_list_was_late_is_there_until_its_change_is_shown():
    late = Late()
    late.delays.note([order(), position(5)])
    late.switch(open=1_000, positions=1_000, history=1_000)
    late.time += 10_000
    late.delays.note([order("Filled", "9"), position(14)])
    assert [one.status for one in late.delays.open_orders([], "")] == ["New"]
    assert late.delays.open_orders([], "B/USDT:USDT") == []
    assert late.delays.ended_orders([order("Filled", "9")]) == []
    assert [one.qty for one in late.delays.positions([position(14)])] == [5]
    late.time += 1_000
    assert late.delays.open_orders([], "") == []
    assert [one.qty for one in late.delays.positions([position(14)])] == [14]


def test_nothing_of_an_earlier_time_comes_back_when_a_list_is_late_again():
    late = Late(positions=1_000)
    late.delays.note([position(1)])
    late.switch()
    late.delays.note([position(2)])
    late.switch(positions=1_000)
    late.time += 5_000
    assert [one.qty for one in late.delays.positions([position(2)])] == [2]
    late.delays.note([position(3)])
    assert [one.qty for one in late.delays.positions([position(3)])] == [2]


@pytest.mark.parametrize("late", [{}, {"executions": 700, "closed": 900}])
def test_rows_that_never_change_are_hidden_until_their_time(late):
    held = Late(**late)
    fill = Execution(
        id="e", sequence=1, time=0, order_id="o", link_id="", symbol=A, side=OrderSide.BUY, order_type="Limit",
        qty=D(1), price=D(1), fee=D(0), fee_rate=D(0), maker=True, closed=D(0), leaves=D(0), order_qty=D(1),
    )  # fmt: skip
    closed = ClosedPnl(
        order_id="o", time=0, symbol=A, side=OrderSide.BUY, qty=D(1), entry_price=D(1), exit_price=D(1), pnl=D(0),
        open_fee=D(0), close_fee=D(0), leverage=D(1),
    )  # fmt: skip
    held.delays.note([fill, closed])
    for after in (0, 700, 900):
        held.time = 1_000_000 + after
        assert bool(held.delays.executions([fill])) == (after >= late.get("executions", 0))
        assert bool(held.delays.closed([(1, closed)])) == (after >= late.get("closed", 0))


def test_only_what_a_delay_can_ask_for_is_remembered():
    late = Late(positions=1_000, open=1_000)
    for number in range(1_000):
        late.time += 1_000
        late.delays.note([position(number), order(name=str(number)), order("Filled", name=str(number))])
    assert len(late.delays._positions[A, 0]) <= LONGEST_MS / 1_000 + 2
    assert len(late.delays._orders) <= LONGEST_MS / 1_000 + 2
    assert late.delays._working == {}
    assert {OPEN, HISTORY, EXECUTIONS, CLOSED, POSITIONS} >= late.delays.by_list.keys()

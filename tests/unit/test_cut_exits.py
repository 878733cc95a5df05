"""An exit is cut to what there is to close; the exchange calls it filled then, with less than was asked for."""

import asyncio
from decimal import Decimal as D
from types import SimpleNamespace

import pytest

from domain.order import Cause, OrderReport, OrderState, Side
from engine.intake import Intake
from engine.order_register import OwnOrder
from engine.recovery import OrderLookup
from tests.torture.virtual import run_virtually
from tests.unit.test_lost_exits import Lists
from tests.unit.test_reconciliation import SELL, A, Case, fill
from tests.unit.test_trader import World


class Leaving:
    """A position that is larger than what the exchange has, and its exit."""

    def __init__(self):
        self.case = Case(world=World({0: Side.LONG}))
        self.trader = self.case.trader
        self.case.world.entered()
        self.held = self.trader.book.of_symbol(A)
        (self.exit,) = self.trader.exit(self.held, Cause.FORCE_EXIT, 1)
        self.request, self.cut = self.exit.request, self.exit.request.qty - 5

    def fill(self, qty):
        self.trader.on_fill(fill(900, SELL, qty, 100, time=999_999, order_id=self.request.order_id, closed=qty))

    def report(self, filled):
        return OrderReport(self.request.order_id, A, OrderState.FILLED, D(filled))


def told(leaving, filled):
    """Have the private stream tell the end of the exit."""
    noted = []
    exits = SimpleNamespace(note=lambda ended, held: noted.append(ended.filled))
    intake = Intake(
        leaving.trader, None, leaving.case.shell, leaving.case.reconciler, exits, lambda *_: None, None, None
    )
    run_virtually(lambda _: intake.take_report(leaving.report(filled)))
    return noted


def looked_up(leaving, filled):
    """Have the exit looked up."""
    lists = Lists(OrderState.FILLED)
    lists.order = lambda *_: asyncio.sleep(0, leaving.report(filled))
    ended = run_virtually(lambda _: OrderLookup().settle(leaving.trader, lists, 1, ()))
    for one in ended:
        leaving.trader.on_order_ended(one)
    return [one.filled for one in ended]


@pytest.mark.parametrize("learn", [told, looked_up])
def test_an_exit_that_filled_with_less_has_ended_and_what_is_left_may_be_closed(learn):
    """Seen: it never settled, no further exit went out, and not even the operator's command freed the symbol."""
    leaving = Leaving()
    leaving.fill(leaving.cut)
    assert not leaving.held.leaving
    assert learn(leaving, leaving.cut) == [leaving.cut]
    assert (leaving.held.leaving, leaving.trader.book.unsettled()) == (True, [])


@pytest.mark.parametrize("learn", [told, looked_up])
def test_one_that_filled_whole_needs_no_report(learn):
    leaving = Leaving()
    assert learn(leaving, leaving.request.qty) == []


@pytest.mark.parametrize("learn", [told, looked_up])
def test_until_its_executions_are_known_it_is_not_settled(learn):
    leaving = Leaving()
    learn(leaving, leaving.cut)
    assert [one.order_id for one in leaving.trader.book.unsettled()] == [leaving.request.order_id]
    leaving.fill(leaving.cut)
    assert leaving.held.orders[leaving.request.order_id].settled


@pytest.mark.parametrize(("leg", "reduces", "market"), [("e", False, True), ("p", True, False)])
def test_nothing_else_is_cut(leg, reduces, market):
    order = OwnOrder(f"L1-x-{leg}0", A, leg, D(10), reduce_only=reduces, market=market)
    assert not order.cut(D(4))

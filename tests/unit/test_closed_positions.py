"""When a closed position is recorded, and which executions of others are taken note of beside it."""

import asyncio
from decimal import Decimal as D
from types import SimpleNamespace

import msgspec
import pytest

from domain.order import Cause, OrderSide, PositionReport
from engine.attribution import RACE_MS
from engine.intake import ENDED_AFTER_S, PROVEN_AFTER_S
from tests.torture.virtual import run_virtually
from tests.unit.test_bounds import Told
from tests.unit.test_trader import A

SHORTLY = 1_000


class Closing(Told):
    """A position of ours that executions have closed, while the exchange still shows one in its symbol."""

    def __init__(self, *, shown="3", adopted=False):
        super().__init__(bars_before=2)
        self.asked, self.recorded = [], []
        held = self.trader.book.of_symbol(A)
        if adopted:
            held.entry_order = ""

        async def of(_):
            self.asked.append(asyncio.get_running_loop().time())
            return []

        async def positions():
            return [PositionReport(A, D(shown), D(100), D(0), D(0), D(5), D(100), D(0))]

        async def flat(_):
            return False

        self.intake._executions = SimpleNamespace(of=of)
        self.intake._lists = SimpleNamespace(flat=flat, positions=positions)
        self.intake._funding = SimpleNamespace(belongs_here=lambda _: False, watch=lambda _: None)
        exit_order = f"L1-{held.digest}-x0"
        self.take(self.closing(time=held.last_time + SHORTLY, order_id=exit_order, cause=Cause.FORCE_EXIT))

    def finished_after(self):
        """Return after how many seconds the trade is recorded, looked at every half second."""

        async def rounds(loop):
            while self.trader.book.of_symbol(A) is not None and loop.time() < 2 * PROVEN_AFTER_S:
                await self.intake.finish_flat()
                await asyncio.sleep(0.5)
            return loop.time() - 0.5

        return run_virtually(rounds)


def test_once_all_orders_have_ended_what_closed_it_is_believed_within_seconds_and_asked_for_again():
    closing = Closing()
    assert ENDED_AFTER_S <= closing.finished_after() <= ENDED_AFTER_S + 0.5
    assert len(closing.asked) == 2


def test_what_no_order_of_ours_opened_is_waited_for_longer():
    assert PROVEN_AFTER_S <= Closing(adopted=True).finished_after() <= PROVEN_AFTER_S + 0.5


def opened_by_hand(told, before_ms):
    """Return an execution in which a hand opened 3 so long before our entry was meant."""
    held = told.trader.book.of_symbol(A)
    return msgspec.structs.replace(
        told.closing(), exec_id="hand", time=held.intended_at - before_ms, side=OrderSide.BUY, qty=D(3),
        closed_qty=D(0), cause=Cause.MANUAL, price=D(100),
    )  # fmt: skip


@pytest.mark.parametrize("before_ms", [SHORTLY, RACE_MS])
def test_what_a_hand_opened_just_before_an_entry_stands_beside_it(before_ms):
    """Seen: passed over, so that nobody knew of it as long as our position was open, and ten seconds longer."""
    told = Told(bars_before=2)
    told.take(opened_by_hand(told, before_ms))
    assert told.trader.book.net_of_strays(A, 0) == D(3)
    assert told.trader.book.of_symbol(A).qty == told.entry.request.qty


def test_its_trade_is_recorded_at_once_where_only_that_is_left():
    closing = Closing(shown="3")
    closing.take(opened_by_hand(closing, SHORTLY))
    assert closing.finished_after() == 0


def test_what_others_did_long_before_is_passed_over():
    told = Told(bars_before=2)
    held = told.trader.book.of_symbol(A)
    told.take(msgspec.structs.replace(told.closing(), exec_id="old", time=held.intended_at - RACE_MS - 1))
    assert not told.trader.book.knows("old")

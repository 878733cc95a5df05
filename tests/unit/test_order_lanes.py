"""Lanes: whatever hangs, an exit does not wait behind it, and stop moves do not pile up."""

import asyncio
import contextlib
from decimal import Decimal as D

import pytest

from domain.errors import Objection, OutcomeUnknown, Rejected
from domain.exits import ExitPlan
from domain.order import Cause, OrderKind, OrderReport, OrderRequest, OrderSide, OrderState, Side
from domain.records import Level, Opening, Receipt, StopMoved
from engine.commands import CancelOrder, MoveStop, PlaceOrder, intent_of
from engine.orders import LANES, Orders
from engine.refusals import OrderRefused, StopRefused
from engine.stops import Placed
from tests.torture.virtual import run_virtually

A, DIGEST = "A/USDT:USDT", "A" * 24
SYMBOLS = [f"S{number}/USDT:USDT" for number in range(12)]


class Broker:
    """Takes what ``hanging`` names and never answers; keeps what it was asked."""

    def __init__(self, *hanging, refuse=None):
        self.hanging, self.asked, self.refuse = hanging, [], refuse

    async def _take(self, what, *args):
        self.asked.append((what, asyncio.get_running_loop().time(), *args))
        if what in self.hanging:
            await asyncio.Event().wait()

    async def set_leverage(self, symbol, leverage):
        await self._take("set_leverage", symbol, leverage)

    async def place(self, request):
        await self._take("exit" if request.reduce_only and request.price is None else "place", request.order_id)
        if self.refuse is not None:
            raise self.refuse

    async def cancel(self, symbol, order_id):
        await self._take("cancel", order_id)

    async def set_stop(self, symbol, stop, target, *, index=0):
        await self._take("set_stop", stop)
        if self.refuse is not None:
            raise self.refuse

    async def order(self, symbol, order_id):
        return OrderReport(order_id, symbol, OrderState.CANCELLED)

    async def positions(self):
        return []

    def times(self, what):
        return [at for kind, at, *_ in self.asked if kind == what]


class Slow(Broker):
    """Carries stops out after a while, and loses the answer if it is to."""

    def __init__(self, seconds, *, loses=False):
        super().__init__()
        self.seconds, self.loses = seconds, loses

    async def set_stop(self, symbol, stop, target, *, index=0):
        if self.loses:
            self.asked.append(("late stop", asyncio.get_running_loop().time() + self.seconds))
            raise OutcomeUnknown("no answer")
        await asyncio.sleep(self.seconds)
        await self._take("set_stop", stop)


class Desk:
    def __init__(self, broker):
        self.reported = []
        self.orders = Orders(broker, self._append, self._report, lambda: None)

    async def _append(self, record):
        return Receipt(Level.JOURNALED)

    async def _report(self, what):
        self.reported.append(what)


@contextlib.asynccontextmanager
async def working(broker):
    desk = Desk(broker)
    tasks = [asyncio.ensure_future(desk.orders.run(lane)) for lane in range(LANES)]
    yield desk
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def order(symbol, leg="e", cause=Cause.ENTRY, price=None, signal=None):
    reduces = leg != "e"
    request = OrderRequest(
        f"L1-{DIGEST}-{leg}0", symbol, OrderSide.SELL if reduces else OrderSide.BUY,
        OrderKind.LIMIT if price else OrderKind.MARKET, D(1), price, None if reduces else D(90),
        None if reduces else D(110), reduces,
    )  # fmt: skip
    opening = Opening("s", "3m", 0, Side.LONG, D(100), D(90), D(110), ExitPlan(), D(5))
    return PlaceOrder(intent_of(request, cause, 1, None if reduces else opening), request, signal)


def move(stop="95", symbol=A, digest=DIGEST):
    return MoveStop(digest, symbol, D(stop), Cause.TRAILING_STOP, 1, Side.LONG)


@pytest.mark.parametrize("hanging", [("set_leverage",), ("place",), ("cancel",), ("set_stop",),
                                     ("set_leverage", "place", "cancel", "set_stop")])  # fmt: skip
def test_an_exit_waits_for_nothing_that_hangs_not_even_in_its_own_symbol(hanging):
    async def case(loop):
        broker = Broker(*hanging)
        async with working(broker) as desk:
            for symbol in (A, *SYMBOLS):
                await desk.orders.put(order(symbol))
                await desk.orders.put(order(symbol, "p", Cause.PARTIAL, D(105)))
                await desk.orders.put(CancelOrder(symbol, f"L1-{DIGEST}-e0", 1))
                await desk.orders.put(move(symbol=symbol, digest=symbol))
            await asyncio.sleep(1)
            asked_at = loop.time()
            for symbol in (A, *SYMBOLS):
                await desk.orders.put(order(symbol, "x", Cause.FORCE_EXIT))
            await asyncio.sleep(1)
            assert broker.times("exit") == [asked_at] * (1 + len(SYMBOLS))

    run_virtually(case)


def test_of_several_stop_moves_that_wait_the_last_one_is_sent():
    async def case(_):
        broker = Broker()
        async with working(broker) as desk:
            for stop in ("95", "96", "97"):
                await desk.orders.put(move(stop))
            await asyncio.sleep(1)
            assert [one[2] for one in broker.asked] == [D(97)]
            assert [type(one) for one in desk.reported] == [StopMoved]

    run_virtually(case)


def test_a_stop_on_its_way_reaches_no_later_position():
    async def case(_):
        slow, losing = Slow(3.0), Slow(4.9, loses=True)
        for broker in (slow, losing):
            async with working(broker) as desk:
                await desk.orders.put(move())
                await asyncio.sleep(0.1)
                await desk.orders.put(order(A))
                await desk.orders.put(order(SYMBOLS[0]))
                await asyncio.sleep(20)
        assert slow.times("place")[1] == slow.times("set_stop")[0]
        assert losing.times("place")[1] > losing.times("late stop")[0]
        for broker in (slow, losing):
            # only its own symbol waits
            assert broker.times("place")[0] < broker.times("place")[1] - 2

    run_virtually(case)


def test_an_entry_is_not_made_while_an_earlier_stop_hangs():
    async def case(_):
        broker = Broker("set_stop")
        async with working(broker) as desk:
            await desk.orders.put(move())
            await asyncio.sleep(0.1)
            await desk.orders.put(order(A))
            await asyncio.sleep(60)
            assert broker.times("place") == []
            (ended,) = desk.reported
            assert (ended.state, "earlier position" in ended.reason) == (OrderState.NOT_FOUND, True)

    run_virtually(case)


def test_moves_that_wait_are_dropped_when_a_new_position_is_entered():
    async def case(_):
        broker = Broker("cancel")
        async with working(broker) as desk:
            # the lane hangs on a cancellation, the move waits behind it
            await desk.orders.put(CancelOrder(A, f"L1-{DIGEST}-p0", 1))
            await desk.orders.put(move(digest="of the one before"))
            await desk.orders.put(order(A))
            await desk.orders.put(move("96", digest="of the new one"))
            assert list(desk.orders._moves) == ["of the new one"]
            await asyncio.sleep(1)
            assert len(broker.times("place")) == 1

    run_virtually(case)


def test_a_refused_stop_is_reported_with_what_it_means_and_never_as_moved():
    async def case(_):
        async with working(Broker(refuse=Rejected("no", 10001, Objection.ABSENT))) as desk:
            await desk.orders.put(move())
            await asyncio.sleep(1)
            (refused,) = desk.reported
            assert (type(refused), refused.outcome.placed) == (StopRefused, Placed.ABSENT)

    run_virtually(case)


def test_what_may_be_sent_in_another_shape_is_reported_with_its_objection():
    async def case(_):
        refuse = Rejected("too much", 110007, Objection.FUNDS)
        async with working(Broker(refuse=refuse)) as desk:
            for command in (order(A, signal=object()), order(A), order(A, "p", Cause.PARTIAL, D(105)),
                            order(A, "x", Cause.FORCE_EXIT)):  # fmt: skip
                await desk.orders.put(command)
            await asyncio.sleep(1)
            told = [one for one in desk.reported if isinstance(one, OrderRefused)]
            assert sorted(one.command.intent.cause for one in told) == [Cause.ENTRY, Cause.PARTIAL]
            assert {one.objection for one in told} == {Objection.FUNDS}
            # its end is told first: whoever sends it again finds the symbol free
            kinds = [type(one).__name__ for one in desk.reported]
            assert kinds.count("OrderEnded") == 4
            assert kinds[0] == "OrderEnded"

    run_virtually(case)

"""An exit whose answer was lost is sent again under its own id; an entry never is."""

import asyncio
import time
from decimal import Decimal as D

import msgspec
import pytest

from domain.errors import OutcomeUnknown, Rejected, Unavailable
from domain.order import Cause, OrderReport, OrderState, Side
from domain.records import Fill, Intent, OrderEnded
from engine.orders import EXIT_LOOKUPS, NOT_FOUND_AFTER_S
from engine.recovery import OrderLookup
from tests.torture.virtual import run_virtually
from tests.unit.test_order_lanes import A, Broker, order, working
from tests.unit.test_trader import World


class Losing(Broker):
    """Loses the first requests, and takes one id once, as an exchange does."""

    def __init__(self, *answers, arrives_after=None):
        super().__init__()
        self.answers, self.arrives_after, self.placed, self.sent = list(answers), arrives_after, {}, []

    async def place(self, request):
        loop = asyncio.get_running_loop()
        self.sent.append((request.order_id, loop.time()))
        if self.answers:
            if self.arrives_after is not None and len(self.sent) == 1:
                loop.call_later(self.arrives_after, self.placed.setdefault, request.order_id, loop.time())
            raise self.answers.pop(0)
        if request.order_id in self.placed:
            raise OutcomeUnknown("duplicate id")
        self.placed[request.order_id] = loop.time()

    async def order(self, symbol, order_id):
        state = OrderState.FILLED if order_id in self.placed else OrderState.NOT_FOUND
        return OrderReport(order_id, symbol, state, D(1) if order_id in self.placed else D(0))


def sent(broker, *orders, seconds=30.0):
    """Send orders and wait so long; return what was reported."""

    async def case(_):
        async with working(broker) as desk:
            tasks = [asyncio.ensure_future(desk.orders.run_lookups()) for _ in range(2)]
            for one in orders:
                await desk.orders.put(one)
            await asyncio.sleep(seconds)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            return desk.reported

    return run_virtually(case)


def test_a_lost_exit_is_sent_again_within_two_seconds_under_the_same_id():
    broker = Losing(OutcomeUnknown("lost"))
    reported = sent(broker, order(A, "x", Cause.FORCE_EXIT))
    (first, _), (again, at) = broker.sent
    assert (first, reported) == (again, [])
    assert at <= 2


def test_it_is_sent_again_also_while_nobody_says_what_became_of_it():
    """Seen: as long as the exchange did not answer what it knew of an exit, the exit was not sent again either."""
    broker = Losing(OutcomeUnknown("lost"))

    async def away(symbol, order_id):
        raise Unavailable("no answer")

    broker.order = away
    reported = sent(broker, order(A, "x", Cause.FORCE_EXIT))
    (first, _), (again, at) = broker.sent
    assert (first, reported) == (again, [])
    assert at <= 2


def test_nothing_is_concluded_while_nobody_says_what_became_of_it():
    broker = Losing(OutcomeUnknown("lost"))
    looked = broker.order

    async def silent_later(symbol, order_id):
        if asyncio.get_running_loop().time() > NOT_FOUND_AFTER_S - 1:
            raise Unavailable("no answer")
        return await looked(symbol, order_id)

    broker.order = silent_later
    assert sent(broker, order(A, "e", Cause.ENTRY, None)) == []


def test_one_that_arrives_after_all_is_taken_once():
    broker = Losing(OutcomeUnknown("timed out"), Unavailable("busy"), arrives_after=1.5)
    reported = sent(broker, order(A, "x", Cause.FORCE_EXIT))
    assert (len(broker.placed), reported) == (1, [])


def test_what_a_second_request_is_refused_for_says_nothing_of_the_first():
    broker = Losing(OutcomeUnknown("lost"), *[Rejected("position is zero", 110017)] * 99)
    reported = sent(broker, order(A, "x", Cause.FORCE_EXIT), seconds=NOT_FOUND_AFTER_S - 1)
    assert reported == []
    assert 2 < len(broker.sent) <= EXIT_LOOKUPS
    reported = sent(broker, order(A, "x", Cause.FORCE_EXIT))
    assert [type(one) for one in reported] == [OrderEnded]


@pytest.mark.parametrize(("leg", "cause", "price"), [("e", Cause.ENTRY, None), ("p", Cause.PARTIAL, D(105))])
def test_what_does_not_leave_at_the_market_is_looked_up_and_never_sent_again(leg, cause, price):
    broker = Losing(OutcomeUnknown("lost"))
    (ended,) = sent(broker, order(A, leg, cause, price))
    assert (len(broker.sent), ended.state) == (1, OrderState.NOT_FOUND)


class Lists:
    """Says the same of every order that is looked up."""

    def __init__(self, state):
        self.state = state

    async def order(self, symbol, order_id):
        return OrderReport(order_id, symbol, self.state)


def next_life(leg="x"):
    """Return the trader of a next life, which knows of an order that the last one was about to send."""
    world = World({0: Side.LONG})
    command, _ = world.entered()
    held, now = world.trader.book.of_symbol(A), int(time.time() * 1000)
    (leaving,) = world.trader.exit(held, Cause.FORCE_EXIT, 1)
    known = [command.intent] if leg == "e" else [command.intent, *held.fills.values(), leaving.intent]
    after = World().trader
    for record in known:
        after.restore(msgspec.structs.replace(record, sent_at=now) if isinstance(record, Intent) else record)
    return after, leaving.request


def settled(trader, state=OrderState.NOT_FOUND, in_flight=()):
    again = []
    lookup = OrderLookup(again.append)
    run_virtually(lambda _: lookup.settle(trader, Lists(state), 1, in_flight))
    return [one.request for one in again]


def test_an_exit_that_an_earlier_life_may_have_lost_is_handed_over_as_it_was():
    """Seen: killed between intent and answer, a position behind its stop waited ten seconds for its exit."""
    trader, request = next_life()
    assert settled(trader) == [request]


def test_one_that_is_there_or_being_sent_is_left_alone():
    trader, request = next_life()
    assert settled(trader, OrderState.WORKING) == []
    assert settled(trader, in_flight={request.order_id}) == []


def test_nothing_is_sent_again_where_nothing_is_open_any_more():
    trader, request = next_life()
    held = trader.book.of_symbol(A)
    trader.on_fill(
        Fill(time=999_999, exec_id="stop", order_id="", venue_order_id="v", symbol=A, side=request.side, qty=held.qty,
             price=D(98), fee=D(0), closed_qty=held.qty, cause=Cause.STOP_LOSS)
    )  # fmt: skip
    assert settled(trader) == []


def test_an_entry_of_an_earlier_life_is_never_sent_again():
    trader, _ = next_life("e")
    assert len(trader.book.unsettled()) == 1
    assert settled(trader) == []


@pytest.mark.parametrize("arrived", [False, True])
def test_an_exit_of_an_earlier_life_is_sent_again_under_its_own_id(arrived):
    broker = Losing()
    leaving = order(A, "x", Cause.FORCE_EXIT)
    if arrived:
        broker.placed[leaving.request.order_id] = 0.0

    async def case(_):
        async with working(broker) as desk:
            task = asyncio.ensure_future(desk.orders.run_lookups())
            desk.orders.find_out(leaving)
            desk.orders.find_out(leaving)
            await asyncio.sleep(2)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return desk.reported, desk.orders.in_flight

    reported, in_flight = run_virtually(case)
    assert (reported, in_flight) == ([], set())
    assert [one for one, _ in broker.sent] == ([] if arrived else [leaving.request.order_id])


class Ending(Broker):
    """Takes every order, and then says by turns what became of it."""

    def __init__(self, *states, filled="3"):
        super().__init__()
        self.states, self.filled, self.looked = list(states), D(filled), []

    async def order(self, symbol, order_id):
        self.looked.append(asyncio.get_running_loop().time())
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if state is None:
            raise Unavailable("no answer")
        return OrderReport(order_id, symbol, state, self.filled)


def ended(broker, command, seconds=5.0):
    """Send an order that is accepted; return what was reported of it, and when it was looked up."""

    async def case(_):
        async with working(broker) as desk:
            task = asyncio.ensure_future(desk.orders.run_exits())
            await desk.orders.put(command)
            await asyncio.sleep(seconds)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return desk.reported

    return run_virtually(case), broker.looked


@pytest.mark.parametrize("before", [(), (OrderState.WORKING,), (OrderState.NOT_FOUND, None)])
def test_the_end_of_an_exit_that_was_accepted_is_looked_up_within_two_seconds(before):
    """Seen: it was cancelled, the report of that was lost, and its position had no stop for three seconds."""
    command = order(A, "x", Cause.FORCE_EXIT)
    broker = Ending(*before, OrderState.CANCELLED)
    reported, looked = ended(broker, command)
    assert reported == [OrderReport(command.request.order_id, A, OrderState.CANCELLED, D(3))]
    assert (len(looked), looked[-1] < 2) == (len(before) + 1, True)


def test_one_that_goes_on_working_is_looked_up_more_and_more_seldom_and_no_entry_at_all():
    reported, looked = ended(Ending(OrderState.WORKING), order(A, "x", Cause.FORCE_EXIT), 60)
    assert (reported, len(looked) <= 60) == ([], True)
    assert ended(Ending(OrderState.WORKING), order(A, "e", Cause.ENTRY, None)) == ([], [])


def test_a_lost_exit_that_turns_up_is_followed_to_its_end():
    broker = Losing(OutcomeUnknown("lost"))

    async def case(_):
        async with working(broker) as desk:
            tasks = [asyncio.ensure_future(one()) for one in (desk.orders.run_lookups, desk.orders.run_exits)]
            await desk.orders.put(order(A, "x", Cause.FORCE_EXIT))
            await asyncio.sleep(10)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            return desk.reported

    (found,) = run_virtually(case)
    assert (found.state, found.filled_qty) == (OrderState.FILLED, D(1))

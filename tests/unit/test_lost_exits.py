"""An exit whose answer was lost is sent again under its own id; an entry never is."""

import asyncio
from decimal import Decimal as D

import pytest

from domain.errors import OutcomeUnknown, Rejected, Unavailable
from domain.order import Cause, OrderReport, OrderState
from domain.records import OrderEnded
from engine.orders import EXIT_LOOKUPS, NOT_FOUND_AFTER_S
from tests.torture.virtual import run_virtually
from tests.unit.test_order_lanes import A, Broker, order, working


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

"""The list of positions is looked at every second: what nobody told is seen, and a missing stop set, all the same."""

import asyncio
import contextlib
from decimal import Decimal as D

import pytest

from domain.errors import OutcomeUnknown, Rejected, Unavailable
from domain.records import Touch
from engine.lookout import ANSWER_S, IDLE_S, LOOK_S, Lookout
from tests.torture.virtual import run_virtually
from tests.unit.test_reconciliation import A, opened

LOST = (OutcomeUnknown("lost"), Unavailable("busy"), OutcomeUnknown("timed out"))


class Watched:
    """A position of ours, and the exchange that shows it."""

    def __init__(self, *, acting=True):
        self.case = opened()
        self.nudges = []
        self.exchange, self.reconciler = self.case.exchange, self.case.reconciler
        self.lookout = Lookout(
            self.case.trader, self.exchange, self.reconciler,
            lambda: self.nudges.append(asyncio.get_running_loop().time()), lambda: acting,
        )  # fmt: skip
        self.entered, self.entry = self.case.entry, self.case.entry.request

    def show(self, qty=None, *, stop="98", target="105"):
        self.case.report(str(self.entry.qty if qty is None else qty), stop=stop, target=target)

    def run(self, seconds, then=None):
        async def live(loop):
            task = asyncio.ensure_future(self.lookout.run())
            await asyncio.sleep(seconds)
            if then is not None:
                await then(loop)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

        run_virtually(live)

    def refuse(self, *refusals):
        left, taken = list(refusals), []

        async def set_stop(symbol, stop, target, *, index=0):
            await asyncio.sleep(0.1)
            if left:
                raise left.pop(0)
            taken.append((stop, asyncio.get_running_loop().time()))

        self.exchange.set_stop = set_stop
        return taken


def test_a_stop_that_goes_untold_is_set_within_two_seconds():
    watched = Watched()
    taken = watched.refuse()
    watched.show(stop="0")
    watched.run(2)
    assert taken[0][0] == watched.entry.stop
    assert taken[0][1] <= LOOK_S + 0.1


def test_a_stop_that_gets_no_answer_is_asked_for_again_at_once():
    watched = Watched()
    taken = watched.refuse(*LOST)
    watched.show(stop="0")
    watched.run(3)
    # four requests of a tenth of a second, and three pauses of three tenths at most
    assert taken[0][1] <= LOOK_S + 4 * 0.1 + 3 * 0.3


def test_a_symbol_in_which_the_exchange_hangs_keeps_the_next_look_from_nothing():
    watched = Watched()
    hanging = []

    async def set_stop(symbol, stop, target, *, index=0):
        hanging.append(symbol)
        await asyncio.Event().wait()

    watched.exchange.set_stop = set_stop
    watched.show(stop="0")
    looks = count_looks(watched)
    watched.run(10)
    assert (hanging, len(looks) >= 10) == ([A], True)


def test_while_nothing_is_ours_a_look_costs_a_request_in_four_seconds():
    watched = Watched()
    watched.case.trader.book.drop(watched.entry.order_id.split("-")[1])
    looks = count_looks(watched)
    watched.show(qty=7)
    watched.reconciler.found.foreign = [A]
    watched.run(40)
    assert 40 / IDLE_S <= len(looks) <= 40 / (0.9 * IDLE_S)


def test_what_is_meant_ends_the_long_pause():
    """Seen: with nothing of ours open, a look was four seconds away when an entry went out beside somebody's position."""
    watched = Watched()
    book = watched.case.trader.book
    held = book.of_symbol(A)
    book.drop(held.digest)
    looks = count_looks(watched)

    async def mean(loop):
        began = loop.time()
        book.apply(watched.entered.intent)
        await asyncio.sleep(LOOK_S)
        assert [began <= one <= began + LOOK_S for one in looks] == [True]

    watched.run(LOOK_S, mean)


def count_looks(watched):
    looks, positions = [], watched.exchange.positions

    async def counted():
        looks.append(asyncio.get_running_loop().time())
        return await positions()

    watched.exchange.positions = counted
    return looks


@pytest.mark.parametrize("failure", [Unavailable("no answer"), Rejected("no", 1), OutcomeUnknown("?")])
def test_a_look_that_fails_is_taken_again_soon(failure):
    watched, left = Watched(), [failure] * 3
    taken = watched.refuse()
    positions = watched.exchange.positions

    async def failing():
        if left:
            raise left.pop()
        return await positions()

    watched.exchange.positions = failing
    watched.show(stop="0")
    watched.run(4)
    assert taken[0][1] <= LOOK_S + 0.2 + 0.4 + 0.8 + 0.1


def test_a_look_that_hangs_is_given_up():
    watched, first = Watched(), [True]
    taken = watched.refuse()
    positions = watched.exchange.positions

    async def hanging():
        if first:
            first.clear()
            await asyncio.Event().wait()
        return await positions()

    watched.exchange.positions = hanging
    watched.show(stop="0")
    watched.run(ANSWER_S + 2)
    assert taken[0][1] <= LOOK_S + ANSWER_S + 0.2 + 0.1


def test_a_difference_wakes_the_comparison_at_once_and_then_more_and_more_seldom():
    watched = Watched()
    watched.show(qty=3)
    watched.run(300)
    pauses = [later - earlier for earlier, later in zip(watched.nudges, watched.nudges[1:], strict=False)]
    assert watched.nudges[0] <= LOOK_S
    assert pauses[0] <= 2 + LOOK_S
    assert 60 <= pauses[-1] <= 60 + LOOK_S
    assert watched.reconciler.doubts


def test_what_is_as_it_should_be_wakes_nobody():
    watched = Watched()
    watched.show()
    watched.run(60)
    assert (watched.nudges, watched.reconciler.doubts) == ([], False)


def test_somebody_elses_position_wakes_once_when_it_is_gone():
    watched = Watched()
    watched.show()
    watched.reconciler.found.foreign = ["B/USDT:USDT"]
    watched.run(1.5)
    assert len(watched.nudges) == 1


def test_who_may_not_act_only_looks():
    watched = Watched(acting=False)
    taken = watched.refuse()
    watched.show(qty=3, stop="0")
    watched.run(10)
    assert (taken, watched.nudges) == ([], [])


def test_a_list_that_is_older_than_the_stop_tells_of_no_hand():
    watched = Watched()
    guard = watched.reconciler.guard

    async def rounds(_):
        watched.show()
        await watched.reconciler.compare()
        watched.show(stop="0")
        await watched.reconciler.compare()
        await asyncio.sleep(1)
        await watched.reconciler.compare()
        watched.show()
        await watched.reconciler.compare()

    run_virtually(rounds)
    assert [one.touch for one in watched.case.shell.touches] == [Touch.STOP_REMOVED]
    assert guard.hands._lost == {}
    assert D(0) not in watched.case.trader.book.positions()[0].known_stops

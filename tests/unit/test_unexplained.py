"""A difference is waited for from when anybody first saw it, and no report that may be old begins or ends it wrongly."""

import asyncio
from decimal import Decimal as D
from types import SimpleNamespace

import pytest

from domain.errors import Unavailable
from domain.order import Cause, PositionReport
from domain.records import Touch
from engine.reconciliation import Policy
from engine.unexplained import AMOUNTS_MAX, LATE_S, MISSING_S, UNSEEN_S, WAIT_S, Unexplained
from tests.torture.virtual import run_virtually
from tests.unit.test_beside import beside
from tests.unit.test_lookout import Watched
from tests.unit.test_reconciliation import BUY, A, Case, fill


class Book:
    """A book with ten of one position of ours."""

    def __init__(self):
        self.qty, self.digest = D(10), "ours"

    def net(self, symbol):
        return self.qty

    def net_of_strays(self, symbol, since):
        return D(0)

    def of_symbol(self, symbol):
        return SimpleNamespace(digest=self.digest) if self.digest else None


def shown(qty):
    return PositionReport(A, D(qty), D(100), D(98), D(105), D(5), D(100), D(0))


def lasting(*steps, qty="13", until=WAIT_S):
    """Take steps (seconds, what), and say whether what is shown then counts as unexplained for long."""
    book = Book()

    async def live(loop):
        unexplained = Unexplained(book, lambda _: None)
        for at, step in steps:
            await asyncio.sleep(at - loop.time())
            step(unexplained, book)
        await asyncio.sleep(until - loop.time())
        unexplained.see(shown(qty))
        return unexplained.lasts(shown(qty), loop.time())

    return run_virtually(live)


def see(qty):
    return lambda unexplained, _: unexplained.see(shown(qty))


def hear(qty):
    return lambda unexplained, _: unexplained.hear(shown(qty))


def change(qty, digest="ours"):
    def step(_, book):
        book.qty, book.digest = D(qty), digest

    return step


@pytest.mark.parametrize(("qty", "wait_s"), [("13", WAIT_S), ("-3", WAIT_S), ("4", MISSING_S), ("0", MISSING_S)])
def test_what_is_missing_is_waited_for_longer_than_what_is_there(qty, wait_s):
    """Seen: after two late lists, what an entry had just filled was told as reduced by a hand."""
    assert lasting((0, see(qty)), qty=qty, until=wait_s)
    assert not lasting((0, see(qty)), qty=qty, until=wait_s - 0.1)


def test_the_wait_begins_with_what_the_private_stream_tells():
    """Seen: it began with the first comparison whose list showed the difference, up to two seconds later."""
    assert lasting((0, hear("13")), (1, see("13")))
    assert not lasting((1, see("13")))


def test_what_the_private_stream_told_and_one_list_shows_long_after_may_be_something_new():
    """Seen: a partial target had just filled with as much as a late report of the entry had shown to be missing."""
    assert not lasting((0, hear("13")))
    assert not lasting((0, hear("13")), (0.4, see("10")), (1, see("10")), (0.5 + LATE_S, see("13")), until=2.5)


def test_a_list_that_is_older_than_the_difference_does_not_end_the_wait():
    assert lasting((0, hear("13")), (0.5, see("13")), (LATE_S - 0.1, see("10")))


@pytest.mark.parametrize("other", ["10", "11", "7"])
def test_what_lists_deny_for_longer_has_not_lasted(other):
    assert not lasting((0, see("13")), (0.1, see(other)), (0.2 + LATE_S, see(other)), until=WAIT_S)


def test_a_private_stream_that_is_behind_goes_on_with_nothing():
    """Seen: it told each part of a filled entry two seconds late, and what was old counted as missing since then."""
    told = [(number / 2, hear("13")) for number in range(5)]
    lists = [(number / 2 + 0.1, see("10")) for number in range(5)]
    assert not lasting(*sorted(told + lists, key=lambda one: one[0]), until=2.5)


def test_an_execution_that_may_explain_it_ends_it_where_the_next_list_agrees():
    assert not lasting((0, see("13")), (0.5, change("13")), (0.6, see("13")), (0.7, change("10")), until=WAIT_S)


def test_an_execution_beside_it_does_not_end_it():
    assert lasting((0, see("13")), (0.5, change("6")), (0.6, see("13")), until=WAIT_S, qty="9")


def test_it_goes_on_when_the_position_that_it_stood_beside_has_ended():
    """Seen: what was beside a position was nobody's for seven seconds, because our exit filled before it was met."""
    assert lasting((0, see("13")), (1, change("0", digest="")), (1.1, see("3")), qty="3")


def test_with_another_position_of_ours_it_begins_anew():
    """Seen: the late list of one trade made the next one's stop, filled in part, a hand's doing."""
    assert not lasting((0, see("7")), (1, change("0", digest="")), (1.5, change("10", digest="next")), qty="7")


def test_what_nobody_has_seen_for_long_begins_anew():
    assert not lasting((0, see("13")), until=UNSEEN_S + 0.1)


@pytest.mark.parametrize(("qty", "told"), [("13", [A]), ("10", [])])
def test_the_end_of_a_wait_is_told_only_where_the_difference_is_still_there(qty, told):
    over = []

    async def live(_):
        unexplained = Unexplained(Book(), over.append)
        unexplained.see(shown("13"))
        await asyncio.sleep(1)
        unexplained.see(shown(qty))
        await asyncio.sleep(WAIT_S)

    run_virtually(live)
    assert over == told


def test_what_lists_leave_out_is_not_asked_for_again_and_again():
    """What is gone from the lists has no report that says so."""

    async def live(_):
        unexplained, due = Unexplained(Book(), lambda _: None), []
        unexplained.see(shown("13"))
        for _ in range(20):
            await asyncio.sleep(1)
            due += unexplained.due()
            unexplained.answered(A, asyncio.get_running_loop().time())
        return due

    assert len(run_virtually(live)) <= UNSEEN_S


def test_of_many_amounts_few_are_remembered():
    async def live(_):
        unexplained = Unexplained(Book(), lambda _: None)
        for qty in range(11, 100):
            unexplained.see(shown(qty))
        return len(unexplained._clocks[A])

    assert run_virtually(live) <= AMOUNTS_MAX


def proved(case, *, listed=(), away=False, wait_s=WAIT_S):
    """See the difference twice and have its executions asked for; return what is somebody else's then."""

    async def fills_since(*_):
        if away:
            raise Unavailable("away")
        return list(listed)

    async def live(_):
        case.exchange.fills_since = fills_since
        case.reconciler.see(case.exchange.reports[0])
        await asyncio.sleep(wait_s)
        case.reconciler.see(case.exchange.reports[0])
        assert case.reconciler.unexplained.due() == [A]
        await case.reconciler.prove(A)
        return case.reconciler.unexplained.due()

    again = run_virtually(live)
    return case.reconciler.found.foreign, again


def test_what_is_more_is_somebody_elses_before_any_comparison_and_the_policy_is_left_to_that():
    case = beside("2", Policy.FLATTEN)
    assert proved(case) == ([A], [])
    assert (case.trader.situation.foreign, case.shell.commands) == ({A: D(200)}, [])
    assert case.shell.nudges


def test_what_is_less_is_told_as_a_hands_before_any_comparison():
    case = beside("-0.5")
    assert proved(case, wait_s=MISSING_S) == ([], [])
    assert [one.touch for one in case.shell.touches] == [Touch.REDUCED]


def test_executions_that_are_listed_then_explain_it():
    case = beside("2")
    held = case.trader.book.of_symbol(A)
    late = fill(900, BUY, 2, 100, time=held.intended_at + 1, cause=Cause.MANUAL)
    assert proved(case, listed=[late]) == ([], [])
    assert case.trader.book.of_symbol(A).qty == case.qty + 2


def test_where_executions_are_not_listed_nothing_is_concluded_and_they_are_asked_for_again():
    case = beside("2")
    assert proved(case, away=True) == ([], [A])


def test_a_position_where_we_have_none_counts_as_somebody_elses():
    case = Case()
    case.report("7")
    assert proved(case) == ([A], [])


def test_a_look_has_it_proved_in_the_moment_in_which_the_wait_is_over():
    watched = Watched()
    watched.show(watched.entry.qty + 2)
    watched.exchange.fills = []
    watched.run(WAIT_S + 1.2)
    assert watched.reconciler.found.foreign == [A]


def test_a_stop_that_the_private_stream_tells_to_be_gone_is_set_before_the_next_look():
    """Seen: the list of positions went on showing the stop for a second and a half."""
    watched = Watched()
    watched.show()
    taken = watched.refuse()
    told = PositionReport(A, watched.entry.qty, D(100), D(0), D(105), D(5), D(100), D(0))

    async def live(loop):
        await watched.reconciler.compare()
        task = asyncio.ensure_future(watched.lookout.run())
        await asyncio.sleep(0.3)
        watched.reconciler.hear(told)
        await asyncio.sleep(0.2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run_virtually(live)
    assert [stop for stop, _ in taken] == [watched.entry.stop]


def test_what_the_private_stream_tells_just_after_a_stop_was_set_may_be_older():
    watched = Watched()
    watched.show(stop="0")
    told = watched.exchange.reports[0]

    async def live(_):
        await watched.reconciler.compare()
        await asyncio.sleep(1)
        watched.reconciler.hear(told)
        return watched.reconciler.bare()

    assert run_virtually(live) == []

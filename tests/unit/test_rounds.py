"""When book and exchange are compared: regularly, at once in doubt, and soon again when nobody answered."""

import asyncio
import contextlib
import itertools

import pytest

from domain.errors import BadData, OutcomeUnknown, Rejected, Unavailable
from engine.rounds import PAUSE_S, REGULAR_S, UNDECIDED_S, Rounds
from tests.torture.virtual import run_virtually


def compared(seconds, *failures, undecided=False, nudge_at=()):
    """Return when comparisons began in so many seconds; the first ones fail so."""
    times, left = [], list(failures)

    async def compare():
        times.append(asyncio.get_running_loop().time())
        if left:
            raise left.pop(0)

    async def live(loop):
        nudged = asyncio.Event()
        for at in nudge_at:
            loop.call_later(at, nudged.set)
        task = asyncio.ensure_future(Rounds(nudged, lambda: undecided, compare).run())
        await asyncio.sleep(seconds)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    run_virtually(live)
    return times


def test_without_doubts_there_is_one_a_minute():
    assert compared(3 * REGULAR_S) == [REGULAR_S, 2 * REGULAR_S + PAUSE_S]


def test_while_something_is_undecided_there_is_one_every_two_seconds():
    times = compared(10, undecided=True)
    assert [later - earlier for earlier, later in itertools.pairwise(times)] == [UNDECIDED_S + PAUSE_S] * 3


def test_a_doubt_leads_to_one_at_once():
    assert compared(20, nudge_at=(7, 9)) == [7, 9]


@pytest.mark.parametrize("failure", [Unavailable("?"), Rejected("?", 1), BadData("?"), OutcomeUnknown("?")])
def test_one_that_failed_is_repeated_soon_though_nobody_is_in_doubt(failure):
    """Seen: a comparison that was asked for after a reconnection failed, and the next one came a minute later."""
    first, *others = compared(20, failure, failure, failure, nudge_at=(7,))
    assert first == 7
    pauses = [later - earlier for earlier, later in zip([first, *others], others, strict=False)]
    assert len(others) == 3
    assert all(pause <= longest for pause, longest in zip(pauses, (0.4, 0.8, 1.5), strict=True))


def test_an_exchange_that_stays_away_is_asked_at_least_every_other_second_and_at_most_twice_a_second():
    times = compared(60, *[Unavailable("away")] * 500, nudge_at=(0,))
    assert 40 <= len(times) <= 90

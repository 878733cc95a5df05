"""Only the newest instance sends; what nobody can tell is bounded; a frozen loop ends the process."""

import asyncio
import functools
import subprocess
import sys
from pathlib import Path

import pytest

from domain.errors import Rejected, Unavailable
from engine.fence import ALONE_S, RENEW_S, STILL_S, Fence
from engine.watchdog import FROZEN_CODE, Watchdog
from persistence.lease import Holder
from tests.torture.virtual import run_virtually

ROOT = Path(__file__).parents[2]


class Right:
    """The shared right, in memory; each instance asks under its own name."""

    def __init__(self):
        self.epoch, self.owner, self.alive, self.away, self.asked = 0, "", True, False, 0

    def take(self, name):
        self._check()
        self.epoch, self.owner = self.epoch + 1, name
        return Holder(self.epoch, name)

    def holder(self):
        self._check()
        self.asked += 1
        return Holder(self.epoch, self.owner)

    def renew(self, epoch):
        return self.holder()

    def retake(self, name, epoch):
        self._check()
        if not self.owner or not self.alive:
            self.epoch, self.owner = max(epoch, self.epoch) + 1, name
        return Holder(self.epoch, self.owner)

    def _check(self):
        if self.away:
            raise Unavailable("away")


class Asked:
    """The right as one instance sees it."""

    def __init__(self, right, name):
        self.take, self.holder, self.renew = functools.partial(right.take, name), right.holder, right.renew
        self.retake = functools.partial(right.retake, name)


class Inline:
    async def call(self, function, *arguments):
        await asyncio.sleep(0)
        return function(*arguments)


def fence(right, name="one") -> Fence:
    return Fence(Asked(right, name), Inline())


def test_the_newest_wins_at_once_and_the_older_never_sends_again():
    async def story(_):
        right = Right()
        older, newer = fence(right), fence(right, "another")
        await older.take()
        await older.check(leaving=False)
        await newer.take()
        for leaving in (False, True):
            with pytest.raises(Rejected, match="taken over"):
                await older.check(leaving=leaving)
        assert older.superseded
        assert older.state()["state"] == "lost"
        await older.take()
        await newer.check(leaving=False)
        assert (newer.epoch, right.epoch) == (2, 2)

    run_virtually(story)


@pytest.mark.parametrize(("epoch", "owner"), [(0, ""), (2, "one of an older copy"), (9, "one of an older copy")])
def test_a_right_that_was_lost_with_its_table_is_taken_again_and_no_newer_one_is_missed(epoch, owner):
    """Found by emptying the database under a running bot: numbers began anew, and a newer instance's was no higher."""

    async def story(_):
        right = Right()
        right.epoch = 6
        held, newer = fence(right), fence(right, "another")
        await held.take()
        right.epoch, right.owner, right.alive = epoch, owner, False
        if epoch > 7:
            with pytest.raises(Rejected, match="taken over"):
                await held.check(leaving=False)
            return
        await held.check(leaving=False)
        assert (right.owner, right.epoch, held.epoch) == ("one", 8, 8)
        right.alive = True
        await newer.take()
        with pytest.raises(Rejected, match="taken over"):
            await held.check(leaving=True)
        await newer.check(leaving=False)

    run_virtually(story)


@pytest.mark.parametrize("own", [1, 7])
def test_whoever_takes_the_right_in_an_emptied_table_first_has_it(own):
    async def story(_):
        right = Right()
        right.epoch = own - 1
        older, newer = fence(right), fence(right, "another")
        await older.take()
        right.epoch, right.owner = 0, ""
        await newer.take()
        assert newer.epoch == 1
        for _ in range(2):
            with pytest.raises(Rejected, match="taken over"):
                await older.check(leaving=True)
        await newer.check(leaving=False)

    run_virtually(story)


def test_nobody_is_no_successor():
    """A copy of the database that is behind names nobody, even after the right has been taken again."""

    async def story(loop):
        right = Right()
        held = fence(right)
        await held.take()
        right.retake = held._right.retake = lambda _: Holder(0, "")
        right.epoch, right.owner = 0, ""
        await held.check(leaving=True)
        await held.check(leaving=False)
        assert (held.superseded, held.state()["state"]) == (False, "unknown")
        loop.jump(ALONE_S + 1)
        with pytest.raises(Rejected, match="nobody could say"):
            await held.check(leaving=False)
        await held.check(leaving=True)
        # once it is named again, all is as before
        right.epoch, right.owner = 1, "one"
        keeping = asyncio.ensure_future(held.keep())
        await asyncio.sleep(6)
        await held.check(leaving=False)
        assert held.state()["state"] == "held"
        keeping.cancel()

    run_virtually(story)


def test_while_nobody_can_tell_entries_go_on_for_ten_minutes_and_exits_for_ever():
    async def story(loop):
        right = Right()
        held = fence(right)
        await held.take()
        right.away = True
        await held.check(leaving=False)
        loop.jump(ALONE_S - 1)
        await held.check(leaving=False)
        loop.jump(2)
        with pytest.raises(Rejected, match="nobody could say"):
            await held.check(leaving=False)
        await held.check(leaving=True)
        right.away = False
        keeping = asyncio.ensure_future(held.keep())
        await asyncio.sleep(6)
        await held.check(leaving=False)
        keeping.cancel()

    run_virtually(story)


def test_a_right_that_could_not_be_taken_at_the_start_is_taken_later():
    async def story(_):
        right = Right()
        right.away = True
        held = fence(right)
        await held.take()
        assert held.state()["state"] == "unknown"
        await held.check(leaving=False)
        right.away = False
        keeping = asyncio.ensure_future(held.keep())
        await asyncio.sleep(6)
        assert (held.epoch, held.state()["state"]) == (1, "held")
        keeping.cancel()

    run_virtually(story)


def test_a_dead_right_is_asked_once_and_not_before_every_order():
    async def story(_):
        right = Right()
        held = fence(right)
        await held.take()
        right.away = True
        for _ in range(5):
            await held.check(leaving=False)
        right.away = False
        asked = right.asked
        await held.check(leaving=False)
        assert right.asked == asked

    run_virtually(story)


def test_the_watchdog_tells_a_frozen_loop_from_a_machine_that_slept():
    now = [0.0]
    dog = Watchdog(60, clock=lambda: now[0])
    for _ in range(9):
        now[0] += 6
        assert not dog.look()
    dog.beat()
    now[0] += 3600
    assert not dog.look()
    for _ in range(10):
        now[0] += 6
        assert not dog.look()
    now[0] += 6
    assert dog.look()


def test_a_process_whose_loop_freezes_ends_with_its_stacks_told():
    script = (
        "import asyncio, time\n"
        "from engine.watchdog import Watchdog\n"
        "async def main():\n"
        "    dog = Watchdog(1.0)\n"
        "    dog.start()\n"
        "    def stuck():\n"
        "        time.sleep(60)\n"
        "    stuck()\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False, timeout=90
    )
    assert done.returncode == FROZEN_CODE
    assert "in stuck" in done.stderr
    assert "event loop frozen" in done.stderr


def test_whoever_stood_still_makes_no_entry_before_somebody_has_answered():
    """Found by a bot that was stopped while another took over: it woke, its question had timed out, and it entered."""

    async def story(loop):
        right = Right()
        held, keeper = fence(right), None
        await held.take()
        keeper = asyncio.ensure_future(held.keep())
        # a database that goes away under a bot that runs is no reason yet
        await asyncio.sleep(3 * RENEW_S)
        right.away = True
        await held.check(leaving=False)
        right.away = False
        await asyncio.sleep(2 * RENEW_S)
        loop.jump(STILL_S + 1)
        right.away = True
        await held.check(leaving=True)
        with pytest.raises(Rejected, match="stood still"):
            await held.check(leaving=False)
        await asyncio.sleep(3 * RENEW_S)
        with pytest.raises(Rejected, match="stood still"):
            await held.check(leaving=False)
        right.away = False
        await asyncio.sleep(2 * RENEW_S)
        await held.check(leaving=False)
        keeper.cancel()

    run_virtually(story)

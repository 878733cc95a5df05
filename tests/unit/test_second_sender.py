"""Another instance that the fence cannot see is noticed by its entries; nothing of our own is taken for one."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from decimal import Decimal as D
from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st

from domain.ids import signal_digest
from domain.order import Cause, OrderKind, OrderReport, OrderSide, OrderState, Side
from domain.records import Fill, Intent, OrderFound, SwitchState
from engine.fence import Fence
from engine.intake import Intake
from engine.operations import Operations
from engine.second_sender import GRACE_S, QUIET_S, SecondSender
from tests.torture.virtual import run_virtually
from tests.unit.test_fence import Inline, Right
from tests.unit.test_trader import WHO, A, World

MARKET = 100 * 86_400_000
SOON_S = 2.0


class Shared(Right):
    """A right that can be handed back, and had again."""

    def claim(self, name):
        if not self.owner:
            self.epoch, self.owner = self.epoch + 1, name
        return self.holder()


class Instance:
    """One instance of the bot, as far as it looks for another; its market goes with the loop's clock."""

    def __init__(self, right, name="one"):
        asked = SimpleNamespace(
            take=functools.partial(right.take, name), claim=functools.partial(right.claim, name), renew=right.renew,
            retake=functools.partial(right.retake, name), holder=right.holder, alive=lambda _: right.owner,
        )  # fmt: skip
        self.right, self.fence, self.trader, self.told = right, Fence(asked, Inline()), World({}).trader, []
        self.second = SecondSender(self.trader, self.fence, self.now, lambda kind, what: self.told.append((kind, what)))
        self.number = 0

    def now(self):
        return MARKET + int(asyncio.get_running_loop().time() * 1000)

    def name(self, leg="e"):
        """Return an order id that no other is like."""
        self.number += 1
        return f"L1-{signal_digest(WHO, 'scalp', A, '3m', self.number)}-{leg}0"

    def fill(self, name, time=None):
        return Fill(
            time or self.now(), f"x{self.number}", name, "v", A, OrderSide.BUY, D(1), D(100), D(0), D(0), Cause.ENTRY
        )

    def intent(self, name, cause=Cause.ENTRY, time=None):
        return Intent(time or self.now(), name, A, OrderSide.BUY, OrderKind.MARKET, D(1), cause=cause)

    def found(self, name, time=None):
        return OrderFound(
            MARKET, name, A, OrderSide.BUY, D(1), D(0), D(99), reduce_only=False, created=time or self.now()
        )

    @property
    def stands_down(self):
        return bool(self.trader.situation.second_sender)

    async def watch(self):
        """Wait until what is met counts."""
        await asyncio.sleep(GRACE_S + SOON_S)
        self.trader.situation.market_time = self.now()
        await asyncio.sleep(SOON_S)
        assert self.second.watching


def story(work):
    """Have one instance live through something on virtual time."""

    async def lived(_):
        one = Instance(Shared())
        await one.fence.take()
        task = asyncio.create_task(one.second.run())
        try:
            return await work(one)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    return run_virtually(lived)


OWN = ("sent here", "sent here, at rest", "sent before", "exit", "partial", "by hand", "successor")
OTHERS = ("executed", "working", "there already")


async def happens(one, what, late):
    """Let something be met, so many seconds after it was done."""
    name, then = one.name({"exit": "x", "partial": "p"}.get(what, "e")), one.now()
    if what.startswith("sent here"):
        one.second.note(one.intent(name))
    elif what == "successor":
        one.right.take("another")
    await asyncio.sleep(late)
    if what == "sent before":
        one.second.note(one.fill(name, MARKET + 1))
    elif what == "by hand":
        one.second.note(one.fill("", then))
    elif what == "there already":
        one.second.refused(one.intent(name, time=then))
    elif what in {"working", "sent here, at rest"}:
        one.second.note(one.found(name, then))
    else:
        one.second.note(one.fill(name, then))
    await asyncio.sleep(SOON_S)
    if what == "successor":
        one.right.owner = ""
        await one.fence.stand_by()
        one.second.note(one.fill(one.name(), then))
        await one.watch()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(OWN + OTHERS), st.floats(0, 60)), max_size=8))
def test_another_instance_is_noticed_by_each_of_its_entries_and_nobody_else_is(events):
    """Whatever happens in whatever order: only what another has sent makes this one stand down, and within seconds."""

    async def work(one):
        rested = one.name()
        one.second.note(one.found(rested))
        await one.watch()
        one.second.note(one.fill(rested))
        suspected, times = False, 0
        for what, late in events:
            await happens(one, what, late)
            times += what in OTHERS and not suspected
            # what a successor has in hand it has seen too: that begins anew
            suspected = (suspected or what in OTHERS) and what != "successor"
            assert (one.stands_down, len(one.told)) == (suspected, times), (what, late)

    story(work)


def test_it_is_told_once_and_over_when_there_was_none_for_long():
    async def work(one):
        await one.watch()
        for _ in range(3):
            one.second.note(one.fill(one.name()))
            await asyncio.sleep(QUIET_S[0] - SOON_S)
            assert one.stands_down
        assert [kind for kind, _ in one.told] == ["second sender"]
        assert one.second.report()["met"] == 3
        await asyncio.sleep(QUIET_S[1])
        assert not one.stands_down
        one.second.note(one.fill(one.name()))
        await asyncio.sleep(SOON_S)
        assert one.stands_down
        assert len(one.told) == 2

    story(work)


def test_nothing_counts_before_the_time_is_known_and_nothing_older_than_that_afterwards():
    """What an earlier life sent may be executed, or listed, during this one; its journal may be gone."""

    async def work(one):
        late = one.now()
        one.second.note(one.fill(one.name()))
        await asyncio.sleep(GRACE_S + SOON_S)
        # no bar has come: what time it is at the market is not known well enough
        one.second.note(one.fill(one.name()))
        one.second.refused(one.intent(one.name()))
        await one.watch()
        for record in (one.fill(one.name(), late), one.found(one.name(), late)):
            one.second.note(record)
        one.second.refused(one.intent(one.name(), time=late))
        await asyncio.sleep(SOON_S)
        assert not one.stands_down

    story(work)


def test_the_operator_lets_entries_in_again_and_what_comes_afterwards_counts_anew():
    async def work(one):
        await one.watch()
        one.second.note(one.fill(one.name()))
        await asyncio.sleep(SOON_S)
        assert one.stands_down
        earlier = one.now()

        async def dispatch(_):
            return None

        runtime = SimpleNamespace(second=one.second, dispatch=dispatch)
        for state, down in ((SwitchState.PAUSED, True), (SwitchState.RUNNING, False)):
            await Operations(runtime, one.trader).switch(state, "test")
            assert one.stands_down == down
        one.second.note(one.fill(one.name(), earlier))
        await asyncio.sleep(SOON_S)
        assert not one.stands_down
        one.second.note(one.fill(one.name()))
        await asyncio.sleep(SOON_S)
        assert one.stands_down

    story(work)


def test_one_order_is_one_trace_and_a_right_that_is_lost_is_another_matter():
    async def work(one):
        await one.watch()
        name = one.name()
        for _ in range(3):
            one.second.note(one.fill(name))
        await asyncio.sleep(SOON_S)
        assert one.second.report()["met"] == 1
        one.right.take("another")
        one.second.note(one.fill(one.name()))
        await asyncio.sleep(SOON_S)
        assert (one.fence.superseded, one.stands_down) == (True, False)

    story(work)


def test_a_database_that_is_away_hides_nobody():
    """The fence cannot tell then: whoever enters is another instance all the same."""

    async def work(one):
        await one.watch()
        one.right.away = True
        one.second.note(one.fill(one.name()))
        await asyncio.sleep(SOON_S)
        assert one.stands_down

    story(work)


def test_two_that_met_each_other_in_the_same_moment_do_not_wait_equally_long():
    async def down(one):
        await one.watch()
        one.second.note(one.fill(one.name()))
        await asyncio.sleep(SOON_S)
        return one.trader.situation.second_sender.rpartition("none for ")[2]

    assert len({story(down) for _ in range(20)}) > 1


def test_entries_are_refused_by_a_gate_of_its_own_and_exits_are_not():
    world = World({0: Side.LONG, 3: Side.LONG})
    world.entered()
    (held,) = world.trader.book.positions()
    world.trader.situation.second_sender = "another instance sends too"
    assert world.trader.exit(held, Cause.FORCE_EXIT, 1)
    other = World({0: Side.LONG})
    other.trader.situation.second_sender = "another instance sends too"
    (refused,) = other.bar()
    assert (refused.gate, refused.detail) == ("second_sender", "another instance sends too")


def test_an_order_of_ours_that_nobody_here_sent_has_the_working_orders_looked_at():
    """A limit entry of another instance rests: the private stream tells of it before anything is executed."""
    nudges = []
    world = World({0: Side.LONG})
    world.entered()
    (held,) = world.trader.book.positions()
    shell = SimpleNamespace(nudge=lambda: nudges.append(1))
    intake = Intake(world.trader, None, shell, None, None, None, None, None)
    own, other = held.entry_order, f"L1-{'Z' * 24}-e0"
    for name in (own, other):
        asyncio.run(intake.take_report(OrderReport(name, A, OrderState.WORKING)))
    assert nudges == [1]

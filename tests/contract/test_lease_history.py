"""Whatever instances do, and whichever of them the database can be reached from: one at a time sends what it was asked for."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.errors import Rejected, Unavailable
from domain.ids import Identity
from engine.fence import ALONE_S, RENEW_S, Fence
from persistence import schema
from persistence.database import Database
from persistence.lease import Lease
from tests.torture.virtual import run_virtually

WHO = Identity("synthetic", "live", "1")
NAMES = ("one", "two", "three")
DEEDS = ("start", "send", "exit", "look", "leave", "cut", "mend", "wait")


class Line:
    """The way of one instance to the database, which can be cut; instances have no other."""

    def __init__(self, right: Lease) -> None:
        self.right, self.cut = right, False

    async def call(self, function, *arguments):
        await asyncio.sleep(0)
        if self.cut:
            raise Unavailable("cut off")
        return function(*arguments)


class Instance:
    """One instance of the bot, as far as the right goes."""

    def __init__(self, database: Database, name: str) -> None:
        self.right = Lease(database, WHO, name)
        self.line, self.name = Line(self.right), name
        self.fence = Fence(self.right, self.line)


@dataclass
class History:
    """What was sent, as the exchange would see it: by whom, under which number, and who had the right."""

    instances: dict[str, Instance] = field(default_factory=dict)
    epochs: list[int] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    started: int = 0

    async def send(self, who: Instance, loop, *, leaving: bool) -> None:
        asks = who.fence.state()["state"] == "held" and not who.line.cut
        silent = who.fence._alone_s()
        try:
            await who.fence.check(leaving=leaving)
        except Rejected:
            return
        owner = who.right.holder().owner
        if asks and owner != who.name:
            self.wrong.append(f"{who.name} was let through while {owner or 'nobody'} had the right")
        if not asks and not leaving and silent > ALONE_S:
            self.wrong.append(f"{who.name} entered after {silent:.0f} s without an answer")
        if asks:
            self.epochs.append(who.fence.epoch)


async def happened(loop, database: Database, deeds: list[tuple[str, str]]) -> History:
    history = History()
    for name, deed in deeds:
        who = history.instances.get(name)
        if who is None or (deed == "start" and who.fence._left):
            # a process that was started again is another one: the newest
            history.started += 1
            who = history.instances[name] = Instance(database, f"{name} {history.started}")
            await who.fence.take()
        if deed in {"send", "exit"}:
            await history.send(who, loop, leaving=deed == "exit")
        elif deed == "look" and who.fence.epoch:
            try:
                renewing = who.fence.stand_by() if who.fence.superseded else renewed(who)
                await renewing
            except Unavailable:
                who.fence._reachable = False
        elif deed == "leave":
            await who.fence.leave()
        elif deed in {"cut", "mend"}:
            who.line.cut = deed == "cut"
        elif deed == "wait":
            loop.jump(ALONE_S / 2)
    return history


async def renewed(who: Instance) -> None:
    await who.fence._note(await who.line.call(who.right.renew, who.fence.epoch))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(DEEDS)), min_size=4, max_size=30))
def test_no_two_send_what_the_database_was_asked_for(database_url, deeds):
    database = Database(database_url)
    try:
        with database.transaction() as connection:
            connection.execute(schema.leases.delete())
        history = run_virtually(lambda loop: happened(loop, database, deeds))
    finally:
        database.close()
    assert not history.wrong
    assert history.epochs == sorted(history.epochs), "an older one sent after a newer"


def test_a_successor_that_leaves_in_good_order_hands_the_right_back(database_url):
    database = Database(database_url)

    async def story(_):
        older, newer = Instance(database, "older"), Instance(database, "newer")
        for one in (older, newer):
            await one.fence.take()
        keeping = asyncio.ensure_future(older.fence.keep())
        await asyncio.sleep(RENEW_S + 1)
        assert older.fence.superseded
        await newer.fence.leave()
        try:
            await newer.fence.check(leaving=True)
        except Rejected as error:
            assert "stopped" in str(error)
        await asyncio.sleep(RENEW_S + 1)
        await older.fence.check(leaving=False)
        assert (older.fence.superseded, older.fence.epoch) == (False, 3)
        # a third takes it as ever, and what was handed back once is nobody's to claim again
        third = Instance(database, "third")
        await third.fence.take()
        assert older.right.claim().owner == "third"
        keeping.cancel()

    run_virtually(story)
    database.close()


def test_an_older_one_never_takes_the_right_from_a_successor_that_is_silent(database_url):
    """It may be cut off from the database alone, and send: but that nobody may be sending is told."""
    database = Database(database_url)

    async def story(_):
        older, newer = Instance(database, "older"), Instance(database, "newer")
        await older.fence.take()
        await newer.fence.take()
        keeping = asyncio.ensure_future(older.fence.keep())
        older.right.alive = lambda _: ""
        await asyncio.sleep(3 * RENEW_S)
        assert older.fence.superseded
        assert "newer, epoch 2, no sign of life for a minute: nobody may be sending" in older.fence.successor
        assert older.right.holder().owner == "newer"
        keeping.cancel()

    run_virtually(story)
    database.close()

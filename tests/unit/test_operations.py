"""What an operator has done while the bot starts, and what is said of a position that is still open."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from domain.errors import Unavailable
from domain.order import Side
from domain.records import Switch, SwitchState
from engine.flattening import Flattening
from engine.operations import START_S, Operations
from engine.recall import replay
from tests.torture.virtual import run_virtually
from tests.unit.test_trader import STEP, World


class Runtime:
    """As much of a runtime as operations need; what is dispatched is kept."""

    def __init__(self, *, recovered):
        self.progress = SimpleNamespace(recovered=recovered, broker_error="")
        self.orders = SimpleNamespace(in_flight=set())
        self.exits = SimpleNamespace(reason=lambda _: "")
        self.sent = []
        self.reconciler = SimpleNamespace(
            flattening=Flattening(self, paper=False), found=SimpleNamespace(foreign=["B/USDT:USDT"])
        )

    def nudge(self):
        """Compare, a second later, with an exchange that shows somebody else's position."""
        asyncio.get_running_loop().call_later(1, self.reconciler.flattening.settle, self.reconciler.found.foreign)

    def market_time(self):
        return 2 * STEP

    async def dispatch(self, commands):
        self.sent += commands


def opened():
    world = World({0: Side.LONG})
    world.entered()
    return world


def test_what_is_to_be_closed_during_a_start_is_closed_once_it_is_known():
    """Found by panic during a start: nothing was in the book yet, and the answer was that nothing is open."""
    world, runtime = opened(), Runtime(recovered=False)
    operations = Operations(runtime, world.trader)

    async def work(_):
        asyncio.get_running_loop().call_later(START_S / 2, setattr, runtime.progress, "recovered", True)
        return await operations.panic("test")

    (told,) = run_virtually(work)
    assert (told.symbol, told.outcome) == ("A/USDT:USDT", "closing")
    assert any(getattr(command, "request", None) for command in runtime.sent)


def test_a_start_that_takes_long_says_so_and_closes_afterwards():
    world, runtime = opened(), Runtime(recovered=False)
    operations = Operations(runtime, world.trader)

    async def work(_):
        with pytest.raises(Unavailable, match="as soon as that is known"):
            await operations.panic("test")
        assert not any(getattr(command, "request", None) for command in runtime.sent)
        runtime.progress.recovered = True
        await operations.resume()
        await operations.resume()

    run_virtually(work)
    exits = [command for command in runtime.sent if getattr(command, "request", None)]
    assert [command.request.reduce_only for command in exits] == [True]


def test_a_switch_that_is_turned_during_a_start_is_not_turned_back_by_what_earlier_lives_left():
    """Found by "start" during a start: it answered "running", and the bot went on as stopped; "stop" fared alike."""
    before = [Switch(time=1, state=SwitchState.RUNNING, reason="before")]
    trader = World().fresh()
    trader.switch(SwitchState.STOPPED, "now")
    replay(trader, before)
    assert trader.situation.switch is SwitchState.STOPPED
    untouched = World().fresh()
    replay(untouched, [*before, Switch(time=2, state=SwitchState.PAUSED, reason="before")])
    assert untouched.situation.switch is SwitchState.PAUSED


@pytest.mark.parametrize(("flying", "away", "said"), [
    (True, "HTTP 503", "has not said what became of its order (HTTP 503)"), (True, "", "has not said"),
    (False, "", "has not filled whole yet"),
])  # fmt: skip
def test_what_is_still_open_is_told_with_a_reason(flying, away, said):
    """Found by HTTP 503 everywhere: "closing", and not a word why."""
    world, runtime = opened(), Runtime(recovered=True)
    runtime.progress.broker_error = away
    if flying:
        runtime.orders.in_flight = set(world.trader.book.positions()[0].orders)
    (told,) = run_virtually(lambda _: Operations(runtime, world.trader).force_exit("all", "test"))
    assert told.outcome == "closing"
    assert said in told.reason


@pytest.mark.parametrize(("gone", "outcome"), [(True, "closed"), (False, "closing")])
def test_a_panic_answers_for_what_is_not_ours(gone, outcome):
    """It said "closing" at once whatever became of it, and an exchange that listed nothing kept ours from closing."""
    world, runtime = opened(), Runtime(recovered=True)

    async def work(loop):
        if gone:
            loop.call_later(2, runtime.reconciler.flattening.settle, [])
        return await Operations(runtime, world.trader).panic("test", foreign=True)

    own, other = run_virtually(work)
    assert (own.symbol, own.outcome) == ("A/USDT:USDT", "closing")
    assert (other.symbol, other.outcome) == ("B/USDT:USDT", outcome)
    assert any(getattr(command, "request", None) for command in runtime.sent)

"""Exits that come to nothing: tried again at once, then more and more slowly, and never given up."""

import asyncio
import itertools
from decimal import Decimal as D

import pytest

from domain.exits import ExitPlan
from domain.order import Cause, OrderState, Side
from domain.records import OrderEnded
from engine.exit_retries import ALARM_AT, PAUSES_S, ExitRetries
from tests.torture.virtual import run_virtually
from tests.unit.test_trader import A, World


@pytest.fixture
def failing():
    """A position whose exit has just been cancelled by the exchange, (world, position, exit)."""
    world = World({0: Side.LONG}, ExitPlan())
    world.entered()
    (held,) = world.trader.book.positions()
    (exit_,) = world.trader.exit(held, Cause.FORCE_EXIT, 1)
    return world, held, exit_


def cancelled(world, exit_, filled="0") -> OrderEnded:
    ended = OrderEnded(1, exit_.request.order_id, A, OrderState.CANCELLED, "EC_NoImmediateQtyToFill", D(filled))
    world.trader.on_order_ended(ended)
    return ended


def test_a_cancelled_exit_is_sent_again_at_once_and_then_with_growing_pauses_for_ever(failing):
    world, held, exit_ = failing
    times, alarms = [], []

    async def live(loop):
        done = asyncio.Event()

        async def dispatch(commands):
            for command in commands:
                times.append(loop.time())
                retries.note(cancelled(world, command), held)
            if len(times) == 40:
                done.set()

        retries = ExitRetries(world.trader, dispatch, lambda: 1, alarms.append)
        retries.note(cancelled(world, exit_), held)
        running = asyncio.create_task(retries.run())
        await done.wait()
        running.cancel()
        assert retries.reason(held.digest) == "EC_NoImmediateQtyToFill"

    run_virtually(live)
    assert times[0] == 0
    gaps = [later - before for before, later in itertools.pairwise(times)]
    assert all(0.8 * pause <= gap <= 1.2 * pause for gap, pause in zip(gaps, PAUSES_S[1:], strict=False))
    assert max(gaps) <= 1.2 * PAUSES_S[-1]
    assert [one.attempts for one in alarms] == [ALARM_AT, 10, 20, 30, 40]
    assert held.exit_attempts == 41


def test_what_an_exit_left_open_is_closed_and_what_is_closed_is_left_alone(failing):
    world, held, exit_ = failing
    sent = []

    async def live(_):
        async def dispatch(commands):
            sent.extend(commands)

        retries = ExitRetries(world.trader, dispatch, lambda: 1, lambda _: None)
        world.fill(exit_, qty="10", price="99")
        retries.note(cancelled(world, exit_, "10"), held)
        running = asyncio.create_task(retries.run())
        while not sent:
            await asyncio.sleep(0.01)
        assert sent[0].request.qty == held.qty
        world.fill(sent[0], price="99")
        retries.note(OrderEnded(1, sent[0].request.order_id, A, OrderState.FILLED), held)
        await asyncio.sleep(60)
        running.cancel()
        assert retries.reason("") == ""

    run_virtually(live)
    assert len(sent) == 1

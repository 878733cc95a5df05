"""Exits that come to nothing: tried again at once, then more and more slowly, and never given up."""

import asyncio
import itertools
from decimal import Decimal as D

import pytest

from domain.exits import ExitPlan
from domain.order import Cause, OrderState, Side
from domain.records import OrderEnded
from engine.exit_retries import ALARM_AT, PAUSES_S, ExitRetries
from engine.exits import EXIT_ATTEMPTS_MAX
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


def test_slices_are_no_failures_and_progress_begins_anew(failing):
    world, held, exit_ = failing
    held.exit_attempts = 400
    alarms, sent = [], []

    async def live(loop):
        async def dispatch(commands):
            sent.append((loop.time(), commands[0]))

        retries = ExitRetries(world.trader, dispatch, lambda: 1, alarms.append)
        running = asyncio.create_task(retries.run())

        async def fail(command, filled="0"):
            count, now = len(sent), loop.time()
            if filled != "0":
                world.fill(command, qty=filled, price="99")
            retries.note(cancelled(world, command, filled), held)
            while len(sent) == count:
                await asyncio.sleep(0.01)
            return sent[-1][1], sent[-1][0] - now

        command, pauses = exit_, []
        for filled in ("0", "0", "0", "1", "0"):
            command, pause = await fail(command, filled)
            pauses.append(pause)
        running.cancel()
        # at once the first time, and at once again after something was filled
        assert [round(pause * 2) / 2 for pause in pauses] == [0.0, 0.5, 1.0, 0.0, 0.5]

    run_virtually(live)
    assert alarms == []


def test_after_the_thousandth_attempt_it_goes_on_and_is_told_less_often(failing):
    world, held, exit_ = failing
    alarms = []

    async def live(_):
        done = asyncio.Event()

        async def dispatch(commands):
            for command in commands:
                retries.note(cancelled(world, command), held)
            if held.exit_attempts == EXIT_ATTEMPTS_MAX + 250:
                done.set()

        retries = ExitRetries(world.trader, dispatch, lambda: 1, alarms.append)
        retries.note(cancelled(world, exit_), held)
        running = asyncio.create_task(retries.run())
        await done.wait()
        running.cancel()

    run_virtually(live)
    told = [one.attempts for one in alarms]
    assert told == [ALARM_AT, *range(10, EXIT_ATTEMPTS_MAX + 1, 10), 1000, 1100, 1200]

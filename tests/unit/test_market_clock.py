"""Time goes on while a symbol, or the whole market, is silent."""

import asyncio
import random

import pytest

from domain.exits import ExitPlan
from domain.order import Side
from engine.commands import CancelOrder, PlaceOrder
from engine.exits import BAR_LATE_MS
from engine.market_clock import MarketClock
from engine.tasks import Tasks
from tests.torture.episodes import BAR_S, STEP, SYMBOLS, Life, Market, rules
from tests.torture.venue import Venue
from tests.torture.virtual import run_virtually
from tests.unit.test_trader import World


def test_the_clock_goes_on_from_what_was_told_last():
    told = [1_000_000]

    async def lived(_):
        clock = MarketClock(lambda: told[0])
        seen = [clock.now()]
        await asyncio.sleep(90)
        seen.append(clock.now())
        told[0] = 1_080_000
        seen.append(clock.now())
        await asyncio.sleep(1)
        # what is told does not go backwards either
        told[0] = 1_000_000
        seen.append(clock.now())
        return seen

    assert run_virtually(lived) == [1_000_000, 1_090_000, 1_080_000, 1_081_000]


@pytest.mark.parametrize("late", [0, 1])
def test_a_position_whose_symbol_is_silent_is_closed_by_time_once_its_own_bar_is_overdue(late):
    world = World({0: Side.LONG}, ExitPlan(timeout_ms=2 * STEP))
    world.entered()
    held = world.trader.book.positions()[0]
    # opened inside of the bar after the signal: the third bar is the first that closes after its time
    due = held.opening.bar_start + 4 * STEP
    assert world.trader.overdue(due + BAR_LATE_MS - 1) == []
    (exit_,) = world.trader.overdue(due + BAR_LATE_MS + late * 10 * STEP)
    assert isinstance(exit_, PlaceOrder)
    assert exit_.request.reduce_only
    assert exit_.intent.cause == "timeout"
    assert world.trader.overdue(due + 99 * STEP) == [], "while the exit is on its way nothing else goes out"


def test_an_entry_that_rests_in_a_silent_symbol_is_withdrawn_by_time():
    world = World({0: Side.LONG}, limit_entries=True)
    (entry,) = world.bar()
    assert world.trader.overdue(entry.intent.time + 2 * STEP + BAR_LATE_MS - 1) == []
    assert world.trader.overdue(entry.intent.time + 2 * STEP + BAR_LATE_MS) == [
        CancelOrder(entry.request.symbol, entry.request.order_id, entry.intent.time + 2 * STEP)
    ]


def test_a_bar_that_comes_decides_itself():
    world = World({0: Side.LONG}, ExitPlan(timeout_ms=2 * STEP))
    world.entered()
    for _ in range(2):
        world.bar()
        assert world.trader.overdue(len(world.rows) * STEP) == []
    (exit_,) = world.bar()
    assert exit_.intent.cause == "timeout"


def test_when_the_whole_market_is_silent_positions_end_in_time_all_the_same(tmp_path):
    async def lived(_):
        draw = random.Random(3)
        venue = Venue(draw, {symbol: rules(symbol) for symbol in SYMBOLS}, trouble=0.0)
        market = Market(draw, venue)
        life = Life(tmp_path / "journal", venue, market, {})
        async with Tasks() as tasks:
            await life.runtime.recover_with_patience()
            life.runtime.start(tasks)
            while not [held for held in life.trader.book.positions() if not held.pending]:
                await life.runtime._events.put(market.step())
                await asyncio.sleep(BAR_S)
            # four bars are all that a position of this strategy has; nothing is heard for six
            await asyncio.sleep(6 * STEP / 1000)
            # what the book of a silent market cannot take waits on the exchange
            left = life.trader.book.positions()
            assert all(held.exit_order and held.exit_cause == "timeout" for held in left)
            assert {trade.exit_reason for trade in life.trades.held.values()} == {"timeout"}
        life.journal.close()

    run_virtually(lived)

"""The whole bot on virtual time, while the exchange changes its rules, refuses, or somebody changes the leverage."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from dataclasses import replace
from decimal import Decimal as D

import pytest

from domain import ids
from domain.account_state import VenueOrder
from domain.errors import Objection, Rejected
from domain.order import Cause, OrderKind, OrderSide
from domain.records import SwitchState, Touch
from engine.guard import UNGUARDED_S
from engine.tasks import Tasks
from sandbox.margin_account import ISOLATED
from tests.torture.episodes import BAR_S, SYMBOLS, Life, Market, rules
from tests.torture.venue import Venue
from tests.torture.virtual import run_virtually


class Still:
    """Draws no moves: the price stays where it is."""

    def gauss(self, mean, _):
        return mean


class World:
    """One life on a venue without faults; ``sent`` are the orders that reached it, ``refused`` those it refused."""

    def __init__(self, folder, loop):
        draw = random.Random(7)
        self.loop, self.sent, self.refused = loop, [], []
        self.venue = Venue(draw, {symbol: rules(symbol) for symbol in SYMBOLS}, trouble=0.0)
        self.market = Market(draw, self.venue)
        self.life = Life(folder, self.venue, self.market, {})
        self.trader, self.runtime, self.told = self.life.trader, self.life.runtime, self.life.told
        place = self.venue.account.place

        def watched(order, now, **more):
            try:
                events = place(order, now, **more)
            except Rejected as error:
                self.refused.append((order, error))
                raise
            self.sent.append(order)
            return events

        self.venue.account.place = watched

    async def bars(self, count=1):
        for _ in range(count):
            await self.runtime._events.put(self.market.step())
            await asyncio.sleep(BAR_S)

    async def position(self):
        """Let the market go on until something is open; return it, with its contract's symbol."""
        for _ in range(12):
            await self.bars()
            for held in self.trader.book.positions():
                if not held.pending and not held.flat:
                    return held
        raise AssertionError("nothing was opened")

    async def closed(self, held, bars=60):
        """Let the market go on without moving, and without entries, until a position has been recorded."""
        self.market.draw = Still()
        self.trader.situation.switch = SwitchState.STOPPED
        for _ in range(bars):
            await self.bars()
            if self.trader.book.find(held.digest) is None:
                return
        raise AssertionError("not closed")

    def there(self, symbol):
        return self.venue.account.position(symbol)

    def change(self, **more):
        for symbol in SYMBOLS:
            self.venue.rules[symbol] = replace(self.venue.rules[symbol], **more)


@contextlib.asynccontextmanager
async def living(folder, loop):
    world = World(folder, loop)
    # the same requests at the same times whenever this runs
    world.life.seed(7)
    async with Tasks() as tasks:
        await world.runtime.recover_with_patience()
        world.runtime.start(tasks)
        yield world
    world.life.journal.close()


def play(folder, case):
    async def lived(loop):
        async with living(folder, loop) as world:
            await case(world)

    run_virtually(lived)


def test_a_coarser_tick_costs_each_symbol_one_refused_entry_at_most_and_no_position(tmp_path):
    async def case(world):
        await world.position()
        tick = D("0.2")
        world.change(tick=tick)
        opened = world.trader.counts["opened"]
        world.sent.clear()
        await world.bars(8)
        # an entry may happen to fit; then it is its partial target that does not
        off = [order for order, error in world.refused if "multiple of tick" in str(error)]
        assert 0 < len(off) == len({order.symbol for order in off})
        assert world.runtime.rules.rereads == 1
        assert world.trader.counts["opened"] >= opened + len(SYMBOLS)
        # whoever was refused went out again at once, in a shape that fits; neither waits for the other
        again = {one.link_id.removesuffix("1") for one in world.sent if one.link_id.endswith(("-e1", "-p1"))}
        assert again == {order.link_id.removesuffix("0") for order in off}
        assert all(not price % tick for one in world.sent for price in (one.stop, one.target, one.price or D(0)))
        sold = {one.link_id[3:27] for one in world.sent if one.reduce_only and one.price is None}
        ended = {ids.trade_id(digest) for digest in sold}
        assert {one.exit_reason for one in world.life.trades.held.values() if one.trade_id in ended} <= {"timeout"}

    play(tmp_path, case)


@pytest.mark.parametrize("most", ["0.3", "0.07"])
def test_a_smaller_largest_order_lets_positions_be_left_in_slices(tmp_path, most):
    async def case(world):
        held = await world.position()
        qty = held.qty
        world.change(max_qty=(qty * D(most)).quantize(D("0.01")))
        world.trader.update_instruments(world.venue.rules)
        world.sent.clear()
        await world.runtime.dispatch(world.trader.exit(held, Cause.FORCE_EXIT, world.runtime.market_time()))
        await world.closed(held)
        exits = [one for one in world.sent if one.reduce_only and one.symbol == held.symbol and one.price is None]
        assert max(one.qty for one in exits) <= world.venue.rules[held.symbol].max_qty
        assert sum(one.filled for one in exits) == qty
        assert len(exits) == math.ceil(qty / world.venue.rules[held.symbol].max_qty)

    play(tmp_path, case)


def test_leverage_changed_by_hand_is_told_and_the_next_entry_has_its_own(tmp_path):
    async def case(world):
        held = await world.position()
        symbol, before = held.symbol, world.trader.capital.margin()
        world.venue.publish(world.venue.account.set_leverage(symbol, D(50), world.venue.now()))
        await asyncio.sleep(3)
        # the stream tells of it: nobody waits for the next round
        assert held.leverage == 50
        assert world.trader.capital.margin() < before
        assert [what.leverage for what in world.told.of("leverage")] == [50]
        await world.runtime.dispatch(world.trader.exit(held, Cause.FORCE_EXIT, world.runtime.market_time()))
        await asyncio.sleep(5)
        assert world.trader.book.find(held.digest) is None
        for _ in range(12):
            await world.bars()
            if world.there(symbol).qty:
                break
        assert world.there(symbol).qty
        assert world.there(symbol).leverage == 5
        assert len(world.told.of("leverage")) == 1

    play(tmp_path, case)


def test_margin_added_by_hand_is_told_once_and_nothing_else_is_taken_for_it(tmp_path):
    async def case(world):
        account = world.venue.account
        account.set_margin_mode(ISOLATED)
        held = await world.position()
        await world.runtime.reconciler.compare()
        assert held.touches == []
        world.venue.publish(account.add_margin(held.symbol, D(5_000), world.venue.now()))
        for _ in range(2):
            await world.runtime.reconciler.compare()
        assert [one.touch for one in held.touches] == [Touch.MARGIN_ADDED]
        world.venue.publish(account.add_margin(held.symbol, D(2_500), world.venue.now()))
        await world.runtime.reconciler.compare()
        # some of it taken back, and another leverage: neither is more margin
        world.venue.publish(account.add_margin(held.symbol, D(-2_500), world.venue.now()))
        await world.runtime.reconciler.compare()
        world.venue.publish(account.set_leverage(held.symbol, D(4), world.venue.now()))
        await world.runtime.reconciler.compare()
        assert [what.touch for what in world.told.of("hand")] == [Touch.MARGIN_ADDED] * 2

    play(tmp_path, case)


def naked(world, held):
    """Take the stop away, as a hand would, and have every new one refused from now on; return how to end that."""
    account = world.venue.account
    there = account.position(held.symbol)
    account._protect(there, D(0), there.target, world.venue.now(), "")
    account._emit(there)
    real = account.set_stops

    def refuse(*_, **__):
        raise Rejected("system busy", 1, Objection.OTHER)

    account.set_stops = refuse
    world.venue.publish(account._drain())
    return lambda: setattr(account, "set_stops", real)


def test_a_stop_that_is_refused_for_a_moment_is_set_again_and_nothing_is_sold(tmp_path):
    async def case(world):
        held = await world.position()
        allow = naked(world, held)
        await asyncio.sleep(UNGUARDED_S / 2)
        assert (world.there(held.symbol).stop, held.leaving, held.exit_attempts) == (0, False, 0)
        allow()
        await asyncio.sleep(3)
        assert world.there(held.symbol).stop == held.bracket.stop
        assert held.exit_attempts == 0

    play(tmp_path, case)


def test_a_position_that_no_stop_can_be_set_for_is_closed_in_the_end(tmp_path):
    async def case(world):
        held = await world.position()
        naked(world, held)
        await asyncio.sleep(UNGUARDED_S + 10)
        assert world.there(held.symbol).qty == 0
        assert held.exit_cause is Cause.STOP_LOSS

    play(tmp_path, case)


def test_after_a_thousand_refused_exits_the_position_is_still_closed(tmp_path):
    async def case(world):
        held = await world.position()
        held.exit_attempts = 1_000
        account, place, refused = world.venue.account, world.venue.account.place, []

        def refuse(order, now, **more):
            if order.reduce_only and order.price is None and len(refused) < 20:
                refused.append(order.link_id)
                raise Rejected("not now", 1)
            return place(order, now, **more)

        account.place = refuse
        await world.runtime.dispatch(world.trader.leave(held, world.runtime.market_time()))
        await world.closed(held, 200)
        assert refused[0].endswith("-x1000")
        assert len(set(refused)) == 20
        assert world.there(held.symbol).qty == 0

    play(tmp_path, case)


def test_what_a_hand_ties_up_makes_entries_smaller_and_then_none(tmp_path):
    async def case(world):
        account, symbol = world.venue.account, SYMBOLS[1]
        usual = (await world.position()).requested
        world.trader.situation.switch = SwitchState.STOPPED
        await world.bars(8)
        # an order far below the market, and 45,000 left: the reserve, and less than one entry wants
        price = D(50)
        qty = world.venue.rules[symbol].floor_qty(
            (account.available() - 45_000) * account.position(symbol).leverage / price
        )
        world.change(max_qty=qty)
        by_hand = VenueOrder(
            id="", link_id="", symbol=symbol, side=OrderSide.BUY, kind=OrderKind.LIMIT, qty=qty, price=price
        )
        world.venue.publish(account.place(by_hand, world.venue.now(), at_once=True))
        await asyncio.sleep(6)
        assert world.trader.situation.available == pytest.approx(D(45_000), abs=D(100))
        world.trader.situation.switch = SwitchState.RUNNING
        world.sent.clear()
        await world.bars(2)
        (entry,) = [one for one in world.sent if not one.reduce_only]
        assert usual * D("0.25") < entry.qty < usual
        assert world.trader.counts["gate:margin"] == 1
        assert world.refused == []

    play(tmp_path, case)

"""Compares what lives of the bot know, recorded and told with the true books of their exchange."""

from __future__ import annotations

from decimal import Decimal as D
from typing import TYPE_CHECKING

import msgspec

from domain import ids
from domain.fills import Costs
from domain.ids import parse_order_id
from domain.order import Cause
from domain.phantom import follow
from domain.records import PhantomOpened, Touch
from engine.executions import whole_of
from tests.torture.hand import CAUSED_BY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from domain.instrument import Instrument
    from domain.phantom import PhantomTrade
    from engine.position import Position
    from tests.torture.episodes import Life, Market
    from tests.torture.venue import Venue


REMOVED = frozenset({Touch.STOP_REMOVED, Touch.TARGET_REMOVED})


def check(lives: Sequence[Life], venue: Venue, market: Market) -> None:
    """Raise AssertionError for whatever the last of these lives has wrong after everything has calmed down."""
    life = lives[-1]
    here = {held.symbol: held for held in life.trader.book.positions() if not held.pending}
    check_positions(life, venue, here)
    check_orders(life, venue)
    check_profit(life, venue, here)
    check_hands(lives, venue, here)
    check_lessons(lives, market)
    met = [one.runtime.second.met for one in lives]
    assert not any(met), f"what earlier lives had sent is taken for another instance's: {met}"


def check_positions(life: Life, venue: Venue, here: Mapping[str, Position]) -> None:
    """Positions, their stops, targets, leverage and partial targets are the exchange's; what is not ours is known as such."""
    there = {held.symbol: held for held in venue.account.state.positions.values() if held.qty}
    foreign = set(there) - set(here) if venue.hand.deeds else set()
    beside = {symbol: life.trader.book.net_of_strays(symbol, 0) if venue.hand.deeds else D(0) for symbol in here}
    others = foreign | {symbol for symbol, qty in beside.items() if qty}
    assert others == set(life.runtime.reconciler.found.foreign), "somebody else's positions are not known as such"
    there = {symbol: held for symbol, held in there.items() if symbol not in foreign}
    assert {symbol: held.qty for symbol, held in there.items()} == {
        symbol: held.opening.side.sign * held.qty + beside[symbol] for symbol, held in here.items()
    }
    assert {symbol: held.stop for symbol, held in there.items()} == {
        symbol: held.bracket.stop for symbol, held in here.items()
    }, "a stop is elsewhere than it is believed to be"
    assert {symbol: held.leverage for symbol, held in there.items()} == {
        symbol: held.leverage for symbol, held in here.items()
    }, "leverage is another than it is believed to be"
    assert {symbol: held.target for symbol, held in there.items()} == {
        symbol: held.bracket.target for symbol, held in here.items()
    }, "a target is elsewhere than it is believed to be"
    for held in here.values():
        if not venue.hand.kinds[held.symbol]:
            check_partial(held, venue.rules[held.symbol])


def check_orders(life: Life, venue: Venue) -> None:
    """Working orders are known, every order's end is, and no signal has led to two entries."""
    state = venue.account.state
    working = {o.link_id for o in state.orders.values() if parse_order_id(o.link_id)}
    assert working == {o.order_id for o in life.trader.book.unsettled()}, "working orders differ"
    assert not life.trader.book.leftovers, f"left over: {life.trader.book.leftovers}"
    assert not life.runtime.orders.in_flight, f"unknown orders: {life.runtime.orders.in_flight}"
    pending = [held for held in life.trader.book.positions() if held.pending]
    assert not pending, f"pending for ever: {[held.entry_order for held in pending]}"
    names = [name for link in state.link_ids if (name := parse_order_id(link)) and name.leg == "e"]
    assert len(names) == len({name.digest for name in names}), "two entries for one signal"


def check_profit(life: Life, venue: Venue, here: Mapping[str, Position]) -> None:
    """The wallet has changed by what was recorded, and by what open positions have paid so far."""
    ids_told = [leg.exec_id for trade in life.trades.held.values() for leg in trade.legs]
    assert len(ids_told) == len(set(ids_told)), "an execution in two trades"
    trades = life.trades.held.values()
    told = {whole_of(leg.exec_id) for trade in trades for leg in trade.legs}
    told |= {whole_of(exec_id) for held in here.values() for exec_id in held.fills}
    if venue.hand.deeds:
        for trade in trades:
            opened, closed = (
                sum(leg.qty for leg in trade.legs if leg.closing is way and leg.cause != "funding")
                for way in (False, True)
            )
            assert opened == closed == trade.quantity, f"{trade.trade_id}: opened {opened}, closed {closed}"
        ours = [
            fill for _, fill in venue.fills if fill.order_id and fill.cause is not Cause.FUNDING and not fill.closed_qty
        ]
        assert all(fill.exec_id in told for fill in ours), "an execution of an entry of ours is nobody's"
        return
    recorded = sum((trade.pnl_usd for trade in trades), D(0))
    held_back = sum((held.realised() for held in here.values()), D(0))
    true = venue.account.state.wallet + venue.hand.spent - 1_000_000
    assert abs(recorded + held_back - true) < D("1e-8"), f"profit {recorded + held_back}, true {true}"


def check_partial(held: Position, rules: Instrument) -> None:
    """The partial target takes its share of the whole position, in however many parts the entry filled."""
    planned = rules.floor_qty(held.opened * D("0.5"))
    alone = held.opening.strategy != "churn" or held.leaving or held.exit_attempts
    order = held.orders.get(held.partial_order)
    if not alone and order is not None:
        assert held.partial_filled + order.rest == planned, f"partial target of {order.qty}, not {planned}"
    if not alone and order is None and not held.partial_taken:
        spent = held.partial_attempts or planned < rules.min_qty
        assert spent, "no partial target"


def check_hands(lives: Sequence[Life], venue: Venue, here: Mapping[str, Position]) -> None:
    """A hand is told once, and marks what it has shaped; where there was none, nobody is told of one."""
    heard = [one for life in lives for one in life.told.of("hand")]
    told = [(one.digest, one.touch, one.name) for one in heard]
    assert len(told) == len(set(told)), "a hand was told of twice"
    trades = lives[-1].trades.held
    marks = {ids.trade_id(held.digest): {one.touch.value for one in held.touches} for held in here.values()}
    marks |= {name: set(filter(None, trade.touched.split(","))) for name, trade in trades.items()}
    if not venue.hand.deeds and not venue.posthumous:
        # the exchange takes a stop away as well, when its order is hit and then comes to nothing
        taken = {one.digest for one in heard if one.touch in REMOVED and one.symbol in venue.levels_ended}
        assert {one.digest for one in heard} == taken, f"a hand that never was: {told}"
        assert all(name in map(ids.trade_id, taken) for name, mark in marks.items() if mark), (
            f"marked by nobody: {marks}"
        )
    for one in heard:
        did = venue.hand.kinds[one.symbol] or (venue.posthumous and CAUSED_BY[one.touch])
        taken = one.touch in REMOVED and one.symbol in venue.levels_ended
        assert taken or CAUSED_BY[one.touch] & did, f"{one.touch} was told of {one.symbol}, where there was only {did}"
    for one in (what for life in lives for what in life.told.of("leverage")):
        assert "leverage" in venue.hand.kinds[one.symbol] or venue.posthumous, f"nobody changed the leverage: {one}"
    for digest, touch, _ in told:
        assert touch.value in marks.get(ids.trade_id(digest), ()), f"{digest} does not bear {touch}"
    for name, trade in trades.items():
        manual = any(leg.cause == Cause.MANUAL for leg in trade.legs)
        assert not manual or trade.touched, f"{name} was shaped by a hand and is not marked"


def check_lessons(lives: Sequence[Life], market: Market) -> None:
    """Each signal ended as its bars say, however the bot lived, and counts what its trade made unless a hand shaped that."""
    tracker, trades = lives[-1].tracker, lives[-1].trades.held
    opened = {
        one.phantom.phantom_id: msgspec.structs.replace(one.phantom)
        for life in reversed(lives) for one in life.trail.told if isinstance(one, PhantomOpened)
    }  # fmt: skip
    for phantom in [*tracker.completed, *tracker.active()]:
        alone = followed(opened[phantom.phantom_id], market)
        assert (phantom.outcome, phantom.made, phantom.exit_time) == (alone.outcome, alone.made, alone.exit_time)
    for row in tracker.get_learning_data():
        trade = trades.get(ids.trade_id(row.phantom_id)) if row.was_executed else None
        assert row.real == (trade is not None and not trade.touched), f"{row} of {trade}"


def followed(phantom: PhantomTrade, market: Market) -> PhantomTrade:
    """Follow a phantom through all bars that there were, as one that nothing disturbs."""
    for bar in market.rows[phantom.symbol]:
        if not phantom.outcome:
            follow(phantom, bar, market.venue.rules[phantom.symbol], Costs())
    return phantom

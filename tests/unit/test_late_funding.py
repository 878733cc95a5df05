"""Funding that is told late is booked to its trade, as a new version of it, or to the day when that is no more."""

import asyncio
import random
from datetime import UTC, datetime
from decimal import Decimal as D

import msgspec
import pytest

from domain import ids
from domain.errors import Unavailable
from domain.exits import ExitPlan
from domain.order import Cause, OrderSide, Side
from domain.records import Adopted, Close, Fill, Opening, SwitchState
from domain.trade import Leg, newest, with_funding
from engine.commands import RecordTrade, Remember
from engine.execution_reader import ExecutionReader
from engine.late_funding import FIRST_LOOK_S, LOOKS, LateFunding
from engine.market_clock import MarketClock
from engine.recall import replay
from engine.tasks import Tasks
from tests.torture.episodes import BAR_S, SYMBOLS, Life, Market, rules
from tests.torture.venue import FlakyBroker, Venue
from tests.torture.virtual import run_virtually
from tests.unit.test_day import DAY_MS, Night
from tests.unit.test_trader import A, World

EIGHT_MS = 28_800_000


def paid(number, time, fee="2", symbol=A):
    return Fill(
        time=time, exec_id=f"f{number}", order_id="", venue_order_id="fv", symbol=symbol, side=OrderSide.BUY, qty=D(1),
        price=D(100), fee=D(fee), closed_qty=D(0), cause=Cause.FUNDING,
    )  # fmt: skip


class Listing:
    """A broker that lists executions, and may be away."""

    def __init__(self):
        self.fills, self.asked, self.away = [], [], False

    async def fills_since(self, time, until, symbol=""):
        self.asked.append((time, until, symbol))
        if self.away:
            raise Unavailable("away")
        return [one for one in self.fills if time <= one.time <= until and symbol in {"", one.symbol}]


class Case:
    """A trader that has closed a position that was held over a funding time, and what its tiers would have."""

    def __init__(self):
        self.world, self.broker = World(), Listing()
        self.trader = self.world.trader
        opened, closed = EIGHT_MS - 60_000, EIGHT_MS + 60_000
        fills = [
            Fill(opened, "in", "", "v1", A, OrderSide.BUY, D(10), D(100), D("0.5"), D(0), Cause.ENTRY),
            Fill(closed, "out", "", "v2", A, OrderSide.SELL, D(10), D(98), D("0.5"), D(10), Cause.STOP_LOSS),
        ]
        opening = Opening("scripted", "3m", opened, Side.LONG, D(100), D(98), D(105), ExitPlan(), D(5))
        self.trader.adopt(Adopted(closed, "A" * 24, A, opening, tuple(fills), "test"))
        (held,) = self.trader.flat()
        self.trade = next(one.trade for one in self.trader.finish(held) if isinstance(one, RecordTrade))
        self.commands, self.legs_away = [], False
        clock = MarketClock(lambda: closed)
        self.funding = LateFunding(
            self.trader, ExecutionReader(self.trader, self.broker, clock), self.dispatch, self.legs
        )

    async def dispatch(self, commands):
        self.commands += commands

    async def legs(self, trade_id):
        if self.legs_away:
            raise Unavailable("the database is away")
        return list(self.trade.legs)

    def look(self, *fills, seconds=0.0):
        async def looked(_):
            for fill in fills:
                if self.funding.belongs_here(fill):
                    self.funding.take(fill)
            await asyncio.sleep(seconds)
            await self.funding.look()

        run_virtually(looked)

    def amended(self):
        return [one.trade for one in self.commands if isinstance(one, RecordTrade)]


def test_the_trade_is_amended_as_a_new_version_with_all_that_follows():
    case = Case()
    assert (case.trade.pnl_usd, case.trade.r_multiple) == (D(-21), D("-1.05"))
    case.look(paid(1, EIGHT_MS))
    (trade,) = case.amended()
    assert (trade.trade_id, trade.version) == (case.trade.trade_id, 1)
    assert (trade.funding, trade.fees, trade.pnl_usd, trade.r_multiple) == (D(2), D(1), D(-23), D("-1.15"))
    assert trade.pnl_percent == D("-11.5")
    assert [leg.exec_id for leg in trade.legs] == ["in", "f1", "out"]
    assert list(case.trader.closed) == [trade]
    assert (trade.entry_time, trade.exit_time, trade.exit_reason) == (
        case.trade.entry_time, case.trade.exit_time, case.trade.exit_reason,
    )  # fmt: skip


def test_told_again_it_changes_nothing_and_after_a_restart_neither():
    case = Case()
    case.look(paid(1, EIGHT_MS))
    case.look(paid(1, EIGHT_MS))
    assert len(case.amended()) == 1
    (trade,) = case.amended()
    again = Case()
    replay(again.trader, [Close(time=1, trade=case.trade), Close(time=2, trade=trade)])
    again.look(paid(1, EIGHT_MS))
    assert again.amended() == []


def test_a_second_payment_makes_a_third_version():
    case = Case()
    case.look(paid(1, EIGHT_MS), paid(2, EIGHT_MS + 1, fee="-0.5"))
    assert [(one.version, one.funding) for one in case.amended()] == [(1, D(2)), (2, D("1.5"))]
    assert newest([case.trade, *case.amended()])[case.trade.trade_id].version == 2


def test_a_trade_of_an_earlier_life_is_amended_with_its_executions_once_they_can_be_had():
    case = Case()
    case.trader.closed[0] = msgspec.structs.replace(case.trade, legs=())
    case.legs_away = True
    case.look(paid(1, EIGHT_MS))
    assert case.amended() == []
    case.legs_away = False
    case.look()
    (trade,) = case.amended()
    assert [leg.exec_id for leg in trade.legs] == ["in", "f1", "out"]


def test_a_trade_of_an_earlier_life_that_has_the_payment_already_is_left_alone():
    case = Case()
    case.look(paid(1, EIGHT_MS))
    (case.trade,) = case.amended()
    later = Case()
    later.trader.closed[0], later.trade = msgspec.structs.replace(case.trade, legs=()), case.trade
    later.look(paid(1, EIGHT_MS))
    assert later.amended() == []


@pytest.mark.parametrize("time", [EIGHT_MS - 60_001, EIGHT_MS + 60_001])
def test_what_was_paid_while_nothing_of_ours_was_held_is_a_strangers(time):
    case = Case()
    case.broker.fills = [paid(1, time)]
    case.look(paid(1, time))
    case.look(paid(1, time))
    assert case.commands == []
    assert len(case.broker.asked) == 1, "whose it is was asked for more than once"


def test_where_somebody_else_holds_something_nobody_is_asked():
    case = Case()
    case.trader.situation.foreign = {A: D(100)}
    case.look(paid(1, EIGHT_MS + 3_600_000))
    assert (case.commands, case.broker.asked) == ([], [])
    # but what was paid on ours is ours
    case.look(paid(2, EIGHT_MS))
    assert len(case.amended()) == 1


def test_what_a_trade_lacks_is_looked_for_with_longer_and_longer_pauses():
    case = Case()

    async def watched(_):
        case.funding.watch(case.trade)
        for _ in range(3):
            await asyncio.sleep(FIRST_LOOK_S - 1)
            await case.funding.look()
        asked = len(case.broker.asked)
        case.broker.fills = [paid(1, EIGHT_MS)]
        await asyncio.sleep(FIRST_LOOK_S * 4)
        await case.funding.look()
        await asyncio.sleep(FIRST_LOOK_S * 2**LOOKS)
        await case.funding.look()
        return asked

    assert run_virtually(watched) == 1
    assert {(start, end) for start, end, _ in case.broker.asked} == {(EIGHT_MS - 60_000, EIGHT_MS + 60_000)}
    assert len(case.broker.asked) == 2, "what has been found is looked for no more"
    assert [trade.funding for trade in case.amended()] == [D(2)]


def test_where_no_funding_was_paid_the_looking_ends():
    case = Case()

    async def watched(_):
        case.funding.recall(EIGHT_MS + DAY_MS)
        for _ in range(200):
            await asyncio.sleep(FIRST_LOOK_S * 2**LOOKS / 64)
            await case.funding.look()

    run_virtually(watched)
    assert len(case.broker.asked) == LOOKS


@pytest.mark.parametrize(("time", "made"), [(DAY_MS + 5, D(-2)), (DAY_MS - 5, D(0))])
def test_when_its_trade_is_no_more_it_counts_for_the_day_on_which_it_was_paid(time, made):
    case = Case()
    case.trader.situation.equity = D(1_000)
    case.trader.turn_of_day(DAY_MS)
    digest = "B" * 24
    case.trader.recorded.add(ids.trade_id(digest))
    entry = paid(7, time - 60_000)
    entry = msgspec.structs.replace(
        entry, cause=Cause.ENTRY, order_id=ids.order_id(digest, "e", 0, paper=False), exec_id="long ago"
    )
    case.broker.fills = [entry, paid(1, time)]
    case.look(paid(1, time))
    case.look(paid(1, time))
    assert case.trader.day_pnl() == made
    assert case.amended() == []
    again = case.world.fresh()
    replay(again, [one.record for one in case.commands if isinstance(one, Remember)])
    if made:
        assert again.day_pnl() == made
        assert "f1" in again.booked


def test_a_payment_of_before_midnight_is_the_old_days_though_its_trade_ended_in_the_new_one():
    world = Night()
    world.midnight()
    world.sold("1", "98", 5_000)
    assert world.made() == 3
    late = paid(1, DAY_MS - 1)
    (trade,) = world.trades
    leg = Leg(exec_id="f1", time=datetime.fromtimestamp(late.time / 1000, UTC), qty=D(1), price=D(1), fee=late.fee,
              cause="funding", closing=False)  # fmt: skip
    world.trader.amend(with_funding(trade, trade.legs, leg), late)
    assert world.made() == 3
    assert world.trader.closed[-1].pnl_usd == trade.pnl_usd - 2


class Holding(FlakyBroker):
    """Lists no funding before it is told to, and never tells of any on the stream."""

    shows = False

    async def fills_since(self, time, until, symbol=""):
        found = await super().fills_since(time, until, symbol)
        return [one for one in found if self.shows or one.cause is not Cause.FUNDING]


def test_the_whole_bot_amends_trades_whose_funding_is_listed_minutes_late(tmp_path):
    async def lived(_):
        draw = random.Random(5)
        venue = Venue(draw, {symbol: rules(symbol) for symbol in SYMBOLS}, trouble=0.0)
        market, tell = Market(draw, venue), venue._tell
        venue._tell = lambda told: tell([one for one in told if getattr(one, "cause", None) is not Cause.FUNDING])
        life = Life(tmp_path / "journal", venue, market, {})
        broker = life.runtime._p.broker = Holding(venue)
        life.runtime.orders._broker = life.runtime.intake._broker = life.runtime.lists._lists = broker
        async with Tasks() as tasks:
            await life.runtime.recover_with_patience()
            life.runtime.start(tasks)
            # half an hour before a funding time, and until half an hour after it
            for _ in range(20):
                await life.runtime._events.put(market.step())
                await asyncio.sleep(BAR_S)
            life.trader.situation.switch = SwitchState.STOPPED
            await asyncio.sleep(300)
            for _ in range(6):
                await life.runtime._events.put(market.step())
                await asyncio.sleep(BAR_S)
            paid = [fill for _, fill in venue.fills if fill.cause is Cause.FUNDING]
            assert paid
            assert not any(trade.funding for trade in life.trades.held.values())
            broker.shows = True
            await asyncio.sleep(900)
            assert not life.trader.book.positions()
        amended = [trade for trade in life.trades.held.values() if trade.version]
        assert sum(trade.funding for trade in amended) == sum(fill.fee for fill in paid)
        assert sum(trade.pnl_usd for trade in life.trades.held.values()) == venue.account.state.wallet - 1_000_000
        life.journal.close()

    run_virtually(lived)

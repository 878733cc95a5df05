"""Equity, order values and numbers of orders are doubted: entries stop by the name of a gate, and it is told."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal as D
from types import SimpleNamespace

import msgspec
import pytest

from domain.errors import Objection, Unavailable
from domain.order import Balance, Side
from domain.records import DayStarted
from engine import readiness
from engine.commands import PlaceOrder, Refused
from engine.equity import BELIEVED_AFTER_S, EquityDoubt
from engine.parts import Progress
from engine.reports import equity_now
from engine.risk import Approved, Denied, weigh
from engine.rules import Rules
from engine.upkeep import Upkeep
from tests.unit.test_readiness import world as ready_world
from tests.unit.test_refusals import COARSE, A, refuse, signalled
from tests.unit.test_risk import ACCOUNT, LIMITS, RULES, signal
from tests.unit.test_trader import STEP, World

ABSURD = [D(1_000_000), D(100_001), D(999), D(0), D(-5)]


class Told:
    """What is told of the account every five seconds, to a trader whose equity was 10,000."""

    def __init__(self, step="10"):
        self.world, self.broker, self.now = World({0: Side.LONG, 1: Side.LONG}), SimpleNamespace(), 0.0
        self.trader = self.world.trader
        parts = SimpleNamespace(trader=self.trader, broker=self.broker, delivery=None)
        self.progress = Progress(broker_error="")
        self.upkeep = Upkeep(parts, self.progress, Rules(self.trader, self.broker), set(), None)
        self.limits = replace(LIMITS, max_equity_step=D(step))
        self.upkeep._doubt = EquityDoubt(lambda: self.limits, lambda: self.now)

    async def tell(self, equity, seconds=5.0):
        async def balance():
            return Balance(D(equity), D(equity), D(equity))

        self.broker.balance = balance
        self.now += seconds
        await self.upkeep.ask_balance()
        return self.trader.situation


@pytest.mark.parametrize("equity", ABSURD)
async def test_an_equity_that_cannot_be_stops_entries_by_name_and_the_true_one_lets_them_in_again(equity):
    told = Told()
    seen = await told.tell(equity)
    (refused,) = told.world.bar()
    assert (type(refused), refused.gate) == (Refused, "equity_doubted")
    assert (seen.equity, seen.available) == (D(10_000), None)
    held, progress = ready_world()
    held.trader.situation.equity_doubt = seen.equity_doubt
    (reason,) = readiness.reasons(held, progress)
    assert f"equity of {equity:f} after 10000 is doubted" in reason
    seen = await told.tell(10_050)
    assert (seen.equity_doubt, seen.equity) == ("", D(10_050))
    (entry,) = told.world.bar()
    assert isinstance(entry, PlaceOrder)


@pytest.mark.parametrize("equity", [D(100_000), D(10_000), D(1_000), D("9999.99")])
async def test_what_an_account_does_usually_is_believed_at_once(equity):
    seen = await Told().tell(equity)
    assert (seen.equity_doubt, seen.equity, seen.available) == ("", equity, equity)


@pytest.mark.parametrize("equity", ABSURD)
async def test_what_stays_is_true(equity):
    told = Told()
    for _ in range(int(BELIEVED_AFTER_S // 5)):
        assert (await told.tell(equity)).equity_doubt
    seen = await told.tell(equity)
    assert (seen.equity_doubt, seen.equity) == ("", equity)


async def test_what_is_told_differently_each_time_is_never_believed():
    told = Told()
    for turn in range(1_000):
        assert (await told.tell(10**6 if turn % 2 else 0)).equity_doubt


async def test_the_first_that_is_told_is_what_the_others_are_measured_by_and_silence_doubts_nothing():
    told = Told()
    told.trader.situation.equity = D(0)
    assert (await told.tell(77)).equity == 77

    async def away():
        raise Unavailable("away")

    told.broker.balance = away
    with pytest.raises(Unavailable):
        await told.upkeep.ask_balance()
    assert told.trader.situation.equity_doubt == ""


def test_an_order_is_worth_no_more_than_the_configuration_says_whatever_the_equity():
    usual = weigh(signal(), RULES, LIMITS, ACCOUNT)
    assert isinstance(usual, Approved)
    value = usual.qty * D(100)
    assert weigh(signal(), RULES, replace(LIMITS, max_order_value=value), ACCOUNT) == usual
    verdict = weigh(signal(), RULES, replace(LIMITS, max_order_value=value - 1), ACCOUNT)
    assert (type(verdict), verdict.gate) == (Denied, "order_value")


def test_no_more_entries_are_made_within_a_minute_than_the_configuration_says():
    busy = msgspec.structs.replace(ACCOUNT, ordered=2)
    limits = replace(LIMITS, max_orders_per_minute=2)
    assert isinstance(weigh(signal(), RULES, LIMITS, busy), Approved)
    verdict = weigh(signal(), RULES, limits, busy)
    assert (type(verdict), verdict.gate) == (Denied, "order_rate")
    assert isinstance(weigh(signal(), RULES, limits, msgspec.structs.replace(ACCOUNT, ordered=1)), Approved)


def test_entries_are_counted_by_the_minute_of_the_market():
    world = World({0: Side.LONG})
    world.entered()
    assert world.trader._account("A/USDT:USDT").ordered == 1
    world.trader.situation.market_time += STEP
    assert world.trader._account("A/USDT:USDT").ordered == 0


async def test_the_equity_shown_moves_with_prices_between_two_answers_and_never_counts_anything_twice():
    told = Told()
    trader, seen = told.trader, told.trader.situation
    entry = next(one for one in told.world.bar() if isinstance(one, PlaceOrder))
    told.world.fill(entry)
    (held,) = trader.book.positions()
    seen.prices[held.symbol] = held.entry_price + 1
    made = trader.open_pnl()
    await told.tell(10_000 + made)
    assert equity_now(trader) == 10_000 + made
    seen.prices[held.symbol] = held.entry_price + 3
    assert equity_now(trader) == 10_000 + trader.open_pnl()
    await told.tell(10_000 + trader.open_pnl())
    assert equity_now(trader) == 10_000 + trader.open_pnl()
    # until it is asked for again on the new day, what was told stands: that day begins with no profit
    seen.market_time += 86_400_000
    assert equity_now(trader) == seen.equity


async def test_beyond_an_absolute_limit_no_equity_is_believed_be_it_the_first_and_for_however_long():
    told = Told()
    told.trader.situation.equity = D(0)
    told.limits = replace(told.limits, max_equity=D(50_000))
    for _ in range(int(2 * BELIEVED_AFTER_S // 5)):
        seen = await told.tell(50_001)
        assert (seen.equity, "risk.max_equity" in seen.equity_doubt) == (D(0), True)
    (refused,) = told.world.bar()
    assert refused.gate == "equity_doubted"
    assert (await told.tell(50_000)).equity == 50_000


@pytest.mark.parametrize("equity", [D("Infinity"), D("NaN")])
async def test_an_equity_that_is_no_number_is_never_believed(equity):
    told = Told()
    told.trader.situation.equity = D(0)
    assert (await told.tell(equity)).equity_doubt


@pytest.mark.parametrize("equity", ABSURD)
async def test_the_first_after_a_restart_is_measured_by_what_the_journal_remembers(equity):
    told = Told()
    told.trader.situation.equity = D(0)
    told.trader.restore(DayStarted(time=1, day=0, equity=D(10_000), prices={}))
    seen = await told.tell(equity)
    assert (seen.equity, bool(seen.equity_doubt)) == (D(10_000), True)
    assert (await told.tell(10_100)).equity == 10_100


def test_exits_are_not_held_up_by_the_number_of_orders():
    world = World({0: Side.LONG})
    world.terms = replace(world.terms, limits=replace(world.terms.limits, max_orders_per_minute=1))
    world.trader = world.fresh()
    world.entered()
    assert world.trader._account("A/USDT:USDT").ordered == 1
    (held,) = world.trader.book.positions()
    (left,) = [one for one in world.trader.leave(held, STEP) if isinstance(one, PlaceOrder)]
    assert left.request.reduce_only
    # and does not count
    assert world.trader._account("A/USDT:USDT").ordered == 1


def test_an_entry_that_is_sent_again_in_another_shape_counts_as_well():
    world, command = signalled()
    world.trader.update_instruments({A: COARSE})
    (_,) = refuse(world, command, Objection.RULES).sent
    assert world.trader._account(A).ordered == 2


def test_what_was_sent_before_a_restart_counts_after_it():
    world = World({0: Side.LONG})
    (order,) = world.bar()
    fresh = World({0: Side.LONG})
    fresh.trader.restore(order.intent)
    fresh.trader.situation.market_time = order.intent.time
    assert fresh.trader._account("A/USDT:USDT").ordered == 1

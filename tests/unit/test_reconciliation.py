"""Differences between our book and the exchange's: what is concluded, and what never is."""

import asyncio
import random
from dataclasses import replace
from decimal import Decimal as D

import msgspec
import pytest

from domain import ids
from domain.errors import OutcomeUnknown, Rejected, Unavailable
from domain.order import Cause, ClosedPart, OpenOrder, OrderKind, OrderRequest, OrderSide, OrderState, PositionReport
from domain.records import Adopted, Fill, OrderEnded, OrderFound, StopMoved, Unread
from engine import rebuild
from engine.commands import RecordTrade
from engine.flattening import AGAIN_S
from engine.guard import UNGUARDED_S
from engine.reconciliation import BOOKED_AFTER_S, Policy, Reconciler, ReconcileTerms
from engine.stops import Stops
from engine.trader import Trader
from tests.torture.virtual import run_virtually
from tests.unit.test_trader import RULES, WHO, A, World

SELL, BUY = OrderSide.SELL, OrderSide.BUY


def fill(number, side, qty, price, *, time=None, order_id="", closed=0, cause=Cause.UNKNOWN, fee="0.1"):
    return Fill(
        time=time or number, exec_id=f"e{number}", order_id=order_id, venue_order_id=f"v{number}", symbol=A, side=side,
        qty=D(str(qty)), price=D(str(price)), fee=D(fee), closed_qty=D(str(closed)), cause=cause,
    )  # fmt: skip


class Exchange:
    """An exchange as the reconciler sees it."""

    def __init__(self):
        self.reports, self.fills, self.parts, self.stops, self.orders = [], [], [], [], []
        self.is_flat, self.away = True, False

    async def positions(self):
        if self.away:
            raise Unavailable("away")
        return self.reports

    async def flat(self, symbol):
        return self.is_flat

    async def fills_since(self, time, until, symbol=""):
        return [one for one in self.fills if time <= one.time <= until]

    async def closed_since(self, time, until, symbol):
        return self.parts

    async def open_orders(self):
        return self.orders

    async def set_stop(self, symbol, stop, target, *, index=0):
        self.stops.append((stop, target))


class Shell:
    """The runtime as the reconciler sees it; everything is taken at once."""

    def __init__(self, trader: Trader, exchange: Exchange):
        self.trader, self.exchange, self.records, self.commands = trader, exchange, [], []
        self.touches, self.nudges = [], []

    def market_time(self):
        return 100 * 86_400_000

    async def touched(self, touch):
        await self.append(touch)
        self.trader.restore(touch)
        self.touches.append(touch)

    async def append(self, record):
        self.records.append(record)

    async def dispatch(self, commands):
        self.commands += commands

    async def catch_up(self):
        await self.take(self.exchange.fills)

    async def take(self, fills):
        for one in fills:
            self.trader.on_fill(one)

    def nudge(self):
        self.nudges.append(asyncio.get_running_loop().time())

    def exit_again(self, held):
        self.commands += self.trader.exit(held, held.exit_cause, self.market_time())


class Case:
    def __init__(self, policy=Policy.IGNORE, world=None):
        self.world = world or World()
        self.exchange = Exchange()
        self.trader = self.world.trader
        self.shell = Shell(self.trader, self.exchange)
        self.reconciler = Reconciler(self.trader, self.exchange, self.shell, ReconcileTerms(policy, D("0.05"), "3m"))

    def compare(self):
        run_virtually(lambda _: self.reconciler.compare())
        return self.reconciler.found

    def report(self, qty, *, stop="0", target="0", price="100"):
        self.exchange.is_flat = False
        self.exchange.reports = [PositionReport(A, D(qty), D(price), D(stop), D(target), D(5), D(price), D(0))]


def opened() -> Case:
    from domain.order import Side

    case = Case(world=World({0: Side.LONG}))
    case.entry, _ = case.world.entered()
    return case


def test_an_empty_page_is_not_flat():
    case = opened()
    case.exchange.is_flat = False
    found = case.compare()
    assert found.ghosts == [A]
    assert len(case.trader.book.positions()) == 1


def test_an_error_concludes_nothing():
    case = opened()
    case.exchange.away = True
    with pytest.raises(Unavailable):
        case.compare()
    assert len(case.trader.book.positions()) == 1


def test_a_position_that_is_gone_is_closed_by_its_executions():
    case = opened()
    case.exchange.fills = [fill(900, SELL, case.entry.request.qty, 98, time=999_999, closed=1, cause=Cause.STOP_LOSS)]
    case.compare()
    (held,) = case.trader.flat()
    assert held.closed == case.entry.request.qty


def test_without_executions_the_booked_profit_closes_it():
    case = opened()
    qty = case.entry.request.qty
    case.exchange.parts = [
        ClosedPart("v77", A, SELL, qty, D(97), D("0.5"), 999_999),
        ClosedPart("v78", A, BUY, qty, D(1), D(0), 1),
    ]

    async def patiently(_):
        # executions may only be late: what is booked is taken when they have not come for a while
        await case.reconciler.compare()
        assert case.reconciler.found.ghosts == [A]
        assert case.trader.flat() == []
        await asyncio.sleep(BOOKED_AFTER_S)
        await case.reconciler.compare()

    run_virtually(patiently)
    (held,) = case.trader.flat()
    assert held.to_trade(WHO).exit_price == D(97)
    assert held.to_trade(WHO).fees == D("0.5")


def test_gone_and_nobody_tells_how_keeps_the_symbol_locked():
    case = opened()
    assert case.compare().ghosts == [A]
    assert case.trader.book.of_symbol(A) is not None


def test_an_unknown_position_of_our_order_is_taken_over_under_its_own_name():
    case = Case(Policy.IGNORE)
    digest = "A" * 24
    case.exchange.fills = [fill(1, BUY, 2, 100, time=8_640_000_000 - 5, order_id=f"L1-{digest}-e0", cause=Cause.ENTRY)]
    case.report("2", stop="97", target="110")
    found = case.compare()
    (held,) = case.trader.book.positions()
    assert (found.adopted, held.digest, held.bracket.stop, held.bracket.target, held.qty) == (
        1,
        digest,
        D(97),
        D(110),
        D(2),
    )
    assert isinstance(case.shell.records[0], Adopted)
    assert found.foreign == []


@pytest.mark.parametrize(
    ("policy", "stops", "orders", "ours"),
    [(Policy.IGNORE, 0, 0, 0), (Policy.PROTECT, 1, 0, 0), (Policy.FLATTEN, 0, 1, 0), (Policy.ADOPT, 1, 0, 1)],
)
def test_somebody_elses_position_is_treated_as_the_policy_says(policy, stops, orders, ours):
    case = Case(policy)
    case.report("-3")
    found = case.compare()
    assert len(case.exchange.stops) == stops
    assert [command.request.qty for command in case.shell.commands if hasattr(command, "request")] == [D(3)] * orders
    assert len(case.trader.book.positions()) == ours
    assert found.foreign == ([] if ours else [A])
    assert case.trader.situation.foreign == ({} if ours else {A: D(300)})
    assert case.trader.situation.foreign_margin == (0 if ours else D(300) / 5)
    if stops:
        assert case.exchange.stops[0][0] == D("105.0")
    if policy is Policy.FLATTEN:
        (command,) = case.shell.commands
        assert (command.request.reduce_only, command.request.side, command.request.kind) == (
            True,
            BUY,
            OrderKind.MARKET,
        )


def test_a_position_that_has_gone_meanwhile_is_nobodys():
    case = Case(Policy.ADOPT)
    case.report("1")
    case.exchange.is_flat = True
    assert case.compare().adopted == 0
    assert case.trader.book.positions() == []


def test_no_entry_is_made_beside_somebody_elses_position():
    from domain.order import Side

    case = Case(world=World({3: Side.LONG}))
    case.report("1")
    case.compare()
    for _ in range(3):
        case.world.bar()
    (refused,) = case.world.bar()
    assert refused.gate == "foreign_position"


def test_a_missing_stop_is_set_and_the_naked_seconds_are_measured():
    case = opened()
    case.report(str(case.entry.request.qty))
    found = case.compare()
    assert case.exchange.stops == [(case.entry.request.stop, case.entry.request.target)]
    assert (found.naked, len(found.naked_s)) == ({}, 1)


def test_a_loosened_stop_is_tightened_again():
    case = opened()
    case.report(str(case.entry.request.qty), stop="90", target="105")
    case.compare()
    assert case.exchange.stops == [(case.entry.request.stop, case.entry.request.target)]


def refusing(case, *refusals):
    """Have the exchange refuse so many stops, in these words, before it takes one."""
    left = list(refusals)

    async def set_stop(symbol, stop, target, *, index=0):
        if left:
            raise left.pop(0)
        case.exchange.stops.append((stop, target))

    case.exchange.set_stop = set_stop


@pytest.mark.parametrize("stop", ["0", "97"], ids=["none", "a looser one"])
@pytest.mark.parametrize(("price", "exits"), [("97.9", 1), ("98.1", 0)])
def test_a_stop_that_cannot_be_set_closes_only_what_the_price_has_passed(stop, price, exits):
    case = opened()
    refusing(case, *[Rejected("no", 1)] * 9)
    case.report(str(case.entry.request.qty), stop=stop, price=price)
    case.compare()
    assert len(case.shell.commands) == exits
    assert all(one.request.reduce_only for one in case.shell.commands)
    assert list(case.reconciler.found.naked) == ([A] if stop == "0" else [])


@pytest.mark.parametrize("trouble", [Rejected("no", 1), OutcomeUnknown("timed out")])
def test_what_stays_without_a_stop_is_closed_after_a_while(trouble):
    case = opened()
    refusing(case, *[trouble] * 99)
    case.report(str(case.entry.request.qty), price="98.1")

    async def rounds(loop):
        while not case.shell.commands:
            await case.reconciler.compare()
            await asyncio.sleep(2)
        assert UNGUARDED_S <= loop.time() <= UNGUARDED_S + 4

    run_virtually(rounds)


def test_a_stop_that_the_rules_want_elsewhere_is_kept_where_it_was_set():
    case = opened()
    rules = Ruled(replace(RULES, tick=D(5)))
    case.reconciler.guard._stops = Stops(case.exchange, rules)
    case.report(str(case.entry.request.qty), target="105.0")
    case.compare()
    (held,) = case.trader.book.positions()
    assert [stop for stop, _ in case.exchange.stops] == [D(95)]
    assert held.bracket.stop == D(95)
    assert [one.stop for one in case.shell.records if isinstance(one, StopMoved)] == [D(95)]
    case.report(str(case.entry.request.qty), stop="95", target="105.0")
    case.compare()
    assert len(case.exchange.stops) == 1


class Ruled:
    """One contract's rules."""

    def __init__(self, rules):
        self.rules = rules

    def get(self, symbol):
        return self.rules

    async def contradicted(self, symbol, refused): ...


def test_runs_are_found_whatever_the_order_of_executions_of_one_moment():
    name = f"L1-{'B' * 24}-e0"
    told = [
        fill(1, SELL, 1, 90, time=5, closed=1),
        fill(2, BUY, 1, 100, time=10, order_id=name),
        fill(3, BUY, 1, 101, time=10, order_id=name),
        fill(4, BUY, 2, 100, time=12, cause=Cause.FUNDING),
        fill(5, SELL, 2, 103, time=20, closed=2),
        fill(6, SELL, 3, 103, time=20),
        fill(7, BUY, 1, 99, time=30, closed=1),
    ]
    for seed in range(20):
        shuffled = told[:]
        random.Random(seed).shuffle(shuffled)
        first, second = rebuild.runs(shuffled)
        assert [one.exec_id for one in first.fills] in (["e2", "e3", "e4", "e5"], ["e3", "e2", "e4", "e5"])
        assert (first.qty, first.digest) == (0, "B" * 24)
        assert (second.qty, second.digest, second.average(closing=False)) == (D(-2), "", D(103))


def test_a_closed_position_that_nobody_remembers_becomes_a_trade_under_its_own_id():
    case = Case()
    name = f"L1-{'C' * 24}-e0"
    told = [
        fill(1, BUY, 1, 100, time=10, order_id=name),
        fill(2, SELL, 1, 103, time=20, closed=1, cause=Cause.TAKE_PROFIT),
    ]
    run_virtually(lambda _: case.reconciler.restore_closed(told))
    (held,) = case.trader.flat()
    trade = held.to_trade(WHO)
    assert (trade.trade_id, trade.pnl_usd) == (ids.trade_id("C" * 24), D("2.8"))
    run_virtually(lambda _: case.reconciler.restore_closed(told))
    assert case.reconciler.found.rebuilt == 1


def test_an_order_left_over_keeps_its_symbol_locked_until_it_is_gone():
    from domain.order import OrderState, Side
    from domain.records import OrderEnded

    world = World({0: Side.LONG, 5: Side.LONG, 9: Side.LONG})
    entry, _ = world.entered()
    world.trader.exit(world.trader.book.positions()[0], Cause.FORCE_EXIT, 1)
    world.fill(side=SELL, qty=str(entry.request.qty), price="98", cause=Cause.STOP_LOSS)
    assert list(world.trader.book.leftovers.values()) == [A]
    for _ in range(4):
        world.bar()
    (refused,) = world.bar()
    assert refused.gate == "order_left"
    (tidy,) = world.trader.tidy()
    world.trader.on_order_ended(OrderEnded(time=1, order_id=tidy.order_id, symbol=A, state=OrderState.CANCELLED))
    for _ in range(3):
        world.bar()
    assert isinstance(world.bar()[0].request, OrderRequest)
    assert RULES.symbol == A


def leg(index, qty, *, stop="0", symbol=A) -> PositionReport:
    return PositionReport(symbol, D(qty), D(100), D(stop), D(0), D(5), D(100), D(0), index)


def test_the_legs_of_hedge_mode_are_never_merged_and_each_is_closed_as_itself():
    case = Case(Policy.FLATTEN)
    case.exchange.is_flat = False
    case.exchange.reports = [leg(1, "5", stop="90"), leg(2, "-2", stop="110")]
    found = case.compare()
    assert found.foreign == [A]
    assert case.trader.situation.foreign == {A: D(700)}
    assert [(one.request.index, one.request.side, one.request.qty) for one in case.shell.commands] == [
        (1, SELL, D(5)), (2, BUY, D(2)),
    ]  # fmt: skip


def test_a_leg_beside_our_own_position_is_somebody_elses():
    case = opened()
    qty = case.entry.request.qty
    case.report(str(qty), stop="98", target="105")
    case.exchange.reports.append(leg(2, "-7"))
    found = case.compare()
    assert (found.foreign, found.mismatched, found.ghosts) == ([A], [], [])
    assert case.trader.situation.foreign == {A: D(700)}


def test_a_working_order_of_ours_that_nobody_remembers_is_cancelled():
    case = Case()
    order = OpenOrder(f"L1-{'A' * 24}-e0", A, BUY, D(5), D(0), D(99), reduce_only=False, time=1)
    case.exchange.orders = [order]
    case.compare()
    assert [type(one) for one in case.shell.records] == [OrderFound]
    assert [one.order_id for one in case.shell.commands] == [order.order_id]
    # until its end is known, no entry is made there, and it is asked for again
    case.world.trader.warm_up(A, 0)
    assert list(case.trader.book.leftovers) == [order.order_id]
    case.exchange.orders = []
    case.trader.on_order_ended(OrderEnded(1, order.order_id, A, OrderState.CANCELLED))
    assert case.trader.book.leftovers == {}


def test_after_the_loss_of_every_record_the_rest_of_a_limit_entry_is_still_ours():
    case, digest = Case(), "A" * 24
    name = f"L1-{digest}-e0"
    case.exchange.fills = [fill(1, BUY, 2, 100, time=8_640_000_000 - 5, order_id=name, cause=Cause.ENTRY)]
    case.exchange.orders = [OpenOrder(name, A, BUY, D(10), D(2), D(100), reduce_only=False, time=1)]
    case.report("2", stop="97", target="110")
    case.compare()
    (held,) = case.trader.book.positions()
    assert (held.digest, held.entry_rest, held.entry_ended, held.commitment(D(100))) == (digest, D(8), False, D(1_000))


def test_what_fills_of_an_entry_after_its_trade_was_recorded_is_closed_at_once():
    """Only after a loss of memory: a bot that remembers the order waits for its end before it records the trade."""
    case = opened()
    entry = case.entry.request
    (out,) = case.world.fill(side=SELL, qty=str(entry.qty), price="98", cause=Cause.STOP_LOSS)
    assert isinstance(out, RecordTrade)
    case.exchange.fills = [
        fill(9, BUY, 3, 100, time=8_640_000_000 - 5, order_id=entry.order_id, cause=Cause.ENTRY)
    ]  # fmt: skip
    case.report("3", stop="97", target="110")
    case.compare()
    (exit_,) = case.shell.commands
    assert (exit_.request.qty, exit_.request.reduce_only, exit_.intent.cause) == (D(3), True, Cause.FORCE_EXIT)


def test_a_report_that_was_not_understood_closes_its_symbol_until_book_and_exchange_agree():
    case = opened()
    qty = case.entry.request.qty
    case.reconciler.not_understood(Unread(1, A, "execution: no number", "{}"))
    case.report(str(qty + 1), stop="98", target="105")
    case.compare()
    assert (list(case.trader.situation.doubtful), case.reconciler.doubts) == ([A], True)
    case.report(str(qty), stop="98", target="105")
    case.compare()
    assert (case.trader.situation.doubtful, case.reconciler.doubts) == ({}, False)


def test_a_list_that_is_older_than_the_end_of_a_trade_revives_nothing():
    """Found by lists that are late by turns: a position that had been closed and recorded was taken over once more."""
    case = opened()
    entry = case.entry.request
    first = [
        msgspec.structs.replace(one, time=8_640_000_000 - 5) for one in case.world.records if isinstance(one, Fill)
    ]
    case.world.fill(side=SELL, qty=str(entry.qty), price="98", cause=Cause.STOP_LOSS)
    case.exchange.fills = first
    case.report(str(entry.qty), stop="98", target="105")
    found = case.compare()
    assert (found.adopted, found.foreign, case.shell.commands) == (0, [], [])
    assert case.reconciler.doubts


def exits(case):
    return [command.request for command in case.shell.commands if hasattr(command, "request")]


def test_what_an_operator_wants_closed_is_closed_though_its_exit_comes_to_nothing_and_a_list_leaves_it_out():
    """Found by panic --foreign in a thin market: one exit was sent, and never again."""
    case = Case(Policy.IGNORE)
    case.report("-3")
    flattening = case.reconciler.flattening

    async def work(_):
        await case.reconciler.compare()
        assert (exits(case), flattening.ended) == ([], True)
        flattening.order()
        reports, case.exchange.reports = case.exchange.reports, []
        await case.reconciler.compare()
        assert (exits(case), flattening.ended, flattening.symbols) == ([], False, [A])
        case.exchange.reports = reports
        for sent in (1, 1, 2, 2, 3):
            await case.reconciler.compare()
            await asyncio.sleep(AGAIN_S / 2)
            assert len(exits(case)) == sent
        case.exchange.reports, case.exchange.is_flat = [], True
        await case.reconciler.compare()
        assert flattening.ended
        case.report("-1")
        await case.reconciler.compare()
        await asyncio.sleep(AGAIN_S)

    run_virtually(work)
    # what is opened later is not meant by it
    assert [(one.side, one.qty, one.reduce_only) for one in exits(case)] == [(BUY, D(3), True)] * 3
    assert case.reconciler.found.foreign == [A]
    assert len(case.shell.nudges) == 1 + 3


def test_an_operator_who_wants_all_closed_has_nothing_taken_over():
    case = Case(Policy.ADOPT)
    case.report("2")

    async def work(_):
        case.reconciler.flattening.order()
        await case.reconciler.compare()

    run_virtually(work)
    assert case.reconciler.found.adopted == 0
    assert [(one.side, one.qty) for one in exits(case)] == [(SELL, D(2))]


def test_an_exchange_that_does_not_answer_keeps_what_an_operator_wants_closed():
    case = Case(Policy.IGNORE)
    case.report("2")
    case.exchange.away = True

    async def work(_):
        case.reconciler.flattening.order()
        with pytest.raises(Unavailable):
            await case.reconciler.compare()
        assert not case.reconciler.flattening.ended
        case.exchange.away = False
        await case.reconciler.compare()

    run_virtually(work)
    assert len(exits(case)) == 1


def test_two_comparisons_never_run_at_the_same_time():
    """Seen: one that was asked for forgot what the regular one had just found to be missing."""
    case = opened()
    case.exchange.is_flat = False
    asked, ghosts = [], []

    async def positions():
        asked.append("begins")
        await asyncio.sleep(1)
        asked.append("ends")
        return []

    async def both(_):
        case.exchange.positions = positions
        first, second = (asyncio.ensure_future(case.reconciler.compare()) for _ in range(2))
        await first
        ghosts.append(list(case.reconciler.found.ghosts))
        await second

    run_virtually(both)
    assert (asked, ghosts) == (["begins", "ends"] * 4, [[A]])

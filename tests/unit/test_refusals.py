"""What follows from refusals: another shape, waiting, closing; and from leverage changed by hand."""

import asyncio
from dataclasses import replace
from decimal import Decimal as D

import msgspec
import pytest

from domain.errors import Objection, Unavailable
from domain.exits import ExitPlan
from domain.instrument import RiskTier
from domain.order import Cause, OrderState, PositionReport, Side
from domain.records import LeverageChanged, OrderEnded
from engine.commands import MoveStop, PlaceOrder
from engine.leverage import Leverages, Releveraged
from engine.recall import replay
from engine.refusals import ASK_S, OrderRefused, Refusals, StopRefused
from engine.stops import Placed, StopOutcome
from tests.torture.virtual import run_virtually
from tests.unit.test_trader import RULES, STEP, A, World

COARSE = replace(RULES, tick=D(1))


class Shell:
    """The runtime, and the reconciler, as the refusals see them."""

    def __init__(self, world):
        self.world, self.sent, self.doubted, self.nudges, self.records, self.told = world, [], [], 0, [], []
        self.available, self.away = None, False

    def market_time(self):
        return 7

    async def dispatch(self, commands):
        self.sent += commands

    async def append(self, record):
        self.records.append(record)

    def doubt(self, symbol):
        self.doubted.append(symbol)

    def nudge(self):
        self.nudges += 1

    async def ask_balance(self):
        if self.away:
            raise Unavailable("away")
        self.world.trader.situation.available = self.available

    def refusals(self):
        return Refusals(
            self.world.trader, self, self, self.ask_balance, lambda kind, what: self.told.append((kind, what))
        )


def refuse(world, command, objection, shell=None):
    """Have the exchange refuse an order; return the shell, with what is sent because of that."""
    shell = shell or Shell(world)
    ended = OrderEnded(1, command.request.order_id, A, OrderState.REJECTED, "no")
    world.records += [ended]
    world.trader.on_order_ended(ended)
    run_virtually(lambda _: shell.refusals().take_order(OrderRefused(command, objection, "no")))
    return shell


def signalled(on=None, **more):
    world = World(on or {0: Side.LONG}, **more)
    (command,) = world.bar(100.3)
    return world, command


def test_an_entry_off_the_new_tick_is_rounded_and_sent_once_more_under_a_new_name():
    world, command = signalled()
    world.trader.update_instruments({A: COARSE})
    (again,) = refuse(world, command, Objection.RULES).sent
    assert (again.request.stop, again.request.target) == (D(98), D(105))
    assert again.request.order_id == command.request.order_id[:-1] + "1"
    assert again.intent.opening.stop == D(98)
    # it is followed as the same signal: nothing is counted or told twice
    assert again.signal is None
    assert world.trader.counts["taken"] == 1
    # the first attempt does not come back: what fills belongs to the second
    world.records.append(again.intent)
    world.fill(again, price="100.3", cause=Cause.ENTRY)
    (held,) = world.trader.book.positions()
    assert (held.qty, held.entry_order) == (again.request.qty, again.request.order_id)
    twin = world.fresh()
    replay(twin, iter(world.records))
    assert twin.book.positions() == world.trader.book.positions()


def test_the_second_attempt_is_the_last():
    world, command = signalled()
    world.trader.update_instruments({A: COARSE})
    (again,) = refuse(world, command, Objection.RULES).sent
    world.trader.update_instruments({A: replace(RULES, tick=D(2))})
    assert refuse(world, again, Objection.RULES).sent == []
    assert world.trader.book.positions() == []


@pytest.mark.parametrize("objection", list(Objection))
def test_what_would_be_the_same_again_is_not_sent_again(objection):
    world, command = signalled()
    shell = Shell(world)
    shell.available = D(10_000)
    assert refuse(world, command, objection, shell).sent == []
    assert world.trader.book.positions() == []


def test_an_entry_is_sized_down_to_what_is_available():
    world, command = signalled()
    shell = Shell(world)
    # half of what it would tie up at leverage 5, and the reserve
    shell.available = command.request.qty * D(100) / 5 / 2 + D(200)
    (again,) = refuse(world, command, Objection.FUNDS, shell).sent
    assert command.request.qty * D("0.4") < again.request.qty < command.request.qty * D("0.5")


def test_an_entry_is_given_up_when_too_little_is_available_or_nobody_says_what_is():
    world, command = signalled()
    shell = Shell(world)
    shell.available = D(210)
    assert refuse(world, command, Objection.FUNDS, shell).sent == []
    assert world.trader.counts["gate:margin"] == 1
    world, command = signalled()
    shell = Shell(world)
    shell.available, shell.away = D(1000), True
    assert refuse(world, command, Objection.FUNDS, shell).sent == []
    assert world.trader.counts["taken"] == 1


def test_nobody_waits_long_for_what_is_available():
    world, command = signalled()
    shell = Shell(world)

    async def hangs():
        await asyncio.Event().wait()

    shell.ask_balance = hangs

    async def case(loop):
        world.trader.on_order_ended(OrderEnded(1, command.request.order_id, A, OrderState.REJECTED, "no"))
        await shell.refusals().take_order(OrderRefused(command, Objection.FUNDS, "no"))
        assert loop.time() == ASK_S

    run_virtually(case)
    assert shell.sent == []


def test_above_the_risk_limit_the_next_entry_has_the_leverage_that_is_allowed():
    world, command = signalled()
    assert command.intent.opening.leverage == 5
    world.trader.update_instruments({A: replace(RULES, tiers=(RiskTier(D(10**9), D("0.02"), D(3)),))})
    (again,) = refuse(world, command, Objection.RISK_LIMIT).sent
    assert again.intent.opening.leverage == 3


def test_an_entry_that_is_late_by_now_is_not_sent_again():
    world, command = signalled()
    world.trader.update_instruments({A: COARSE})
    world.trader.situation.market_time += STEP
    assert refuse(world, command, Objection.RULES).sent == []
    assert world.trader.counts["gate:late"] == 1


@pytest.mark.parametrize("objection", [Objection.CLOSED, Objection.MODE])
def test_where_the_exchange_opens_nothing_no_entry_is_made_until_the_rules_are_read(objection):
    world, command = signalled({0: Side.LONG, 2: Side.LONG, 4: Side.LONG})
    refuse(world, command, objection)
    world.bar()
    (refused,) = world.bar()
    assert (refused.gate, refused.detail) == ("exchange_refuses", "no")
    world.trader.update_instruments({A: RULES})
    world.bar()
    (again,) = world.bar()
    assert isinstance(again, PlaceOrder)


def test_a_partial_target_off_the_new_tick_is_rounded_and_one_refused_for_good_stays_away():
    plan = ExitPlan(partial_r=1.55, partial_fraction=0.5)
    world = World({0: Side.LONG}, plan)
    _, (partial,) = world.entered()
    assert partial.request.price == D("103.1")
    assert refuse(world, partial, Objection.RULES).sent == []
    assert refuse(world, partial, Objection.OTHER).sent == []
    world.trader.update_instruments({A: COARSE})
    (again,) = refuse(world, partial, Objection.RULES).sent
    assert again.request.price == D(103)
    assert again.request.order_id != partial.request.order_id


def moved(world) -> MoveStop:
    world.entered()
    (move,) = world.bar(103, high=103.0)
    assert isinstance(move, MoveStop)
    return move


@pytest.mark.parametrize("placed", [Placed.KEPT, Placed.ABSENT, Placed.NAKED, Placed.UNKNOWN])
def test_a_stop_that_is_refused_sells_nothing_by_itself_and_is_told_once(placed):
    world = World({0: Side.LONG}, ExitPlan(trail_start_r=1.0))
    move, shell = moved(world), Shell(world)
    refusals = shell.refusals()

    async def case(_):
        for _ in range(3):
            await refusals.take_stop(StopRefused(move, StopOutcome(placed, move.stop, "no")))

    run_virtually(case)
    assert shell.sent == []
    assert (shell.doubted, shell.nudges) == (([A] * 3, 3) if placed in {Placed.ABSENT, Placed.NAKED} else ([], 0))
    assert len(shell.told) == shell.world.trader.counts["stops_refused"] == (placed in {Placed.KEPT, Placed.NAKED})
    # what was not moved is asked for again by the next bar
    assert world.bar(103, high=103.0) == [msgspec.structs.replace(move, time=move.time + STEP)]


def test_a_stop_that_the_price_has_passed_closes_the_position():
    world = World({0: Side.LONG}, ExitPlan(trail_start_r=1.0))
    move, shell = moved(world), Shell(world)
    run_virtually(lambda _: shell.refusals().take_stop(StopRefused(move, StopOutcome(Placed.CROSSED, move.stop, "no"))))
    (exit_,) = shell.sent
    assert (exit_.request.reduce_only, exit_.intent.cause) == (True, Cause.TRAILING_STOP)
    assert shell.told == []


def report(leverage, *, liquidation="0", qty="47.64"):
    return {A: PositionReport(A, D(qty), D(100), D(98), D(0), D(leverage), D(100), D(0), 0, D(liquidation))}


def look(world, shell, *reports):
    leverages = Leverages(world.trader, shell, lambda kind, what: shell.told.append((kind, what)))

    async def case(_):
        for one in reports:
            await leverages.look(one)

    run_virtually(case)


def test_leverage_changed_by_hand_is_followed_and_told_once_over_restarts_too():
    world = World({0: Side.LONG, 9: Side.LONG})
    entry, _ = world.entered()
    shell, before = Shell(world), world.trader.capital.margin()
    look(world, shell, report("5"), report("0"), {}, report("50"), report("50"))
    assert [type(one) for one in shell.records] == [LeverageChanged]
    (told,) = shell.told
    assert told == ("leverage", Releveraged(A, told[1].digest, D(5), D(50), D("98.0"), D(0)))
    assert world.trader.capital.margin() == before / 10
    assert world.trader.counts["touch:leverage_changed"] == 1
    # after a restart it is known
    world.records += [entry.intent, *shell.records]
    twin = world.fresh()
    replay(twin, iter(sorted(world.records, key=lambda one: not hasattr(one, "opening"))))
    assert twin.book.positions()[0].leverage == 50
    world.trader = twin
    look(world, again := Shell(world), report("50"))
    assert (again.records, again.told) == ([], [])
    look(world, again, report("10"))
    assert [what.before for _, what in again.told] == [D(50)]
    (done,) = world.fill(side=entry.request.side.opposite, qty=str(entry.request.qty), price="102", cause=Cause.MANUAL)
    assert done.trade.leverage == 10


def test_leverage_that_a_list_shows_of_another_quantity_is_believed_the_second_time():
    """Seen: a list that was older than the entry showed what had stood there before it, at its leverage."""
    world = World({0: Side.LONG})
    world.entered()
    shell = Shell(world)
    look(world, shell, report("1", qty="-9"), report("5"), report("1", qty="-9"))
    assert (shell.records, shell.told) == ([], [])
    look(world, shell, report("1", qty="50"), report("1", qty="50"))
    assert [type(one) for one in shell.records] == [LeverageChanged]


@pytest.mark.parametrize(
    ("side", "liquidation", "first"),
    [(Side.LONG, "99", "99"), (Side.LONG, "97", "0"), (Side.SHORT, "101", "101"), (Side.SHORT, "103", "0"),
     (Side.LONG, "0", "0"), (Side.SHORT, "0", "0")],
)  # fmt: skip
def test_liquidation_that_comes_before_the_stop_is_told(side, liquidation, first):
    world = World({0: side})
    world.entered()
    shell = Shell(world)
    look(world, shell, report("50", liquidation=liquidation, qty=str(side.sign * world.trader.book.positions()[0].qty)))
    assert shell.told[0][1].liquidation == D(first)


def test_what_is_not_open_has_no_leverage_to_be_followed():
    world = World({0: Side.LONG})
    world.bar()
    look(world, shell := Shell(world), report("50"))
    assert shell.records == []

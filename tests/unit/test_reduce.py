"""A part of a position is closed by hand: what is sent, what stays, what is refused, the same after a restart."""

from __future__ import annotations

from decimal import Decimal as D
from types import SimpleNamespace

import pytest

from broker.paper import fill_of
from domain.errors import BadData, Unavailable
from domain.exits import ExitPlan
from domain.order import Cause, OrderKind, Side
from domain.portion import Portion
from engine.operations import Operations
from engine.recall import replay
from tests.torture.virtual import run_virtually
from tests.unit.test_operations import Runtime
from tests.unit.test_trader import RULES, World


def opened(on: Side = Side.LONG, **more):
    world = World({0: on}, **more)
    world.entered()
    return world, world.trader.book.positions()[0]


def reduced(world, qty):
    held = world.trader.book.positions()[0]
    (command,) = world.trader.reduce(held, qty, 1)
    world.records.append(command.intent)
    return command


@pytest.mark.parametrize("side", list(Side))
def test_a_part_is_closed_and_the_rest_is_managed_on(side):
    world, held = opened(side)
    whole = held.qty
    command = reduced(world, whole * D("0.3"))
    assert (command.request.kind, command.request.reduce_only, command.request.side) == (
        OrderKind.MARKET,
        True,
        side.exit,
    )
    assert command.request.qty == RULES.floor_qty(whole * D("0.3"))
    assert command.intent.cause is Cause.FORCE_EXIT
    assert world.fill(command, cause=Cause.FORCE_EXIT) == []
    assert (held.qty, held.leaving, held.flat) == (whole - command.request.qty, False, False)
    assert (held.bracket.stop, held.partial_taken) == (held.bracket.first_stop, False)
    # again, under a name of its own; then the stop closes what is left
    second = reduced(world, D("0.05"))
    assert second.request.order_id != command.request.order_id
    world.fill(second, cause=Cause.FORCE_EXIT)
    (done,) = world.fill(side=side.exit, qty=str(held.qty), price="98", cause=Cause.STOP_LOSS)
    assert done.trade.quantity == whole
    assert sum(leg.qty for leg in done.trade.legs if leg.closing) == whole
    assert [leg.cause for leg in done.trade.legs if leg.closing] == ["force_exit", "force_exit", "stop_loss"]
    assert done.trade.exit_reason == "stop_loss"


def test_after_a_restart_the_book_is_the_same_and_no_name_is_used_twice():
    world, held = opened()
    first = reduced(world, D("0.1"))
    world.fill(first, cause=Cause.FORCE_EXIT)
    again = world.fresh()
    replay(again, world.records)
    (found,) = again.book.positions()
    assert (found.qty, found.opened, found.closed) == (held.qty, held.opened, held.closed)
    assert again.resume() == []
    (second,) = again.reduce(found, D("0.1"), 2)
    assert second.request.order_id != first.request.order_id


def test_what_dies_between_intent_and_fill_is_known_and_not_sent_twice():
    world, _held = opened()
    first = reduced(world, D("0.1"))
    again = world.fresh()
    replay(again, world.records)
    (found,) = again.book.positions()
    assert [one.order_id for one in found.unsettled()] == [first.request.order_id]
    with pytest.raises(BadData, match="not known yet"):
        again.reduce(found, D("0.1"), 2)
    assert again.resume() == []


@pytest.mark.parametrize(("qty", "says"), [("0", "takes no order"), ("0.001", "takes no order"), ("0.004", "takes no order"),
                                           ("99999999", "takes no order"), ("ALL", "too little would be left")])  # fmt: skip
def test_a_part_that_the_rules_do_not_have_is_refused(qty, says):
    world, held = opened()
    with pytest.raises(BadData, match=says):
        world.trader.reduce(held, held.qty if qty == "ALL" else D(qty), 1)
    assert len(held.orders) == 1


def test_what_is_not_open_whole_or_is_being_closed_is_not_reduced():
    world = World({0: Side.LONG})
    (entry,) = world.bar()
    held = world.trader.book.positions()[0]
    with pytest.raises(BadData, match="entry has not ended"):
        world.trader.reduce(held, D("0.1"), 1)
    world.fill(entry, qty=str(entry.request.qty / 2), cause=Cause.ENTRY)
    with pytest.raises(BadData, match="entry has not ended"):
        world.trader.reduce(held, D("0.1"), 1)
    world.fill(entry, qty=str(entry.request.qty / 2), cause=Cause.ENTRY)
    reduced(world, D("0.1"))
    with pytest.raises(BadData, match="not known yet"):
        world.trader.reduce(held, D("0.1"), 1)
    # all of it goes out all the same
    (out,) = world.trader.leave(held, 1)
    assert out.request.reduce_only
    with pytest.raises(BadData, match="closed already"):
        world.trader.reduce(held, D("0.1"), 1)


def test_a_partial_target_larger_than_what_is_left_closes_that():
    plan = ExitPlan(partial_r=D(1), partial_fraction=0.5)
    world = World({0: Side.LONG}, exits=plan)
    (entry,) = world.bar()
    (target,) = world.fill(entry, cause=Cause.ENTRY)
    held = world.trader.book.positions()[0]
    command = reduced(world, held.qty * D("0.8"))
    world.fill(command, cause=Cause.FORCE_EXIT)
    assert held.qty < target.request.qty
    done = world.fill(target, qty=str(held.qty), price="102", cause=Cause.PARTIAL)
    assert [one.trade.quantity for one in done if hasattr(one, "trade")] == [entry.request.qty]


def answer(work):
    async def run(_):
        return await work

    return run_virtually(run)


def test_the_operator_is_told_what_became_of_each():
    world, held = opened()
    runtime = Runtime(recovered=True)
    operations = Operations(runtime, world.trader)

    async def dispatch(commands):
        for command in commands:
            world.records.append(command.intent)
            world.fill(command, cause=Cause.FORCE_EXIT)

    runtime.dispatch = dispatch
    before = held.qty
    (told,) = answer(operations.reduce("A", Portion.parse("50%"), "test"))
    assert (told.outcome, told.left) == ("reduced", str(held.qty))
    assert held.qty == before - RULES.floor_qty(before / 2)
    (told,) = answer(operations.reduce("all", Portion(qty=D("0.0001")), "test"))
    assert (told.outcome, "takes no order" in told.reason) == ("unchanged", True)
    assert answer(operations.reduce("NOPE", Portion(D(5)), "test")) == []


def test_an_order_that_has_not_filled_is_said_and_a_start_is_waited_for():
    world, held = opened()
    runtime = Runtime(recovered=True)
    (told,) = answer(Operations(runtime, world.trader).reduce("A", Portion(D(50)), "test"))
    assert (told.outcome, told.left, told.attempts) == ("closing", str(held.qty), 1)
    with pytest.raises(Unavailable, match="nothing was done"):
        answer(Operations(Runtime(recovered=False), world.trader).reduce("A", Portion(D(50)), "test"))


@pytest.mark.parametrize(("text", "percent"), [("50%", "50"), ("0.5%", "0.5"), ("99.99%", "99.99")])
def test_a_part_is_a_percentage(text, percent):
    assert Portion.parse(text) == Portion(D(percent))
    assert Portion.parse(text).of(D(200)) == 2 * D(percent)


def test_all_of_it_is_no_part():
    assert Portion.parse("100%") is None
    assert Portion(qty=D(3)).of(D(200)) == 3


@pytest.mark.parametrize("text", ["", "50", "0%", "101%", "-5%", "1e1%", "\u0665%", "nan%", "%", "50%%", "5,5%"])
def test_what_is_no_percentage_says_what_one_looks_like(text):
    with pytest.raises(BadData, match="such as 50%"):
        Portion.parse(text)


def test_paper_trading_tells_why_a_part_was_closed():
    event = SimpleNamespace(
        link_id="P1-ABCDEFGHIJKLMNOPQRSTUVWX-r0", stop_type="", kind="Trade", time=1, id="x", order_id="v", symbol="A/USDT:USDT",
        side=Side.LONG.exit, qty=D(1), price=D(1), fee=D(0), closed=D(1), maker=False, order_qty=D(1),
    )  # fmt: skip
    assert fill_of(event).cause is Cause.FORCE_EXIT

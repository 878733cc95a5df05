"""Positions in contracts that are delisted soon: told once, closed when the settings say so."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal as D
from types import SimpleNamespace

import pytest

from domain.notice import Notice
from domain.order import Cause, Side
from engine import admission
from engine.commands import PlaceOrder, Refused
from engine.delivery import Deliveries, DeliveryTerms, Nearing
from engine.parts import Progress
from engine.reports import Reporter
from engine.rules import Rules
from engine.trader import TraderTerms
from engine.upkeep import Upkeep
from telegram_bot.news import News
from tests.unit.test_trader import RULES, A, World

HOUR = 3_600_000
DELIVERY = 100 * HOUR


def held_position(at: int = DELIVERY) -> World:
    world = World({0: Side.LONG})
    world.entered()
    world.trader.update_instruments({A: replace(RULES, delivery_time=at)})
    return world


def test_nothing_is_said_or_done_before_the_time_nor_where_none_is_announced():
    assert Deliveries(DeliveryTerms(before_ms=12 * HOUR)).look(held_position().trader, 88 * HOUR - 1) == ([], [])
    assert Deliveries(DeliveryTerms()).look(held_position(0).trader, 200 * HOUR) == ([], [])


@pytest.mark.parametrize("close", [True, False])
def test_a_position_is_told_once_and_closed_when_asked(close):
    world = held_position()
    deliveries = Deliveries(DeliveryTerms(close, 12 * HOUR))
    news, commands = deliveries.look(world.trader, 88 * HOUR)
    (held,) = world.trader.book.positions()
    assert news == [Nearing(A, held.digest, DELIVERY, close)]
    if not close:
        assert commands == []
    else:
        (exit_order,) = commands
        assert isinstance(exit_order, PlaceOrder)
        assert (exit_order.request.reduce_only, exit_order.request.qty) == (True, held.qty)
        assert exit_order.intent.cause is Cause.FORCE_EXIT
    # the exit is under way, and the news is out: looking again changes nothing
    assert deliveries.look(world.trader, 89 * HOUR) == ([], [])
    world.trader.update_instruments({A: replace(RULES, delivery_time=DELIVERY + 1)})
    assert [one.time for one in deliveries.look(world.trader, 90 * HOUR)[0]] == [DELIVERY + 1]


def test_what_is_closed_is_forgotten():
    world = held_position()
    deliveries = Deliveries(DeliveryTerms(True, 12 * HOUR))
    _, (exit_order,) = deliveries.look(world.trader, 99 * HOUR)
    world.fill(exit_order, price="100", cause=Cause.FORCE_EXIT)
    assert deliveries.look(world.trader, 99 * HOUR) == ([], [])
    assert world.trader.book.positions() == []


async def test_the_running_bot_tells_of_it_and_sends_the_exit():
    world, told, done = held_position(), [], []
    parts = SimpleNamespace(
        trader=world.trader, told=lambda kind, what: told.append((kind, what.symbol)),
        delivery=DeliveryTerms(True, 12 * HOUR),
    )  # fmt: skip

    async def dispatch(commands):
        done.extend(commands)

    shell = SimpleNamespace(market_time=lambda: 95 * HOUR, dispatch=dispatch)
    upkeep = Upkeep(parts, Progress(), Rules(world.trader, None), set(), shell)
    await upkeep.look_at_deliveries()
    await upkeep.look_at_deliveries()
    assert told == [("delivery", A)]
    assert [one.request.reduce_only for one in done] == [True]


def test_it_is_told_in_words(capfd):
    put = []
    News(lambda kind, text, _: put.append((kind, text)), lambda: "LIVE").told(
        "delivery", Nearing(A, "d" * 24, DELIVERY, True)
    )
    assert put == [
        (
            Notice.DELISTING,
            "⏳ <b>LIVE</b> <b>A/USDT:USDT</b> is delisted at 01-05 04:00 UTC: its position is being closed.",
        )
    ]
    Reporter().told("delivery", Nearing(A, "d" * 24, DELIVERY, False))
    assert "delisted soon" in capfd.readouterr().out


def test_an_entry_after_the_announcement_is_refused_by_its_gate():
    world = World({1: Side.LONG, 3: Side.LONG})
    world.terms = replace(world.terms, admission=lambda rules: admission.refusal(rules, ("innovation",)))
    world.trader = world.fresh()
    assert isinstance(world.terms, TraderTerms)
    world.bar()
    world.trader.update_instruments({A: replace(RULES, delivery_time=DELIVERY)})
    (refused,) = world.bar()
    assert isinstance(refused, Refused)
    assert (refused.gate, refused.detail) == ("delisting", "it is delisted at 1970-01-05 04:00 UTC")
    world.trader.update_instruments({A: RULES})
    world.bar()
    (taken,) = world.bar()
    assert isinstance(taken, PlaceOrder)
    assert taken.request.qty > D(0)

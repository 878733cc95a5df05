"""Trading rules: read again when a refusal contradicts them, once for everybody who asks."""

import asyncio
from dataclasses import replace
from decimal import Decimal as D

import pytest

from domain.errors import Objection, Rejected, Unavailable
from domain.order import Side
from engine.rules import AGAIN_S, READ_S, Rules
from tests.torture.virtual import run_virtually
from tests.unit.test_trader import RULES, A, World

COARSE = replace(RULES, tick=D(1))


class Exchange:
    def __init__(self, rules):
        self.rules, self.asked, self.away = rules, 0, False

    async def instruments(self):
        self.asked += 1
        await asyncio.sleep(0.1)
        if self.away:
            raise Unavailable("away")
        return {A: self.rules}


def refused(objection=Objection.RULES):
    return Rejected("price invalid", 10001, objection)


def test_many_refusals_at_once_lead_to_one_reading():
    world, exchange = World(), Exchange(COARSE)

    async def case(_):
        rules = Rules(world.trader, exchange)
        await asyncio.gather(*(rules.contradicted(A, refused()) for _ in range(10)))
        assert exchange.asked == 1
        assert world.trader.rules(A).tick == D(1)
        assert rules.get(A).tick == D(1)
        await rules.contradicted(A, refused())
        assert exchange.asked == 1
        await asyncio.sleep(AGAIN_S)
        await rules.contradicted(A, refused())
        assert exchange.asked == rules.rereads == 2

    run_virtually(case)


@pytest.mark.parametrize(
    "objection", sorted(set(Objection) - {Objection.RULES, Objection.RISK_LIMIT, Objection.CLOSED})
)
def test_what_other_rules_would_not_explain_leads_to_none(objection):
    exchange = Exchange(COARSE)
    run_virtually(lambda _: Rules(World().trader, exchange).contradicted(A, refused(objection)))
    assert exchange.asked == 0


def test_rules_that_cannot_be_read_stay_as_they_were():
    world, exchange = World(), Exchange(COARSE)
    exchange.away = True

    async def case(_):
        rules = Rules(world.trader, exchange)
        await rules.contradicted(A, refused())
        assert world.trader.rules(A) == RULES
        # and are asked for at the next contradiction: nothing was learned
        exchange.away = False
        await rules.contradicted(A, refused())
        assert world.trader.rules(A) == COARSE
        with pytest.raises(Unavailable):
            exchange.away = True
            await rules.read()

    run_virtually(case)


def test_rules_that_nobody_tells_hold_nobody_up():
    exchange = Exchange(COARSE)

    async def hangs():
        exchange.asked += 1
        await asyncio.Event().wait()

    exchange.instruments = hangs

    async def case(loop):
        rules = Rules(World().trader, exchange)
        await asyncio.gather(*(rules.contradicted(A, refused()) for _ in range(4)))
        assert loop.time() == READ_S
        assert rules.rereads == 0

    run_virtually(case)


def test_a_change_is_logged_where_something_is_held_and_where_it_was_met(capsys):
    world = World({0: Side.LONG})
    world.entered()
    run_virtually(lambda _: Rules(world.trader, Exchange(replace(RULES, max_qty=D(9)))).read())
    assert "max_qty='100000 -> 9'" in capsys.readouterr().out
    run_virtually(lambda _: Rules(World().trader, Exchange(COARSE)).read())
    assert "changed" not in capsys.readouterr().out
    run_virtually(lambda _: Rules(World().trader, Exchange(COARSE)).contradicted(A, refused()))
    assert "tick='0.1 -> 1'" in capsys.readouterr().out

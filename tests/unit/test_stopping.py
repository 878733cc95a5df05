"""What the last moments of a life leave to the next one."""

from __future__ import annotations

import random

from engine.commands import RecordTrade
from engine.tasks import Tasks
from tests.desk import trade
from tests.torture.episodes import SYMBOLS, Life, Market, rules
from tests.torture.venue import Venue
from tests.torture.virtual import run_virtually


def test_a_trade_that_is_over_after_the_last_look_is_recorded_by_the_next_start(tmp_path):
    """The journal has its executions; written down in this moment it would be in the journal alone."""

    async def live(_):
        draw = random.Random(1)
        venue = Venue(draw, {symbol: rules(symbol) for symbol in SYMBOLS}, trouble=0.0)
        market = Market(draw, venue)
        life = Life(tmp_path, venue, market, {})
        async with Tasks() as tasks:
            await life.runtime.recover_with_patience()
            life.runtime.start(tasks)
            before, late = trade(1), trade(2)
            await life.runtime.dispatch([RecordTrade(before)])
            await life.runtime.stop(3.0)
            await life.runtime.dispatch([RecordTrade(late)])
            await life.runtime.settle(1.0)
        assert list(life.trades.held) == [before.trade_id]
        life.journal.close()

    run_virtually(live)

"""What is asked of the exchange regularly: the balance, the trading rules, and what is about to be delisted."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import structlog

from domain.durations import DAY_MS
from domain.errors import Rejected, RevenantError, Unavailable
from engine.delivery import Deliveries
from engine.equity import EquityDoubt

if TYPE_CHECKING:
    from collections.abc import Collection

    from engine.parts import Parts, Progress
    from engine.rules import Rules
    from engine.shell import Shell

log = structlog.get_logger(__name__)

BALANCE_S = 5.0
RULES_S = 3_600.0


class Upkeep:
    """Keeps what the trader knows of account and contracts up to date; ``in_flight`` are orders on their way."""

    def __init__(
        self, parts: Parts, progress: Progress, rules: Rules, in_flight: Collection[str], shell: Shell
    ) -> None:
        self._p, self._progress, self._rules, self._in_flight, self._shell = parts, progress, rules, in_flight, shell
        self._deliveries = Deliveries(parts.delivery)
        limits = parts.trader.adjustments
        self._doubt = EquityDoubt(lambda: limits.limits, time.monotonic)

    async def watch_balance(self) -> None:
        """Ask for the balance every few seconds, until cancelled."""
        while True:
            # an exchange that does not answer is asked a little less often
            await asyncio.sleep(BALANCE_S * 1.25 if self._progress.broker_error else BALANCE_S)
            with contextlib.suppress(Unavailable, Rejected):
                await self.ask_balance()

    async def ask_balance(self) -> None:
        """Ask for equity and what is available. Raises Unavailable or Rejected when the exchange does not tell."""
        seen = self._p.trader.situation
        # what is on its way may or may not be in the answer: it is taken not to be
        counted = self._p.trader.capital.margin(without=self._in_flight)
        try:
            balance = await self._p.broker.balance()
        except RevenantError as error:
            self._progress.broker_error = str(error)
            raise
        self._progress.broker_error = ""
        # the first is measured by what the last life knew, which also goes on being known while it is doubted
        seen.equity = seen.equity or seen.remembered
        seen.equity_doubt = self._doubt.weigh(balance.equity, seen.equity)
        if not seen.equity_doubt:
            seen.equity, seen.available, seen.counted = balance.equity, balance.available, counted
            seen.counted_pnl = (seen.market_time // DAY_MS, self._p.trader.day_pnl())

    async def watch_rules(self) -> None:
        """Ask for the trading rules every hour, until cancelled, and act before contracts are delisted."""
        while True:
            await self.look_at_deliveries()
            await asyncio.sleep(RULES_S)
            try:
                await self._rules.read()
            except (Unavailable, Rejected) as error:
                log.warning("trading rules not refreshed", reason=str(error))

    async def look_at_deliveries(self) -> None:
        """Tell of positions whose contract is delisted soon, and close them where the settings say so."""
        news, commands = self._deliveries.look(self._p.trader, self._shell.market_time())
        for one in news:
            self._p.told("delivery", one)
        await self._shell.dispatch(commands)

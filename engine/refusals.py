"""What follows from orders and stops that the exchange refuses, and from leverage that it shows."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import structlog

from domain.errors import Objection, Rejected, Unavailable
from domain.order import Cause
from engine.commands import MoveStop, PlaceOrder
from engine.stops import Placed, StopOutcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from engine.reconciliation import Reconciler
    from engine.shell import Shell
    from engine.trader import Trader

log = structlog.get_logger(__name__)

ASK_S = 2.0
"""How long an entry that was refused waits for what is available: bars and executions wait behind it."""

RESHAPED = frozenset({Objection.RULES, Objection.FUNDS, Objection.RISK_LIMIT})
"""What an entry of another shape may get round: it is sized anew by what is known now, once."""

SHUT = frozenset({Objection.MODE, Objection.CLOSED})
"""What the next entry in the same symbol would meet as well."""


class OrderRefused(msgspec.Struct, frozen=True):
    """An order that the exchange has refused, and what it objects to."""

    command: PlaceOrder
    objection: Objection
    reason: str


class StopRefused(msgspec.Struct, frozen=True):
    """A stop that was to be moved and was not."""

    command: MoveStop
    outcome: StopOutcome


class Refusals:
    """Draws conclusions; ``ask_balance`` asks the exchange what is available, ``told`` takes what people want to know.

    A stop that is refused again and again is told once for each position.
    """

    def __init__(
        self, trader: Trader, shell: Shell, reconciler: Reconciler, ask_balance: Callable[[], Awaitable[None]],
        told: Callable[[str, object], None] = lambda _kind, _what: None,
    ) -> None:  # fmt: skip
        self._trader, self._shell, self._reconciler, self._ask_balance = trader, shell, reconciler, ask_balance
        self._told = told
        self._stops_told: set[str] = set()

    async def take_order(self, refused: OrderRefused) -> None:
        """Send an entry or partial target again in a shape that can be taken, or make no entry until rules are read.

        Exits are not sent from here: what they leave open is closed again in its own time, by the rules as they are.
        """
        symbol, entry = refused.command.request.symbol, refused.command.intent.cause is Cause.ENTRY
        if entry and refused.objection in SHUT:
            self._trader.situation.refusing[symbol] = refused.reason
            log.error("no entries in a symbol until the rules are read again", symbol=symbol, reason=refused.reason)
        if refused.objection not in RESHAPED:
            return
        if entry and refused.objection is Objection.FUNDS:
            try:
                async with asyncio.timeout(ASK_S):
                    await self._ask_balance()
            except (TimeoutError, Unavailable, Rejected) as error:
                log.warning("entry given up: nobody tells what is available", symbol=symbol,
                            reason=str(error) or "no answer in time")  # fmt: skip
                return
        commands = self._trader.reconsider(refused.command)
        if commands:
            log.warning("order sent again in another shape", symbol=symbol, objection=refused.objection.value)
        await self._shell.dispatch(commands)

    async def take_stop(self, refused: StopRefused) -> None:
        """Close what the price has passed; have looked at what may be without a stop; otherwise the old one stands."""
        command, outcome = refused.command, refused.outcome
        log.warning("stop not moved", symbol=command.symbol, stop=str(outcome.stop), outcome=outcome.placed.value,
                    reason=outcome.reason)  # fmt: skip
        if outcome.placed is Placed.CROSSED:
            await self._shell.dispatch(self._trader.on_stop_refused(command.digest, command.cause, command.time))
        elif outcome.placed in {Placed.ABSENT, Placed.NAKED}:
            self._reconciler.doubt(command.symbol)
            self._shell.nudge()
        if outcome.placed in {Placed.KEPT, Placed.NAKED} and command.digest not in self._stops_told:
            self._trader.counts["stops_refused"] += 1
            self._told("stop refused", refused)
            self._stops_told &= {held.digest for held in self._trader.book.positions()}
            self._stops_told.add(command.digest)

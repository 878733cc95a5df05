"""What an operator can have done while the bot runs, from a terminal, a page or a message alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from domain import ids
from domain.errors import BadData
from domain.records import SwitchState
from domain.symbols import Symbols

if TYPE_CHECKING:
    from domain.records import Adjusted
    from engine.commands import Command
    from engine.positions import Position
    from engine.runtime import Runtime
    from engine.trader import Trader

log = structlog.get_logger(__name__)

ID_LEAST = 6
"""Characters that the beginning of an id must have to be taken for it."""


class Operations:
    """The operator's hands on one running bot."""

    def __init__(self, runtime: Runtime, trader: Trader) -> None:
        self._runtime, self._trader = runtime, trader

    async def switch(self, state: SwitchState, reason: str) -> None:
        """Let new entries in, or stop them; the choice survives a restart."""
        await self._runtime.dispatch(self._trader.switch(state, reason))
        log.warning("switch", state=state.value, reason=reason)

    async def force_exit(self, what: str, reason: str) -> list[str]:
        """Close a position at the market, named by symbol or id (or its beginning), or ``all``; return the symbols."""
        commands: list[Command] = []
        chosen = []
        for held in self._trader.book.positions():
            if _called(held, what) and not held.flat:
                chosen.append(held.symbol)
                commands += self._trader.leave(held, self._runtime.market_time())
        log.warning("force exit", what=what, symbols=chosen, reason=reason)
        await self._runtime.dispatch(commands)
        return chosen

    async def panic(self, reason: str, *, foreign: bool = False) -> list[str]:
        """Stop trading and close everything; return the symbols that are being closed."""
        await self.switch(SwitchState.STOPPED, f"panic: {reason}")
        closing = await self.force_exit("all", f"panic: {reason}")
        return closing + (await self._runtime.reconciler.flatten_foreign() if foreign else [])

    async def adjust(self, made: Adjusted, reason: str) -> None:
        """Change the limits; the change survives a restart."""
        await self._runtime.dispatch(self._trader.adjust(made))
        log.warning("limits changed", risk_percent=str(made.risk_percent or "as configured"),
                    banned=list(made.banned), unlocked=made.unlocked, reason=reason)  # fmt: skip

    async def train(self, strategy: str) -> dict[str, Any]:
        """Train a strategy's model now; return how it stands afterwards.

        Raises:
            BadData: when there is no such strategy.
            Unavailable: when it could not be tried.
        """
        learning = self._runtime.learning
        if strategy not in learning.strategies:
            raise BadData(f"no strategy {strategy!r} is enabled; there are {', '.join(learning.strategies)}")
        await learning.train(strategy)
        return learning.get_retrain_info(strategy)

    async def reconcile_now(self) -> dict[str, Any]:
        """Compare with the exchange at once; return what was found.

        Raises:
            Unavailable: when the exchange does not answer.
        """
        await self._runtime.catch_up()
        await self._runtime.reconciler.compare()
        return self._runtime.report()


def _called(held: Position, what: str) -> bool:
    name = ids.trade_id(held.digest)
    begins = len(what) >= ID_LEAST and (held.digest.startswith(what.upper()) or name.startswith(what.lower()))
    return begins or what == "all" or Symbols([held.symbol]).one(what) is not None

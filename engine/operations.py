"""What an operator can have done while the bot runs, from a terminal, a page or a message alike."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import structlog

from domain import ids
from domain.errors import BadData, Unavailable
from domain.records import SwitchState
from domain.symbols import Symbols

if TYPE_CHECKING:
    from collections.abc import Callable

    from domain.portion import Portion
    from domain.records import Adjusted
    from engine.commands import Command
    from engine.position import Position
    from engine.runtime import Runtime
    from engine.trader import Trader

log = structlog.get_logger(__name__)

ID_LEAST = 6
"""Characters that the beginning of an id must have to be taken for it."""

OUTCOME_S, LOOK_S = 5.0, 0.05
"""How long an exit is waited for before it is answered for, and how often it is looked at."""


START_S = 20.0
"""How long a start may take to find out what is open, until it is answered that it is closed afterwards."""


class ExitOutcome(msgspec.Struct, frozen=True):
    """What became of a position that was to be closed, a few seconds later.

    Attributes:
        outcome: ``closed``; ``withdrawn`` (an entry that had not filled, and was cancelled); ``reduced`` or
            ``unchanged`` where a part was to be closed; ``closing``: not over yet.
        left: quantity still open.
        attempts: exits sent so far.
        reason: why it is not over, or why the last exit came to nothing; empty when it is over.
    """

    symbol: str
    outcome: Literal["closed", "withdrawn", "reduced", "unchanged", "closing"]
    left: str = "0"
    attempts: int = 0
    reason: str = ""


class Operations:
    """The operator's hands on one running bot."""

    def __init__(self, runtime: Runtime, trader: Trader) -> None:
        self._runtime, self._trader = runtime, trader
        self._waiting: list[tuple[str, str]] = []

    async def switch(self, state: SwitchState, reason: str) -> None:
        """Let new entries in, also beside another instance that was noticed, or stop them; it survives a restart."""
        if state is SwitchState.RUNNING:
            self._runtime.second.excuse()
        await self._runtime.dispatch(self._trader.switch(state, reason))
        log.warning("switch", state=state.value, reason=reason)

    async def force_exit(self, what: str, reason: str) -> list[ExitOutcome]:
        """Close a position at the market, named by symbol or id (or its beginning), or ``all``; return what happened.

        The answer waits some seconds for the exits; what is still open then goes on being closed. Raises Unavailable
        when a start takes so long to find out what is open: it is closed once that is known.
        """
        await self._started(what, reason)
        chosen, pending = await self._leave(what, reason)
        await _wait_until(lambda: not any(self._open(held) for held in chosen))
        return [self._outcome(held, pending=held.digest in pending) for held in chosen]

    async def reduce(self, what: str, portion: Portion, reason: str) -> list[ExitOutcome]:
        """Close a part of a position at the market, or of each that is meant; return what happened, as above.

        Raises Unavailable while a start has not found out what is open.
        """
        if not self._runtime.progress.recovered:
            raise Unavailable("nothing was done: the start has not found out yet what is open; ask again in a moment")
        commands: list[Command] = []
        refused: dict[str, str] = {}
        chosen = _called([held for held in self._trader.book.positions() if not held.flat], what)
        for held in chosen:
            try:
                commands += self._trader.reduce(held, portion.of(held.qty), self._runtime.market_time())
            except BadData as error:
                refused[held.digest] = str(error)
        log.warning("reduce", what=what, symbols=[held.symbol for held in chosen], refused=refused, reason=reason)
        await self._runtime.dispatch(commands)
        sent = [held for held in chosen if held.digest not in refused]
        await _wait_until(lambda: all(one.settled for held in sent for one in held.reductions))
        return [self._reduced(held, refused.get(held.digest, "")) for held in chosen]

    def _reduced(self, held: Position, refused: str) -> ExitOutcome:
        if refused:
            return ExitOutcome(held.symbol, "unchanged", str(held.qty), reason=refused)
        if not self._open(held):
            return ExitOutcome(held.symbol, "closed")
        order = held.reductions[-1]
        if not order.settled:
            return ExitOutcome(held.symbol, "closing", str(held.qty), 1, self._reason(held))
        if not order.filled:
            state = order.state.value if order.state else ""
            return ExitOutcome(held.symbol, "unchanged", str(held.qty), 1, f"its order came to nothing: {state}")
        return ExitOutcome(held.symbol, "reduced", str(held.qty), 1)

    async def resume(self) -> None:
        """Close what was to be closed before a start knew of it."""
        for what, reason in self._waiting:
            await self._leave(what, reason)
        self._waiting.clear()

    async def _started(self, what: str, reason: str) -> None:
        """Wait until it is known what is open: before that nothing would be closed, and nobody told."""
        if self._runtime.progress.recovered:
            return
        self._waiting.append((what, reason))
        log.warning("force exit once the start knows what is open", what=what, reason=reason)
        try:
            async with asyncio.timeout(START_S):
                while not self._runtime.progress.recovered:
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise Unavailable(
                "the start has not found out yet what is open: it is closed as soon as that is known (manage.py status)"
            ) from None

    async def _leave(self, what: str, reason: str) -> tuple[list[Position], set[str]]:
        commands: list[Command] = []
        chosen = _called([held for held in self._trader.book.positions() if not held.flat], what)
        pending = {held.digest for held in chosen if held.pending}
        for held in chosen:
            commands += self._trader.leave(held, self._runtime.market_time())
        log.warning("force exit", what=what, symbols=[held.symbol for held in chosen], reason=reason)
        await self._runtime.dispatch(commands)
        return chosen, pending

    def _open(self, held: Position) -> bool:
        # one that is flat is over, though its record may still wait for the last facts
        return self._trader.book.find(held.digest) is held and not (held.flat and held.entry_ended)

    def _outcome(self, held: Position, *, pending: bool) -> ExitOutcome:
        if not self._open(held):
            return ExitOutcome(held.symbol, "withdrawn" if pending and held.pending else "closed")
        return ExitOutcome(held.symbol, "closing", str(held.qty), held.exit_attempts, self._reason(held))

    def _reason(self, held: Position) -> str:
        """Return why a position is still open, in words."""
        told = self._runtime.exits.reason(held.digest) or self._trader.situation.barred
        if told:
            return told
        if self._runtime.orders.in_flight & held.orders.keys():
            away = self._runtime.progress.broker_error
            return f"the exchange has not said what became of its order{f' ({away})' if away else ''}: asked again"
        return "its order has not filled whole yet"

    async def panic(self, reason: str, *, foreign: bool = False) -> list[ExitOutcome]:
        """Stop trading and close everything, with ``foreign`` what is not ours too; return what became of each."""
        await self.switch(SwitchState.STOPPED, f"panic: {reason}")
        others: set[str] = set()
        if foreign:
            # by the comparison: it alone knows what is ours when a start does not know yet
            self._runtime.reconciler.flattening.order()
            others |= set(self._runtime.reconciler.found.foreign)
        own = await self.force_exit("all", f"panic: {reason}")
        return own + await self._foreign_outcomes(others) if foreign else own

    async def _foreign_outcomes(self, known: set[str]) -> list[ExitOutcome]:
        flattening = self._runtime.reconciler.flattening
        await _wait_until(lambda: flattening.ended)
        left = set(flattening.symbols)
        return [ExitOutcome(one, "closing" if one in left else "closed") for one in sorted(known | left)]

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

    async def reconcile_now(self, since: int | None = None) -> dict[str, Any]:
        """Compare with the exchange at once; return what was found.

        With ``since``, a market time (UTC ms), what happened since then is asked for anew, what no record tells of is
        recorded, and a position that cannot be explained is settled as the exchange reports it.

        Raises:
            Unavailable: when the exchange does not answer.
        """
        await self._runtime.catch_up()
        settled = await self._runtime.rebuild(since) if since is not None else []
        await self._runtime.reconciler.compare()
        await self._runtime.catch_up()
        return {**self._runtime.report(), "settled": settled}


async def _wait_until(over: Callable[[], bool]) -> None:
    """Wait some seconds at most until something is over."""
    try:
        async with asyncio.timeout(OUTCOME_S):
            while not over():
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        pass


def _called(positions: list[Position], what: str) -> list[Position]:
    """Return the positions that are meant by ``all``, a symbol, a pattern of symbols, or the beginning of an id."""
    if what == "all":
        return positions
    symbols = set(Symbols(held.symbol for held in positions).matches(what))
    return [held for held in positions if held.symbol in symbols or _begins(held, what)]


def _begins(held: Position, what: str) -> bool:
    name = ids.trade_id(held.digest)
    return len(what) >= ID_LEAST and (held.digest.startswith(what.upper()) or name.startswith(what.lower()))

"""Sees to it that every position of ours has its stop on the exchange."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from typing import TYPE_CHECKING

import structlog

from domain.errors import Unavailable
from domain.order import Cause, Side
from domain.records import StopMoved
from engine.hands import Hands
from engine.stops import Placed, StopOutcome

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from domain.order import PositionReport
    from engine.differences import Differences
    from engine.position import Position
    from engine.shell import Shell
    from engine.stops import Stops
    from engine.trader import Trader

log = structlog.get_logger(__name__)

UNGUARDED_S = 10.0
"""How long a stop that is refused, though the price has not passed it, is asked for before its position is closed."""

SET_ATTEMPTS = 4
SET_PAUSE_S = (0.1, 0.3)
"""How often, and after which pause, a stop that got no answer is asked for: the same one again does no harm."""

LIST_LATE_S = 2.0
"""A list that shows no stop so shortly after one was set may be older than that: no hand has taken it."""

STREAM_LATE_S = 5.0
"""The private stream, where much is told at once, may be older than a list."""


class Guard:
    """Compares the stops that are reported with those that should be there; what it finds goes to ``found``."""

    def __init__(self, trader: Trader, shell: Shell, stops: Stops, found: Differences) -> None:
        self._trader, self._shell, self._stops, self._found = trader, shell, stops, found
        self._seen: dict[str, float] = {}
        self._set_at: dict[str, float] = {}
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._jitter = random.Random()  # noqa: S311  spreads repeats, guards nothing
        self.hands = Hands(shell.touched, self._set_levels)

    def opened(self, symbol: str) -> None:
        """Take note that a position has just opened: from now on it is naked until its stop has been seen."""
        self._found.naked.setdefault(symbol, asyncio.get_running_loop().time())

    def saw(self, held: Position) -> None:
        """Take note that the stop of a position stands at this moment."""
        self._seen[held.digest] = asyncio.get_running_loop().time()

    def stood(self, held: Position) -> bool:
        """Return whether the stop of a position has been seen, and what says otherwise is no older than its setting."""
        set_at = self._set_at.get(held.digest, float("-inf"))
        return held.digest in self._seen and asyncio.get_running_loop().time() - set_at >= STREAM_LATE_S

    async def look(self, held: Mapping[str, Position], reported: Mapping[str, PositionReport]) -> None:
        """Compare open positions with what is reported of them, by symbol, and set what is missing or too loose."""
        found = self._found
        found.mismatched = []
        for symbol, position in held.items():
            there = reported.get(symbol)
            if there is None:
                continue
            if self._trader.book.find(position.digest) is not position:
                # it was closed meanwhile, and what is there now may be another
                continue
            own = position.opening.side.sign * position.qty
            if there.qty != own:
                found.mismatched.append(symbol)
            if there.qty * own < 0:
                # what is there is another position: no stop of ours belongs to it
                continue
            await self.hands.look(position, there, self._shell.market_time())
            await (self._keep(position, there) if there.stop else self.restore(position, there))
        for symbol in set(found.naked) - set(held):
            found.naked_s.append(asyncio.get_running_loop().time() - found.naked.pop(symbol))
        digests = {position.digest for position in held.values()}
        self._seen = {digest: seen for digest, seen in self._seen.items() if digest in digests}
        self._set_at = {digest: at for digest, at in self._set_at.items() if digest in digests}
        self.hands.forget(digests)

    async def set_stop(self, there: PositionReport, stop: Decimal, target: Decimal | None) -> StopOutcome:
        """Set stop and target of a position that is reported; return what became of the stop."""
        side = Side.LONG if there.qty > 0 else Side.SHORT
        outcome = await self._stops.set(there.symbol, side, stop, target, there=there, index=there.index)
        if outcome.placed is not Placed.SET:
            log.warning("stop not set", symbol=there.symbol, stop=str(stop), outcome=outcome.placed.value,
                        reason=outcome.reason)  # fmt: skip
        return outcome

    async def _set_levels(self, there: PositionReport, stop: Decimal, target: Decimal | None) -> bool:
        return (await self.set_stop(there, stop, target)).placed is Placed.SET

    async def _set_own(self, position: Position, there: PositionReport) -> Placed:
        """Set the stop that a position of ours should have; where the rules want another price, the book follows."""
        outcome = await self._set_surely(position, there)
        if outcome.placed is Placed.SET:
            self._set_at[position.digest] = asyncio.get_running_loop().time()
            self.saw(position)
        if outcome.placed is Placed.SET and outcome.stop != position.bracket.stop:
            moved = StopMoved(
                time=self._shell.market_time(), digest=position.digest, symbol=position.symbol, stop=outcome.stop,
                cause=position.bracket.stop_cause,
            )  # fmt: skip
            await self._shell.append(moved)
            self._trader.on_stop_moved(moved)
        return outcome.placed

    async def _set_surely(self, position: Position, there: PositionReport) -> StopOutcome:
        """Ask for a stop until there is an answer, a few times within a second or so."""
        outcome = StopOutcome(Placed.UNKNOWN, position.bracket.stop)
        for attempt in range(SET_ATTEMPTS):
            if attempt:
                await asyncio.sleep(self._jitter.uniform(*SET_PAUSE_S))
            if self._trader.book.find(position.digest) is not position or position.flat:
                break
            try:
                outcome = await self.set_stop(there, position.bracket.stop, position.bracket.target or None)
            except Unavailable as error:
                log.warning("stop not set", symbol=there.symbol, stop=str(position.bracket.stop), reason=str(error))
                continue
            if outcome.placed is not Placed.UNKNOWN:
                break
        return outcome

    async def _keep(self, position: Position, there: PositionReport) -> None:
        """Take note of a stop that stands, and tighten one that is looser than it should be."""
        self.saw(position)
        # a stop that came with the entry was there from the first moment on
        since = self._found.naked.pop(position.symbol, None)
        self._found.naked_s.extend([0.0] if since is not None else [])
        if position.opening.side.sign * (position.bracket.stop - there.stop) > 0:
            log.warning("stop is looser than it should be: setting it", symbol=there.symbol, found=str(there.stop))
            if await self._set_own(position, there) is Placed.CROSSED:
                await self._close(position)

    async def restore(self, position: Position, there: PositionReport) -> None:
        """Set a stop that is missing; where it cannot be, close the position. In a symbol, only one at a time."""
        turn = self._turns[position.symbol]
        if turn.locked():
            return
        async with turn:
            await self._restore(position, there)

    async def _restore(self, position: Position, there: PositionReport) -> None:
        symbol, now = position.symbol, asyncio.get_running_loop().time()
        seen = self._seen.get(position.digest)
        just_set = now - self._set_at.get(position.digest, float("-inf")) < LIST_LATE_S
        if seen is not None and symbol not in self._found.naked and not just_set:
            self.hands.stop_lost(position, self._shell.market_time())
        since = self._found.naked.setdefault(symbol, now if seen is None else seen)
        log.error("position without a stop: setting it", symbol=symbol, stop=str(position.bracket.stop))
        placed = await self._set_own(position, there)
        if placed is Placed.SET:
            self._found.naked.pop(symbol, None)
            self._found.naked_s.append(asyncio.get_running_loop().time() - since)
        elif placed is Placed.CROSSED or now - since >= UNGUARDED_S:
            # until then it is asked for again within two seconds
            await self._close(position)

    async def _close(self, position: Position) -> None:
        await self._shell.dispatch(self._trader.exit(position, Cause.STOP_LOSS, self._shell.market_time()))

"""What stands on the exchange beside a position of ours, or is missing from it, and no execution of ours explains."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING

import structlog

from domain.durations import DAY_MS
from domain.errors import Rejected, Unavailable
from domain.ids import parse_order_id
from domain.order import Cause
from domain.trade import ZERO
from engine import rebuild
from engine.attribution import RACE_MS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from decimal import Decimal

    from domain.order import PositionReport
    from domain.records import Fill
    from engine.hands import Hands
    from engine.position import Position
    from engine.positions import Book

log = structlog.get_logger(__name__)

UNEXPLAINED_S = 3.0
"""How long a difference stays, while executions are asked for, before it counts as one that none explains."""

SURPLUS_S = 2.0
"""So long, where there is more than ours and no entry of ours may still be filling: only a list can be late then."""


LATE_S = 1.5
"""By how much a list of positions may be older than the executions that are known."""

AMOUNTS_MAX = 20
"""Of so many amounts it is known since when at least so much of a symbol has been unexplained."""


class Beside:
    """Compares quantities, and says what of a position on the exchange is somebody else's.

    What is more than ours is somebody else's, at once where executions say so, else when the difference has stayed.
    What is missing is told once as a hand's: what is left is managed, and exits can only reduce. What stands on the
    other side is somebody else's as a whole. ``executions`` are asked for those of a symbol between two market times;
    ``nudge`` has book and exchange compared again once a difference has stayed for so long.
    """

    def __init__(
        self, book: Book, hands: Hands, nudge: Callable[[], None],
        executions: Callable[[int, int, str], Awaitable[list[Fill]]],
    ) -> None:  # fmt: skip
        self._book, self._hands, self._nudge, self._executions = book, hands, nudge, executions
        self._since: dict[str, dict[Decimal, float]] = {}
        self._known: dict[str, tuple[Decimal, float]] = {}

    async def look(
        self, held: Mapping[str, Position], reported: Mapping[str, PositionReport], time: int
    ) -> list[PositionReport]:
        """Return what stands beside our positions and entries, as positions of somebody else, at a market time."""
        found = []
        differing = {symbol: _difference(one, reported[symbol]) for symbol, one in held.items() if symbol in reported}
        # a list that leaves a symbol out says nothing about it
        self._since = {
            symbol: since for symbol, since in self._since.items()
            if symbol in held and (symbol not in reported or differing[symbol])
        }  # fmt: skip
        self._note_known(held)
        for symbol in differing:
            position, there = held[symbol], reported[symbol]
            # not as it was at the beginning: for each symbol executions may have been asked for
            difference = _difference(position, there)
            if not difference:
                continue
            if not self._believed(position, difference) and not await self._explained(position, there, time):
                continue
            if _is_more(position, difference):
                found.append(dataclasses.replace(there, qty=difference))
            else:
                log.error("less on the exchange than executions explain", symbol=symbol, known=str(position.qty),
                          there=str(there.qty))  # fmt: skip
                await self._hands.missing(position, -difference * position.opening.side.sign, time)
                # on the other side nothing can be ours
                found += [there] if there.qty * position.opening.side.sign < 0 else []
        return found

    def _note_known(self, held: Mapping[str, Position]) -> None:
        """Note of each position since when so much of it is known."""
        now = asyncio.get_running_loop().time()
        self._known = {
            symbol: known if (known := self._known.get(symbol)) and known[0] == one.qty else (one.qty, now)
            for symbol, one in held.items()
        }

    def _believed(self, position: Position, difference: Decimal) -> bool:
        symbol, loop = position.symbol, asyncio.get_running_loop()
        unexplained = difference - self._book.net_of_strays(symbol, 0)
        if not unexplained:
            self._since.pop(symbol, None)
            return True
        wait_s, now = self._wait_s(position, difference), loop.time()
        since = self._since.setdefault(symbol, {})
        if not self._moving(position):
            # a list may be older than what has just been executed, and then says nothing of what was there before
            for amount in [one for one in since if not ZERO < one / unexplained <= 1]:
                del since[amount]
        if unexplained not in since:
            since[unexplained] = now
            loop.call_later(wait_s, self._nudge)
        if len(since) > AMOUNTS_MAX:
            del since[next(iter(since))]
        return now - since.get(unexplained, now) >= wait_s

    async def _explained(self, position: Position, there: PositionReport, time: int) -> bool:
        """Return whether executions make up all that is there, those before our entry included.

        The book passes over what others did in a symbol before anything of ours was meant there: an entry may go out
        while a list does not show it yet.
        """
        before = _difference(position, there)
        if not _is_more(position, before):
            return False
        try:
            fills = await self._executions(position.intended_at - DAY_MS, time + DAY_MS, position.symbol)
        except (Unavailable, Rejected) as error:
            log.debug("executions not listed", symbol=position.symbol, reason=str(error))
            return False
        known = not any(self._is_news(position, fill) for fill in fills)
        # what came to be known meanwhile may be all of it
        known = known and _difference(position, there) == before
        return known and any(run.qty == there.qty for run in rebuild.runs(fills))

    def _is_news(self, position: Position, fill: Fill) -> bool:
        """Return whether the book has still to be told of an execution, which may then turn out to be ours."""
        if fill.cause is Cause.FUNDING or self._book.knows(fill.exec_id):
            return False
        return parse_order_id(fill.order_id) is not None or fill.time >= position.intended_at - RACE_MS

    def _moving(self, position: Position) -> bool:
        """Return whether an execution of a position became known a moment ago."""
        return asyncio.get_running_loop().time() - self._known[position.symbol][1] < LATE_S

    def _wait_s(self, position: Position, difference: Decimal) -> float:
        """Return how long an execution of ours may still turn up that explains a difference."""
        entries = any(one.symbol == position.symbol and one.leg == "e" for one in self._book.unsettled())
        return UNEXPLAINED_S if entries or not _is_more(position, difference) else SURPLUS_S


def _is_more(position: Position, difference: Decimal) -> bool:
    return position.pending or difference * position.opening.side.sign > 0


def _difference(held: Position, there: PositionReport) -> Decimal:
    return there.qty - held.opening.side.sign * held.qty

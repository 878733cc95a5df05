"""What stands on the exchange beside a position of ours, or is missing from it, and no execution of ours explains."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING

import structlog

from domain.trade import ZERO

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from decimal import Decimal

    from domain.order import PositionReport
    from engine.hands import Hands
    from engine.position import Position
    from engine.positions import Book

log = structlog.get_logger(__name__)

UNEXPLAINED_S = 3.0
"""How long a difference stays, while executions are asked for, before it counts as one that none explains."""

SURPLUS_S = 2.0
"""So long, where there is more than ours and no entry of ours may still be filling: only a list can be late then."""


class Beside:
    """Compares quantities, and says what of a position on the exchange is somebody else's.

    What is more than ours is somebody else's, at once where executions say so, else when the difference has stayed.
    What is missing is told once as a hand's: what is left is managed, and exits can only reduce. ``nudge`` has
    book and exchange compared again once a difference has stayed for so long.
    """

    def __init__(self, book: Book, hands: Hands, nudge: Callable[[], None]) -> None:
        self._book, self._hands, self._nudge = book, hands, nudge
        self._since: dict[str, tuple[Decimal, float]] = {}

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
        for symbol, difference in differing.items():
            position, there = held[symbol], reported[symbol]
            if not difference or not self._believed(position, difference):
                continue
            if _is_more(position, difference):
                found.append(dataclasses.replace(there, qty=difference))
            else:
                log.error("less on the exchange than executions explain", symbol=symbol, known=str(position.qty),
                          there=str(there.qty))  # fmt: skip
                await self._hands.missing(position, -difference * position.opening.side.sign, time)
        return found

    def _believed(self, position: Position, difference: Decimal) -> bool:
        symbol, loop = position.symbol, asyncio.get_running_loop()
        if difference == self._book.net_of_strays(symbol, 0):
            self._since.pop(symbol, None)
            return True
        wait_s = self._wait_s(position, difference)
        before, since = self._since.get(symbol, (ZERO, 0.0))
        if before != difference:
            self._since[symbol] = difference, loop.time()
            loop.call_later(wait_s, self._nudge)
            return False
        return loop.time() - since >= wait_s

    def _wait_s(self, position: Position, difference: Decimal) -> float:
        """Return how long an execution of ours may still turn up that explains a difference."""
        entries = any(one.symbol == position.symbol and one.leg == "e" for one in self._book.unsettled())
        return UNEXPLAINED_S if entries or not _is_more(position, difference) else SURPLUS_S


def _is_more(position: Position, difference: Decimal) -> bool:
    return position.pending or difference * position.opening.side.sign > 0


def _difference(held: Position, there: PositionReport) -> Decimal:
    return there.qty - held.opening.side.sign * held.qty

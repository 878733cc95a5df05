"""What stands on the exchange beside a position of ours, or is missing from it, and no execution of ours explains."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import structlog

from domain.durations import DAY_MS
from domain.errors import Rejected, Unavailable
from domain.ids import parse_order_id
from domain.order import Cause
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
    from engine.unexplained import Unexplained

log = structlog.get_logger(__name__)


class Beside:
    """Compares quantities, and says what of a position on the exchange is somebody else's.

    What is more than ours is somebody else's, at once where executions say so, else when the difference has stayed, as
    ``unexplained`` knows. What is missing is told once as a hand's: what is left is managed, and exits can only reduce.
    What stands on the other side is somebody else's as a whole. ``executions`` are asked for those of a symbol between
    two market times.
    """

    def __init__(
        self, book: Book, hands: Hands, unexplained: Unexplained,
        executions: Callable[[int, int, str], Awaitable[list[Fill]]],
    ) -> None:  # fmt: skip
        self._book, self._hands, self._unexplained, self._executions = book, hands, unexplained, executions

    async def look(
        self, held: Mapping[str, Position], reported: Mapping[str, PositionReport], time: int, asked: float
    ) -> list[PositionReport]:
        """Return what stands beside our positions and entries, as positions of somebody else, at a market time.

        All executions were ``asked`` for at a time of the loop.
        """
        found = []
        for symbol, position in held.items():
            there = reported.get(symbol)
            if there is None:
                # a list that leaves a symbol out says nothing about it
                continue
            # not as it was at the beginning: for each symbol executions may have been asked for
            if not _difference(position, there):
                continue
            believed = not self._unexplained.of(there) or self._unexplained.lasts(there, asked)
            if believed or await self._explained(position, there, time):
                found += await self.meet(position, there, time)
        return found

    async def meet(self, position: Position, there: PositionReport, time: int) -> list[PositionReport]:
        """Return what of a position that differs from ours is somebody else's; have told what is missing of ours."""
        difference = _difference(position, there)
        if _is_more(position, difference):
            return [dataclasses.replace(there, qty=difference)]
        log.error("less on the exchange than executions explain", symbol=there.symbol, known=str(position.qty),
                  there=str(there.qty))  # fmt: skip
        await self._hands.missing(position, -difference * position.opening.side.sign, time)
        # on the other side nothing can be ours
        return [there] if there.qty * position.opening.side.sign < 0 else []

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


def _is_more(position: Position, difference: Decimal) -> bool:
    return position.pending or difference * position.opening.side.sign > 0


def _difference(held: Position, there: PositionReport) -> Decimal:
    return there.qty - held.opening.side.sign * held.qty

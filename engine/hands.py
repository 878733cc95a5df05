"""Notices what other hands than the bot's do to its positions, and does what the rule for it says."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import structlog

from domain.ids import parse_order_id
from domain.order import Cause
from domain.records import Touch, Touched
from domain.trade import ZERO

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from domain.order import PositionReport
    from domain.records import Fill
    from engine.position import Position

log = structlog.get_logger(__name__)

NOTHING_CHANGED = Decimal("0.0005")
"""By less than this share of itself, a price of liquidation is rounded."""

SIGHTS = 2
"""A target elsewhere counts as a hand's once it has been seen so often: lists are late."""

RULES = {
    Touch.ADDED: "the whole position is managed and closed by the bot",
    Touch.REDUCED: "what is left is managed by the bot",
    Touch.CLOSED: "the trade is recorded",
    Touch.REVERSED: "the trade is recorded; what is there now is not the bot's",
    Touch.STOP_REMOVED: "the stop is set again",
    Touch.STOP_LOOSENED: "the stop is set again",
    Touch.STOP_TIGHTENED: "the bot keeps it, and moves it only further",
    Touch.TARGET_REMOVED: "the target is set again",
    Touch.TARGET_MOVED: "the bot keeps it",
    Touch.MARGIN_ADDED: "the position goes on as planned",
}
"""What is done about each, in words for people."""


class Hands:
    """Compares what is known of a position with what is reported, and has touches of it written down and told.

    ``take`` writes a touch down, applies it to the book and tells it; ``set_levels`` sets stop and target of a position
    on the exchange and returns whether it took them.
    """

    def __init__(
        self, take: Callable[[Touched], Awaitable[None]],
        set_levels: Callable[[PositionReport, Decimal, Decimal | None], Awaitable[bool]],
    ) -> None:  # fmt: skip
        self._take, self._set_levels = take, set_levels
        self._sights: dict[tuple[str, Touch, Decimal], int] = {}
        self._lost: dict[str, tuple[int, Decimal]] = {}
        self._liquidations: dict[str, tuple[tuple[Decimal, ...], Decimal]] = {}

    async def executed(self, held: Position, fill: Fill, others: Decimal) -> None:
        """Take note of an execution that a hand made in a position; ``others`` is what it opened beyond that."""
        if parse_order_id(fill.order_id) is not None or fill.cause not in {Cause.MANUAL, Cause.TRANSFER, Cause.UNKNOWN}:
            return
        if held.opens(fill):
            touch = Touch.ADDED
        elif not held.flat:
            touch = Touch.REDUCED
        else:
            touch = Touch.REVERSED if others else Touch.CLOSED
        await self._note(held, touch, fill.time, fill.venue_order_id)

    async def missing(self, held: Position, qty: Decimal, time: int) -> None:
        """Take note that less is there than was executed: somebody has taken it away in a way that is not listed."""
        await self._note(held, Touch.REDUCED, time, f"unlisted {qty} of {held.qty}")

    async def look(self, held: Position, there: PositionReport, time: int) -> None:
        """Compare stop, target and margin with what is reported."""
        if abs(there.qty) != held.qty:
            # one of the two is older than the other
            return
        if there.stop:
            await self._look_at_stop(held, there, time)
            await self._look_at_lost(held, time)
        await self._look_at_target(held, there, time)
        await self._look_at_margin(held, there, time)

    def stop_lost(self, held: Position, time: int) -> None:
        """Remember that a stop which had been seen is gone: a hand took it, unless it has just been hit."""
        self._lost.setdefault(held.digest, (time, held.qty))

    async def _look_at_lost(self, held: Position, time: int) -> None:
        when, qty = self._lost.pop(held.digest, (time, ZERO))
        if qty == held.qty:
            await self._note(held, Touch.STOP_REMOVED, when, str(when), held.bracket.stop)

    async def _look_at_stop(self, held: Position, there: PositionReport, time: int) -> None:
        known, side = held.bracket.stop, held.opening.side.sign
        if there.stop == known:
            return
        if there.stop in held.known_stops:
            # a move of ours whose answer was lost, or a list that is late
            return
        touch = Touch.STOP_TIGHTENED if side * (there.stop - known) > 0 else Touch.STOP_LOOSENED
        await self._note(held, touch, time, str(there.stop), there.stop)

    async def _look_at_target(self, held: Position, there: PositionReport, time: int) -> None:
        if there.target == held.bracket.target or not held.entry_order:
            # what was taken over from somebody may have had any, or none
            return
        touch = Touch.TARGET_MOVED if there.target else Touch.TARGET_REMOVED
        if not self._seen_enough(held, touch, there.target):
            return
        if there.target or await self._set_levels(there, there.stop or held.bracket.stop, held.bracket.target):
            await self._note(held, touch, time, str(there.target or time), there.target)

    async def _look_at_margin(self, held: Position, there: PositionReport, time: int) -> None:
        """Tell added margin by the price of liquidation: that of an isolated position follows from nothing else."""
        shape, now = (there.qty, there.entry_price, there.leverage), there.liquidation
        known, before = self._liquidations.get(held.digest, (shape, now))
        self._liquidations[held.digest] = shape, now
        further = held.opening.side.sign * (before - now) > before * NOTHING_CHANGED
        if there.isolated and shape == known and before and (further or not now):
            await self._note(held, Touch.MARGIN_ADDED, time, str(now))

    def _seen_enough(self, held: Position, touch: Touch, level: Decimal) -> bool:
        key = (held.digest, touch, level)
        self._sights[key] = self._sights.get(key, 0) + 1
        if self._sights[key] < SIGHTS:
            return False
        del self._sights[key]
        return True

    def forget(self, open_digests: set[str]) -> None:
        """Forget what was seen of positions that are no more."""
        self._sights = {key: count for key, count in self._sights.items() if key[0] in open_digests}
        self._lost = {digest: lost for digest, lost in self._lost.items() if digest in open_digests}
        known = self._liquidations
        self._liquidations = {digest: shown for digest, shown in known.items() if digest in open_digests}

    async def _note(self, held: Position, touch: Touch, time: int, name: str, level: Decimal | None = None) -> None:
        if any((one.touch, one.name) == (touch, name) for one in held.touches):
            return
        log.warning("a hand on a position", symbol=held.symbol, touch=touch.value, left=str(held.qty),
                    at=str(level) if level is not None else None, done=RULES[touch])  # fmt: skip
        await self._take(Touched(time, held.digest, held.symbol, touch, name, held.qty, level))

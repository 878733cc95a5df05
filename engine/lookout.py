"""Looks at the exchange's list of positions every second: what the private stream did not tell is seen all the same."""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from domain.backoff import Backoff
from domain.errors import BadData, OutcomeUnknown, Rejected, Unavailable
from domain.trade import ZERO
from engine.differences import unlike

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from decimal import Decimal

    from domain.order import PositionReport
    from domain.ports import Broker
    from engine.position import Position
    from engine.reconciliation import Reconciler
    from engine.trader import Trader

log = structlog.get_logger(__name__)

LOOK_S, IDLE_S = 1.0, 4.0
"""Between two looks: while anything of ours is open or may open, and while nothing is."""

EVENNESS = (0.9, 1.0)

ANSWER_S = 3.0
AGAIN = Backoff(0.2, 1.5)
"""After a look that failed."""

WAKE = Backoff(2.0, 60.0)
"""After how long the same difference wakes the comparison again."""

Sight = tuple["Decimal", "Decimal", bool]
"""What is known and what is shown of a quantity, and whether a stop is shown."""


@dataclass(slots=True)
class Seen:
    """A difference that was seen, how often it has woken the comparison, and when it does so next if it stays."""

    sight: Sight
    times: int
    due: float


class Lookout:
    """Wakes the comparison where the list differs from the book, and has a stop that is missing set at once.

    It is one request, which waits for none of those that a comparison needs. A difference that stays wakes the
    comparison more and more seldom. ``acting`` says whether this instance may send orders.
    """

    def __init__(
        self, trader: Trader, broker: Broker, reconciler: Reconciler, nudge: Callable[[], None],
        acting: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._trader, self._broker, self._reconciler = trader, broker, reconciler
        self._nudge, self._acting = nudge, acting
        self._seen: dict[str, Seen] = {}
        self._failed = 0
        self._proving: set[str] = set()
        self._jitter = random.Random()  # noqa: S311  spreads looks, guards nothing

    async def run(self) -> None:
        """Look until cancelled."""
        self._proving.clear()
        async with asyncio.TaskGroup() as group:
            while True:
                await self._pause()
                # what the private stream tells of a stop waits for no list, nor does what has lasted long enough
                self._restore(group, self._reconciler.bare())
                self._settle(group)
                reports = await self._reported()
                if reports is None or not self._acting():
                    continue
                self._restore(group, reports)
                self.look(reports)
                self._settle(group)

    def _settle(self, group: asyncio.TaskGroup) -> None:
        for symbol in self._differing() if self._acting() else ():
            self._proving.add(symbol)
            group.create_task(self._prove(symbol))

    def _restore(self, group: asyncio.TaskGroup, reports: Sequence[PositionReport]) -> None:
        for held, there in self._naked(reports) if self._acting() else ():
            # a symbol in which the exchange hangs keeps no other one waiting
            group.create_task(self._reconciler.guard.restore(held, there))

    def _differing(self) -> list[str]:
        """Return where a difference has stayed, in symbols of ours or of nobody's so far, and was not asked for yet."""
        others = {symbol for symbol in self._reconciler.found.foreign if self._trader.book.of_symbol(symbol) is None}
        return [one for one in self._reconciler.unexplained.due() if one not in others | self._proving]

    async def _prove(self, symbol: str) -> None:
        try:
            await self._reconciler.prove(symbol)
        finally:
            self._proving.discard(symbol)

    def look(self, reports: Sequence[PositionReport]) -> None:
        """Wake the comparison where these differ from the book."""
        book, foreign = self._trader.book, set(self._reconciler.found.foreign)
        for one in reports:
            self._reconciler.see(one)
        there = {one.symbol: one for one in reports if not one.index}
        held = {one.symbol: one for one in book.positions()}
        seen: dict[str, Seen] = {}
        for symbol in {*there, *held, *foreign} - {one.symbol for one in reports if one.index}:
            others = symbol in foreign and symbol not in held
            if symbol not in there if others else unlike(held.get(symbol), there.get(symbol)):
                seen[symbol] = self._wake(symbol, _sight(held.get(symbol), there.get(symbol)))
        self._seen = seen

    def _wake(self, symbol: str, sight: Sight) -> Seen:
        """Wake the comparison for a difference that is new, or has been there for a while."""
        now, before = asyncio.get_running_loop().time(), self._seen.get(symbol)
        if before is None or before.sight != sight:
            before = Seen(sight, 0, now)
        if now < before.due:
            return before
        times = before.times + 1
        self._reconciler.doubt(symbol)
        self._nudge()
        return Seen(sight, times, now + WAKE.bound_s(times))

    def _naked(self, reports: Sequence[PositionReport]) -> list[tuple[Position, PositionReport]]:
        found = []
        for there in reports:
            held = None if there.index or there.stop else self._trader.book.of_symbol(there.symbol)
            if held is not None and held.qty * held.opening.side.sign * there.qty > 0:
                found.append((held, there))
        return found

    async def _reported(self) -> list[PositionReport] | None:
        """Return what the exchange lists, None when it does not answer in time."""
        try:
            async with asyncio.timeout(ANSWER_S):
                reports = await self._broker.positions()
        except (TimeoutError, Unavailable, Rejected, OutcomeUnknown, BadData) as error:
            self._failed += 1
            log.debug("positions not seen", reason=str(error) or "no answer in time")
            return None
        self._failed = 0
        return reports

    async def _pause(self) -> None:
        """Wait until the next look; as soon as something of ours may open, the long pause is over."""
        if self._failed:
            await asyncio.sleep(AGAIN.wait_s(self._failed, self._jitter.uniform))
            return
        evenness = self._jitter.uniform(*EVENNESS)
        for _ in range(round(IDLE_S / LOOK_S)):
            if await self._woken(LOOK_S * evenness) or self._trader.book.positions() or self._trader.book.unsettled():
                return

    async def _woken(self, seconds: float) -> bool:
        """Wait so long; return whether something that cannot wait came up meanwhile."""
        wake = self._reconciler.unexplained.wake
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await wake.wait()
        woken = wake.is_set()
        wake.clear()
        return woken


def _sight(held: Position | None, there: PositionReport | None) -> Sight:
    known = held.opening.side.sign * held.qty if held is not None else ZERO
    return known, there.qty if there is not None else ZERO, there is not None and bool(there.stop)

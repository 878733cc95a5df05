"""Exits that came to nothing are sent again: at once the first time, then after growing pauses, without an end."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from domain.records import OrderEnded
    from engine.commands import Command
    from engine.position import Position
    from engine.trader import Trader

log = structlog.get_logger(__name__)

PAUSES_S = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
"""Wait before each further attempt; the last one holds for all that follow."""

ALARM_AT = 5
"""After so many failed attempts, and again after each further ten, the operator is alarmed."""


@dataclass(frozen=True, slots=True)
class ExitFailing:
    """An exit that keeps failing: which position, how often it was tried, and what the exchange said last."""

    symbol: str
    digest: str
    attempts: int
    reason: str


class ExitRetries:
    """Repeats exits that ended with something still open.

    ``dispatch`` carries commands out, ``now`` gives the market time, ``alarm`` takes exits that keep failing; where the
    position is ``gone`` from the exchange, as far as that says, nothing is sent until its executions have been found.
    """

    def __init__(
        self, trader: Trader, dispatch: Callable[[Sequence[Command]], Awaitable[None]], now: Callable[[], int],
        alarm: Callable[[ExitFailing], None], gone: Callable[[str], bool] = lambda _symbol: False,
    ) -> None:  # fmt: skip
        self._trader, self._dispatch, self._now, self._alarm, self._gone = trader, dispatch, now, alarm, gone
        self._due: dict[str, float] = {}
        self._reasons: dict[str, str] = {}
        self._changed = asyncio.Event()
        self._jitter = random.Random()  # noqa: S311  spreads attempts, guards nothing

    def reason(self, digest: str) -> str:
        """Return why the last exit of a position came to nothing, empty when none did."""
        return self._reasons.get(digest, "")

    def note(self, ended: OrderEnded, held: Position) -> None:
        """Take the end of an exit's order; what is still open is closed again when its time has come."""
        if not held.leaving:
            return
        attempts = held.exit_attempts
        self._reasons[held.digest] = ended.reason or ended.state.value
        pause = self._schedule(held)
        log.error("exit not filled: trying again", symbol=held.symbol, left=str(held.qty), attempt=attempts,
                  reason=self._reasons[held.digest], pause_s=round(pause, 1))  # fmt: skip
        if attempts == ALARM_AT or (attempts > ALARM_AT and attempts % 10 == 0):
            self._alarm(ExitFailing(held.symbol, held.digest, attempts, self._reasons[held.digest]))

    def ensure(self, held: Position) -> None:
        """Schedule the next exit of a position that is to be closed, unless that has been done."""
        if held.leaving and held.digest not in self._due:
            self._schedule(held)

    def _schedule(self, held: Position) -> float:
        pause = PAUSES_S[min(held.exit_attempts - 1, len(PAUSES_S) - 1)]
        self._due[held.digest] = asyncio.get_running_loop().time() + pause * self._jitter.uniform(0.8, 1.2)
        self._changed.set()
        return pause

    async def run(self) -> None:
        """Send what is due, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            wait = min(self._due.values(), default=loop.time() + 60.0) - loop.time()
            try:
                async with asyncio.timeout(max(0.0, wait)):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()
            for digest in [name for name, due in self._due.items() if due <= loop.time()]:
                del self._due[digest]
                await self._again(digest)

    async def _again(self, digest: str) -> None:
        held = self._trader.book.find(digest)
        if held is None or not held.leaving:
            self._reasons.pop(digest, None)
            return
        if self._gone(held.symbol):
            return
        await self._dispatch(self._trader.exit(held, held.exit_cause, self._now()))

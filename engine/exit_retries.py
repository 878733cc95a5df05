"""Exits that came to nothing are sent again: at once the first time, then after growing pauses, without an end."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from engine.exits import EXIT_ATTEMPTS_MAX

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
ALARM_EVERY, ALARM_SELDOM = 10, 100
"""After so many failed attempts in a row, and again after each further ten, the operator is alarmed; once there have
been ``EXIT_ATTEMPTS_MAX``, after each further hundred: by then it is known."""


@dataclass(frozen=True, slots=True)
class ExitFailing:
    """An exit that keeps failing: which position, how often in a row, and what the exchange said last."""

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
        self._failed: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._jitter = random.Random()  # noqa: S311  spreads attempts, guards nothing

    def reason(self, digest: str) -> str:
        """Return why the last exit of a position came to nothing, empty when none did."""
        return self._reasons.get(digest, "")

    def note(self, ended: OrderEnded, held: Position) -> None:
        """Take the end of an exit's order; what is still open is closed again when its time has come."""
        if not held.leaving:
            return
        # an exit in slices has many orders: what counts is how many have come to nothing since one has not
        failed = self._failed[held.digest] = 1 if ended.filled else self._failed.get(held.digest, 0) + 1
        self._reasons[held.digest] = ended.reason or ended.state.value
        pause = self._schedule(held)
        log.error("exit not filled: trying again", symbol=held.symbol, left=str(held.qty), attempt=failed,
                  reason=self._reasons[held.digest], pause_s=round(pause, 1))  # fmt: skip
        if failed == ALARM_AT or (failed > ALARM_AT and not failed % _every(failed)):
            self._alarm(ExitFailing(held.symbol, held.digest, failed, self._reasons[held.digest]))

    def ensure(self, held: Position) -> None:
        """Schedule the next exit of a position that is to be closed, unless that has been done."""
        if held.leaving and held.digest not in self._due:
            self._schedule(held)

    def _schedule(self, held: Position) -> float:
        pause = PAUSES_S[min(max(0, self._failed.get(held.digest, 0) - 1), len(PAUSES_S) - 1)]
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
            self._failed.pop(digest, None)
            return
        if self._gone(held.symbol):
            return
        await self._dispatch(self._trader.exit(held, held.exit_cause, self._now()))


def _every(failed: int) -> int:
    return ALARM_EVERY if failed <= EXIT_ATTEMPTS_MAX else ALARM_SELDOM

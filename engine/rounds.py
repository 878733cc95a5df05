"""When book and exchange are compared: in turn, when something is in doubt, and soon again when nobody answered."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING

import structlog

from domain.backoff import Backoff
from domain.errors import BadData, OutcomeUnknown, Rejected, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = structlog.get_logger(__name__)

REGULAR_S = 60.0
UNDECIDED_S = 2.0
PAUSE_S = 0.5
"""Between two rounds, however many doubts there are."""

AGAIN = Backoff(0.4, 1.5)
"""After a round that failed."""


class Rounds:
    """Has ``compare`` called again and again: at once when ``nudged``, within two seconds while it is ``undecided``."""

    def __init__(
        self, nudged: asyncio.Event, undecided: Callable[[], bool], compare: Callable[[], Awaitable[None]]
    ) -> None:
        self._nudged, self._undecided, self._compare = nudged, undecided, compare
        self._failed = 0
        self._jitter = random.Random()  # noqa: S311  spreads repeats, guards nothing

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._wait_s()):
                    await self._nudged.wait()
            self._nudged.clear()
            try:
                await self._compare()
            except (Unavailable, Rejected, BadData, OutcomeUnknown) as error:
                self._failed += 1
                log.warning("reconciliation postponed", reason=str(error))
            else:
                self._failed = 0
            await asyncio.sleep(AGAIN.wait_s(self._failed, self._jitter.uniform) if self._failed else PAUSE_S)

    def _wait_s(self) -> float:
        if self._failed:
            return 0.0
        return UNDECIDED_S if self._undecided() else REGULAR_S

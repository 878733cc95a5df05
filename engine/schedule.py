"""Starts the regular jobs when they are due, one at a time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

import structlog

from domain.errors import RevenantError
from domain.schedule import due

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from domain.schedule import Job, JobState
    from engine.threads import Tier

log = structlog.get_logger(__name__)

LOOK_S = 20.0
ASK_S = 10.0


class Book(Protocol):
    """Knows which jobs ran when."""

    def states(self) -> dict[str, JobState]:
        """Return what is known of every job."""
        ...


class Schedule:
    """Looks every few seconds whether a job is due, and has it done; ``do`` does one and says how it ended.

    A job that fails is not tried again before it is due again; a job that was missed while nobody ran is done once.
    """

    def __init__(
        self, jobs: tuple[Job, ...], book: Book, tier: Tier, do: Callable[[Job], Awaitable[str]],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:  # fmt: skip
        self._jobs, self._book, self._tier, self._do, self._now = jobs, book, tier, do, now
        self._since = now()
        self._tried: dict[str, datetime] = {}

    async def run(self) -> None:
        """Do what is due, for ever."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Do every job that is due now, the most important first."""
        try:
            states = await self._tier.call(self._book.states)
        except RevenantError:
            # without the book nobody knows what has been done
            return
        for job in due(self._jobs, states, self._since, self._now()):
            if self._tried.get(job.name) == job.last_due(self._now()):
                continue
            self._tried[job.name] = job.last_due(self._now())
            try:
                said = await self._do(job)
            except RevenantError as error:
                log.warning("job failed", job=job.name, reason=str(error))
            else:
                log.info("job done", job=job.name, result=said)

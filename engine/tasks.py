"""The one place where background tasks are born: named, owned, restarted with growing pauses."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from typing import TYPE_CHECKING, Self

import structlog

from domain.backoff import Backoff
from domain.errors import RevenantError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = structlog.get_logger(__name__)

RESTARTS_MAX = 5
WINDOW_S = 600.0
FAILING_AFTER = 2
"""What has fallen so often in the last ten minutes keeps falling: one fall is made good by the next start."""

PAUSE = Backoff(0.4, 10.0)


class Tasks:
    """Owns tasks and ends them all when left; ``failed`` resolves with the name of one that could not be kept up."""

    def __init__(self) -> None:
        self._held: dict[str, asyncio.Task[None]] = {}
        self._falls: dict[str, deque[float]] = {}
        self._reasons: dict[str, str] = {}
        self._jitter = random.Random()  # noqa: S311  spreads restarts, guards nothing
        self.failed: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._held.values():
            task.cancel()
        await asyncio.gather(*self._held.values(), return_exceptions=True)

    def start(self, name: str, work: Callable[[], Awaitable[None]], *, vital: bool = True) -> None:
        """Run ``work`` until it returns; when it raises, run it again, at most five times in ten minutes.

        What could not be kept up then ends the bot when it is ``vital``; else it is left alone for ten minutes.
        """
        if vital:
            self._falls[name] = deque(maxlen=FAILING_AFTER)
        self._held[name] = asyncio.create_task(self._keep(name, work, vital=vital), name=name)

    def names(self) -> list[str]:
        """Return the tasks that are running."""
        return [name for name, task in self._held.items() if not task.done()]

    def failing(self) -> list[str]:
        """Return the vital tasks that keep dying, with what they died of last, in words."""
        begin = asyncio.get_running_loop().time() - WINDOW_S
        return [
            f"the task {name} keeps failing ({self._reasons[name][:200]})"
            for name, falls in self._falls.items() if len(falls) == FAILING_AFTER and falls[0] > begin
        ]  # fmt: skip

    async def _keep(self, name: str, work: Callable[[], Awaitable[None]], *, vital: bool) -> None:
        falls: deque[float] = deque(maxlen=RESTARTS_MAX)
        loop = asyncio.get_running_loop()
        while True:
            try:
                await work()
            except Exception as error:
                expected = isinstance(error, RevenantError)
                log.error("task failed", task=name, reason=str(error) or repr(error), exc_info=not expected)
                self._reasons[name] = repr(error)
                if vital:
                    self._falls[name].append(loop.time())
            else:
                return
            if len(falls) == RESTARTS_MAX and loop.time() - falls[0] < WINDOW_S:
                if vital and not self.failed.done():
                    self.failed.set_result(name)
                if vital:
                    return
                falls.clear()
                await asyncio.sleep(WINDOW_S)
            falls.append(loop.time())
            await asyncio.sleep(PAUSE.wait_s(len(falls), self._jitter.uniform))

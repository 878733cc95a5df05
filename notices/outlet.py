"""Keeps notices for one recipient in a bounded queue and sends them, never in trading's way."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from domain.backoff import Backoff
from domain.errors import Rejected, Unavailable
from domain.notice import Loudness

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from domain.notice import Notice
    from notices.announcement import Announcement

log = structlog.get_logger(__name__)

RETRY = Backoff(1.0, 60.0)
WAIT_MAX_S = 600.0
"""However long a recipient asks to be left alone, it is tried again after this."""

LOOK_S = 0.05


class Wait(Unavailable):
    """The recipient asks to be left alone for ``seconds``."""

    def __init__(self, reason: str, seconds: float) -> None:
        super().__init__(reason)
        self.seconds = min(max(seconds, 0.0), WAIT_MAX_S)


class Sender(Protocol):
    """Sends notices somewhere."""

    async def send(self, waiting: Sequence[Announcement]) -> int:
        """Send the oldest ones, as many as make one message, and return how many.

        Raises:
            Unavailable: nobody took it: it is sent again later; Wait when it is said how much later.
            Rejected: it will never be taken. The first notice is dropped.
        """
        ...


class Outlet:
    """One recipient: what waits for it, and the sending of it.

    ``put`` may be called on the event loop at any time and never waits. When the queue is full the oldest notice is
    dropped and counted.
    """

    def __init__(
        self, name: str, sender: Sender, loudness: Mapping[Notice, Loudness], queue_max: int, group_s: float
    ) -> None:
        self.name = name
        self._sender, self._loudness, self._group_s = sender, loudness, group_s
        self._queue: deque[Announcement] = deque(maxlen=queue_max)
        self._arrived, self._hurry = asyncio.Event(), asyncio.Event()
        self._jitter = random.Random()  # noqa: S311  spreads attempts, guards nothing
        self._dropped = self._taken = self._failures = 0
        self._reason = ""

    def loudness(self, kind: Notice) -> Loudness:
        """Return how a kind of notice is told here."""
        return self._loudness[kind]

    def put(self, notice: Announcement) -> None:
        """Tell of something."""
        self._dropped += len(self._queue) == self._queue.maxlen
        self._queue.append(notice)
        self._arrived.set()

    def report(self) -> dict[str, Any]:
        """Return how many notices wait, were sent and were dropped, and why the last one could not be sent."""
        return {"waiting": len(self._queue), "sent": self._taken, "dropped": self._dropped, "failing": self._reason}

    async def send_now(self, notice: Announcement) -> None:
        """Send one notice at once, past the queue; raises as its sender does."""
        await self._sender.send([notice])

    async def run(self) -> None:
        """Send what comes until cancelled."""
        while True:
            await self._arrived.wait()
            if not self._failures:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._group_s):
                        await self._hurry.wait()
            await asyncio.sleep(await self._send())
            if not self._queue:
                self._arrived.clear()

    async def flush(self, seconds: float) -> None:
        """Send what waits without gathering more; give up after so many seconds."""
        self._hurry.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._queue:
                    await asyncio.sleep(LOOK_S)

    async def _send(self) -> float:
        """Send one message; return how long to wait before the next."""
        waiting = tuple(self._queue)
        try:
            count = await self._sender.send(waiting)
        except Unavailable as error:
            self._failures += 1
            self._note(str(error))
            return error.seconds if isinstance(error, Wait) else RETRY.wait_s(self._failures, self._jitter.uniform)
        except Rejected as error:
            self._dropped += 1
            log.error("notice refused by its recipient: dropped", recipient=self.name, reason=str(error))
            self._forget(waiting[:1])
            return 0.0
        self._taken += count
        self._failures = 0
        self._note("")
        self._forget(waiting[:count])
        return 0.0

    def _forget(self, done: Sequence[Announcement]) -> None:
        # a full queue may have dropped some of them while they were being sent
        for one in done:
            if self._queue and self._queue[0] is one:
                self._queue.popleft()

    def _note(self, reason: str) -> None:
        if reason and not self._reason:
            log.warning("notices cannot be sent: they wait", recipient=self.name, reason=reason)
        elif self._reason and not reason:
            log.info("notices are sent again", recipient=self.name, waiting=len(self._queue))
        self._reason = reason

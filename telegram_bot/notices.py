"""Tells of events: gathered, in order, kept while Telegram is away, never in trading's way."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import structlog

from domain.backoff import Backoff
from domain.errors import Rejected, Unavailable
from domain.notice import Loudness, Notice
from telegram_bot import texts
from telegram_bot.texts import lasted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from telegram_bot.courier import Courier

log = structlog.get_logger(__name__)

LATE_S = 60.0
RETRY = Backoff(1.0, 30.0)
LOOK_S = 0.05


class Waiting(NamedTuple):
    """A notice on its way: its number, what it says, whether it makes a sound, when it came (host seconds)."""

    number: int
    text: str
    silent: bool
    at: float


class Message(NamedTuple):
    """Notices put together: the text, whether it is silent, the number of the last in it, how many losses it tells."""

    text: str
    silent: bool
    last: int
    let_go: int


class Notices:
    """Keeps what is to be told of each chat in a bounded queue and sends it, many as one message.

    ``loudness`` says how each kind is told; ``put`` may be called from the event loop at any time and never waits.
    """

    def __init__(
        self, courier: Courier, chats: Collection[int], loudness: Callable[[], Mapping[Notice, Loudness]],
        queue_max: int, group_s: float,
    ) -> None:  # fmt: skip
        self._courier, self._loudness, self._group_s = courier, loudness, group_s
        self._queues: dict[int, deque[Waiting]] = {chat: deque(maxlen=queue_max) for chat in chats}
        self._wake, self._hurry = asyncio.Event(), asyncio.Event()
        self._jitter = random.Random()  # noqa: S311  spreads attempts, guards nothing
        self.let_go: dict[int, int] = dict.fromkeys(chats, 0)
        self._numbers = itertools.count(1)
        self.failing = ""

    @property
    def waiting(self) -> int:
        """How many notices wait in the longest queue."""
        return max((len(queue) for queue in self._queues.values()), default=0)

    def put(self, kind: Notice, text: str, _about: object = None) -> None:
        """Tell of an event, unless its kind is off."""
        loudness = self._loudness()[kind]
        if loudness is Loudness.OFF:
            return
        one = Waiting(next(self._numbers), text[: texts.PAGE], loudness is Loudness.SILENT, time.monotonic())
        for chat, queue in self._queues.items():
            if len(queue) == queue.maxlen:
                self.let_go[chat] += 1
            queue.append(one)
        self._wake.set()

    def leave(self, chat: int) -> None:
        """Tell a chat no more: it is another by now, which is told the same."""
        self._queues.pop(chat, None)

    async def run(self) -> None:
        """Send what waits, for ever, to each chat by itself."""
        async with asyncio.TaskGroup() as group:
            for chat in self._queues:
                group.create_task(self._serve(chat))

    async def flush(self, seconds: float) -> None:
        """Send what waits without gathering more, and wait so long for it to be sent."""
        self._hurry.set()
        deadline = time.monotonic() + seconds
        while self.waiting and time.monotonic() < deadline:
            await asyncio.sleep(LOOK_S)

    async def _serve(self, chat: int) -> None:
        queue, failures = self._queues[chat], 0
        while chat in self._queues:
            while not queue:
                self._wake.clear()
                await self._wake.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._group_s):
                    await self._hurry.wait()
            if chat not in self._queues:
                return
            message = self._gathered(chat)
            try:
                await self._courier.say(chat, message.text, silent=message.silent)
            except Unavailable as error:
                failures += 1
                self._note_failing(str(error))
                await asyncio.sleep(RETRY.wait_s(failures, self._jitter.uniform))
                continue
            except Rejected as error:
                log.error("notices were refused: let go", chat=chat, reason=str(error))
            else:
                self._note_failing("")
                self.let_go[chat] -= message.let_go
            failures = 0
            while queue and queue[0].number <= message.last:
                queue.popleft()

    def _gathered(self, chat: int) -> Message:
        """Return what waits as one message, as much as fits."""
        parts, size, silent, last, now = [], 0, True, 0, time.monotonic()
        if self.let_go[chat]:
            parts.append(f"⚠️ {self.let_go[chat]} earlier notices were let go while Telegram was away.")
        for one in self._queues[chat]:
            late = f"<i>{lasted(now - one.at)} ago:</i> " if now - one.at > LATE_S else ""
            text = f"{late}{one.text}"
            if last and size + len(text) > texts.PAGE:
                break
            parts.append(text)
            size, silent, last = size + len(text) + 2, silent and one.silent, one.number
        return Message("\n\n".join(parts), silent, last, self.let_go[chat])

    def _note_failing(self, reason: str) -> None:
        if bool(reason) != bool(self.failing):
            if reason:
                log.warning("telegram does not take messages: notices wait", reason=reason)
            else:
                log.info("telegram takes messages again", waiting=self.waiting)
        self.failing = reason

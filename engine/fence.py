"""Lets requests that change something out only while no newer instance of the bot has taken over."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import structlog

from domain.errors import ConfigError, Rejected, Unavailable

if TYPE_CHECKING:
    from engine.threads import Tier

log = structlog.get_logger(__name__)

RENEW_S = 5.0
ALONE_S = 600.0
"""How long entries go on while nobody can say who has the right: both senders would use the same order ids."""

STILL_S = 10.0
"""A process that runs asks more often than this. One that has not was frozen, and another may have taken over since."""

SILENT_S = 60.0
SILENT = ", no sign of life for a minute: nobody may be sending, restart this one if that is so"
"""What is told of a successor that may be gone."""


class Holder(Protocol):
    """Who has the right to send."""

    @property
    def epoch(self) -> int:
        """Number of the taking, 0 when nobody has it."""
        ...

    @property
    def owner(self) -> str:
        """A name for people, empty when it was handed back."""
        ...


class Right(Protocol):
    """The right to send, shared by all instances. Synchronous; raises Unavailable when nobody can tell."""

    def take(self) -> Holder:
        """Take it."""
        ...

    def holder(self) -> Holder:
        """Return who has it."""
        ...

    def renew(self, epoch: int) -> Holder:
        """Leave a sign of life, and return who has it."""
        ...

    def alive(self, seconds: float) -> str:
        """Return the holder's name when it has left a sign of life in the last so many seconds, else nothing."""
        ...

    def release(self, epoch: int) -> None:
        """Hand it back, if it is still ours."""
        ...

    def claim(self) -> Holder:
        """Take it if it was handed back; return who has it then."""
        ...

    def retake(self, epoch: int) -> Holder:
        """Take it again under a higher number, unless somebody else who is alive has it; return who has it then."""
        ...


class Fence:
    """Takes the right at the start, and asks before every request whether it is still ours.

    It takes the right back from nobody; only when a successor has handed it back in good order, the one that stood by
    has it again.
    """

    def __init__(self, right: Right, tier: Tier) -> None:
        self._right, self._tier = right, tier
        self._heard_at: float | None = None
        self._reachable = True
        self._still_s = 0.0
        self._owner = ""
        self._left = False
        self.epoch = 0
        self.successor = ""

    @property
    def superseded(self) -> bool:
        """Whether a newer instance has taken over: this one sends nothing any more."""
        return bool(self.successor)

    async def take(self) -> None:
        """Take the right; when nobody can be asked, go on for a while without and take it later."""
        loop = asyncio.get_running_loop()
        if self.epoch:
            return
        if self._heard_at is None:
            self._heard_at = loop.time()
        try:
            held = await self._tier.call(self._right.take)
        except (Unavailable, Rejected, ConfigError) as error:
            self._reachable = False
            log.warning("nobody can say whether another instance is running", reason=str(error))
            return
        self.epoch, self._owner, self._heard_at, self._reachable = held.epoch, held.owner, loop.time(), True
        log.info("right to send orders taken", epoch=held.epoch, owner=held.owner)

    async def keep(self) -> None:
        """Renew the right regularly until cancelled; once it is lost, look whether it is handed back."""
        while True:
            await asyncio.sleep(RENEW_S)
            if not self.epoch:
                await self.take()
                continue
            try:
                if self.superseded:
                    await self.stand_by()
                else:
                    await self._note(await self._tier.call(self._right.renew, self.epoch))
            except (Unavailable, Rejected, ConfigError) as error:
                self._lose_touch(error)

    async def stand_by(self) -> None:
        """Take the right again if the successor has handed it back, else look whether there still is one.

        One that is silent may be cut off from the database alone, and send: so nobody takes the right from it.
        """
        held = await self._tier.call(self._right.holder)
        if held.epoch and not held.owner:
            held = await self._tier.call(self._right.claim)
        if held.owner == self._owner and held.epoch > self.epoch:
            self.epoch, self.successor = held.epoch, ""
            self._heard_at, self._reachable = asyncio.get_running_loop().time(), True
            log.warning("the right to send orders was handed back: this instance has it again", epoch=held.epoch)
            return
        silent = "" if await self._tier.call(self._right.alive, SILENT_S) else SILENT
        self.successor = f"{held.owner or 'nobody'}, epoch {held.epoch}{silent}"

    async def leave(self) -> None:
        """Send nothing any more, and hand the right back to whoever stands by."""
        self._left = True
        if self.epoch and self._reachable and not self.superseded:
            try:
                await self._tier.call(self._right.release, self.epoch)
            except (Unavailable, Rejected, ConfigError) as error:
                log.warning("the right to send orders is not handed back", reason=str(error))

    async def check(self, *, leaving: bool) -> None:
        """Return when a request may be sent; ``leaving`` marks those that only lower the risk.

        Raises:
            Rejected: when a newer instance has taken over, or, for what raises the risk, when nobody has been able
                to tell for ten minutes, or since this process was frozen.
        """
        if self._reachable and self.epoch and not self.superseded:
            try:
                await self._note(await self._tier.call(self._right.holder))
            except (Unavailable, Rejected, ConfigError) as error:
                self._lose_touch(error)
        if self._left:
            raise Rejected("this instance has stopped: it sends nothing any more")
        if self.superseded:
            raise Rejected(f"another instance has taken over ({self.successor}): this one sends nothing")
        if not leaving and not self._reachable and self._still_s:
            raise Rejected(
                f"this process stood still for up to {self._still_s:.0f} s, and nobody can say whether another "
                "instance has taken over since"
            )
        if not leaving and not self._reachable and self._alone_s() > ALONE_S:
            raise Rejected(f"for {self._alone_s():.0f} s nobody could say whether another instance is running")

    def state(self) -> dict[str, object]:
        """Return how things stand."""
        word = "lost" if self.superseded else "held" if self.epoch and self._reachable else "unknown"
        return {"state": word, "epoch": self.epoch, "successor": self.successor, "silent_s": round(self._alone_s(), 1)}

    def _lose_touch(self, error: Exception) -> None:
        if self._reachable:
            alone_s = self._alone_s()
            self._still_s = alone_s if alone_s > STILL_S else 0.0
            log.warning("nobody can say whether another instance is running", reason=str(error))
        self._reachable = False

    def _alone_s(self) -> float:
        return 0.0 if self._heard_at is None else asyncio.get_running_loop().time() - self._heard_at

    async def _note(self, held: Holder) -> None:
        if held.epoch < self.epoch or (held.epoch == self.epoch and held.owner != self._owner):
            # numbers only rise: the table was emptied since, or exchanged for an older copy
            held = await self._tier.call(self._right.retake, self.epoch)
            if held.owner == self._owner:
                self.epoch = held.epoch
                log.warning("the right to send orders was lost with its table: taken again", epoch=held.epoch)
        if not held.epoch:
            # nobody is no successor: what was written a moment ago is not there, so this answer tells nothing
            if self._reachable:
                log.warning("nobody is named as having the right to send orders: asked again")
            self._reachable = False
            return
        if not self._reachable:
            log.info("the right to send orders can be asked about again")
        self._heard_at, self._reachable = asyncio.get_running_loop().time(), True
        if held.epoch > self.epoch or held.owner != self._owner:
            self.successor = f"{held.owner}, epoch {held.epoch}"
            log.critical("another instance has taken over: this one sends no orders any more", successor=self.successor,
                         way_out="stop this one, or restart it to take the right back")  # fmt: skip

"""The topics of the feed, and the connections that they share."""

from __future__ import annotations

import asyncio
import functools
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from market.silence import ASK_SHARE, Silence
from market.subscription import Subscription

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from domain.candle import Series
    from domain.kline_frames import KlineProtocol
    from market.connection import Connection


@dataclass(slots=True)
class Stream:
    """One topic: what it has told, and what is known of its silence.

    ``pushes`` counts frames, of which ``pushes_seen`` had come when the stream was looked at last. ``price_time`` and
    ``close`` are the newest price, ``forming`` the start of the newest bar. ``horizon`` is the latest time that is
    believed, ``claimed`` the second in which a later one was claimed last. ``unconfirmed`` is a bar seen forming whose
    predecessors are missing, and since when; ``overdue`` the first missing bar whose time is over, when it is asked for
    next, and the pause after that.
    """

    series: Series
    symbol: str
    topic: str
    shard: Shard
    silence: Silence = field(default_factory=Silence)
    pushes: int = 0
    pushes_seen: int = 0
    price_time: int = 0
    horizon: int = 0
    claimed: int = -1
    close: float = 0.0
    forming: int = 0
    share: float = ASK_SHARE[0]
    unconfirmed: tuple[int, float] | None = None
    overdue: tuple[int, float, float] | None = None

    @property
    def told(self) -> tuple[int, float] | None:
        """Start and close of the newest bar that the stream has told."""
        return (self.forming, self.close) if self.pushes else None


class Shard:
    """The topics that share a connection, and what is said there."""

    def __init__(self, topics: list[str], take: Callable[[Shard, bytes], None], protocol: KlineProtocol) -> None:
        self.subscription, self._protocol = Subscription(topics, protocol), protocol
        self.connection: Connection
        self.asked = 0.0
        # for each frame: a method of its own around it would cost a tenth of decoding it
        self.take = functools.partial(take, self)
        self._numbers = itertools.count(1)

    def opened(self) -> Sequence[bytes]:
        """Ask for every topic."""
        self.asked = asyncio.get_running_loop().time()
        return self.subscription.opened()

    def unanswered(self, now: float, longest: float) -> bool:
        """Return whether the exchange has owed an answer to a subscription for too long."""
        return self.connection.open and not self.subscription.answered and now - self.asked > longest

    def closed(self) -> None:
        """Forget what was agreed."""
        self.subscription.closed()

    def heartbeat(self) -> bytes:
        """Return a ping."""
        return self._protocol.ping(f"ping-{next(self._numbers)}")


def split_topics(topics: list[str], *, count_max: int, chars_max: int) -> list[list[str]]:
    """Split topics into groups that respect both limits."""
    groups: list[list[str]] = []
    chars = 0
    for topic in topics:
        if not groups or len(groups[-1]) >= count_max or chars + len(topic) > chars_max:
            groups.append([])
            chars = 0
        groups[-1].append(topic)
        chars += len(topic)
    return groups

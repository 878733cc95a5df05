"""What the public frames of an exchange say about bars, whichever exchange it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import msgspec

from domain.candle import Bar

if TYPE_CHECKING:
    from collections.abc import Sequence


class Push(msgspec.Struct, gc=False):
    """What is looked at of a bar in every frame: of one that still forms, the rest is nobody's business."""

    start: int
    close: float
    confirm: bool
    timestamp: int = 0


class Pushes(msgspec.Struct, gc=False):
    """A kline frame, as far as it is looked at."""

    topic: str
    items: list[Push] = msgspec.field(name="data")


class KlineItem(msgspec.Struct, gc=False):
    """One bar of a kline frame; ``confirm`` says whether it is closed, ``timestamp`` is the last trade's."""

    start: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    turnover: float
    confirm: bool
    timestamp: int = 0

    def bar(self) -> Bar:
        """Return the bar."""
        return Bar(self.start, self.open, self.high, self.low, self.close, self.volume, self.turnover)


class Klines(msgspec.Struct):
    """Bars of one topic; a frame at a bar's end carries the closed bar and the next."""

    topic: str
    items: list[KlineItem] = msgspec.field(name="data")


@dataclass(frozen=True, slots=True)
class Ack:
    """An answer to a request of ours; ``request`` is the number we gave it."""

    operation: str
    success: bool
    message: str
    request: str


@dataclass(frozen=True, slots=True)
class Other:
    """A well-formed frame that we have no use for."""

    topic: str


Message = Klines | Ack | Other


class KlineProtocol(Protocol):
    """How an exchange streams bars; a module of functions will do. Nothing here does I/O."""

    def pushes(self, frame: bytes, /) -> Pushes:
        """Return what is looked at of a kline frame, the most frequent kind; raise ValueError for any other."""
        ...

    def decode(self, frame: bytes) -> Message:
        """Return what a frame says. Raises BadData when it cannot be read."""
        ...

    def kline_topic(self, venue_id: str, timeframe: str) -> str:
        """Return the topic of a symbol's bars."""
        ...

    def subscription(self, topics: Sequence[str], number: str) -> bytes:
        """Return the request that subscribes to topics."""
        ...

    def unsubscription(self, topics: Sequence[str], number: str) -> bytes:
        """Return the request that ends the subscription to topics."""
        ...

    def blamed(self, message: str) -> list[str]:
        """Return the words of a refusal that may be topics."""
        ...

    def already(self, message: str) -> bool:
        """Return whether a refusal only says that the topic is being sent."""
        ...

    def ping(self, number: str) -> bytes:
        """Return the heartbeat that keeps a connection open."""
        ...

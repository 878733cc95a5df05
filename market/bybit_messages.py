"""Bybit v5 public frames, decoded without any I/O."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from domain.candle import Bar
from domain.errors import BadData

INTERVALS = {
    "1m": "1", "3m": "3", "5m": "5", "15m": "15", "30m": "30", "1h": "60", "2h": "120", "4h": "240", "6h": "360",
    "12h": "720", "1d": "D",
}  # fmt: skip


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


class _Envelope(msgspec.Struct):
    topic: str = ""
    op: str = ""
    success: bool | None = None
    ret_msg: str = ""
    req_id: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


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

pushes = msgspec.json.Decoder(Pushes, strict=False).decode
"""Returns what is looked at of a kline frame, the most frequent kind; raises msgspec.MsgspecError for any other."""

_klines = msgspec.json.Decoder(Klines, strict=False).decode
_envelopes = msgspec.json.Decoder(_Envelope)


def decode(frame: bytes) -> Message:
    """Return what a frame says.

    Raises:
        BadData: when the frame is no JSON, or not of the form that its topic has.
    """
    try:
        try:
            return _klines(frame)
        except msgspec.ValidationError:
            envelope = _envelopes.decode(frame)
            if envelope.topic.startswith("kline."):
                raise
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadData(f"frame {frame[:80]!r}: {error}") from error
    if envelope.success is not None or envelope.op:
        return Ack(envelope.op, envelope.success is not False, envelope.ret_msg, envelope.req_id)
    return Other(envelope.topic)


def kline_topic(venue_id: str, timeframe: str) -> str:
    """Return the topic of a symbol's bars."""
    return f"kline.{INTERVALS[timeframe]}.{venue_id}"


def subscription(topics: list[str], number: str) -> bytes:
    """Return the request that subscribes to topics."""
    return msgspec.json.encode({"req_id": number, "op": "subscribe", "args": topics})


def unsubscription(topics: list[str], number: str) -> bytes:
    """Return the request that ends the subscription to topics."""
    return msgspec.json.encode({"req_id": number, "op": "unsubscribe", "args": topics})


def ping(number: str) -> bytes:
    """Return the heartbeat that Bybit wants every 20 s."""
    return msgspec.json.encode({"req_id": number, "op": "ping"})


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

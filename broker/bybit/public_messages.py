"""Bybit v5 public frames, decoded without any I/O."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from domain.errors import BadData
from domain.kline_frames import Ack, Klines, Message, Other, Pushes

if TYPE_CHECKING:
    from collections.abc import Sequence

INTERVALS = {
    "1m": "1", "3m": "3", "5m": "5", "15m": "15", "30m": "30", "1h": "60", "2h": "120", "4h": "240", "6h": "360",
    "12h": "720", "1d": "D",
}  # fmt: skip

NAME = re.compile(r"[\w.\-]+")
ALREADY = "already subscribed"
"""Not a refusal: the topic is being sent (``error:already subscribed,topic:...``)."""


class _Envelope(msgspec.Struct):
    topic: str = ""
    op: str = ""
    success: bool | None = None
    ret_msg: str = ""
    req_id: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


pushes = msgspec.json.Decoder(Pushes, strict=False).decode
"""Returns what is looked at of a kline frame, the most frequent kind; raises ValueError for any other."""

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


def subscription(topics: Sequence[str], number: str) -> bytes:
    """Return the request that subscribes to topics."""
    return msgspec.json.encode({"req_id": number, "op": "subscribe", "args": topics})


def unsubscription(topics: Sequence[str], number: str) -> bytes:
    """Return the request that ends the subscription to topics."""
    return msgspec.json.encode({"req_id": number, "op": "unsubscribe", "args": topics})


def ping(number: str) -> bytes:
    """Return the heartbeat that Bybit wants every 20 s."""
    return msgspec.json.encode({"req_id": number, "op": "ping"})


def blamed(message: str) -> list[str]:
    """Return the words of a refusal that may be topics (``error:handler not found,topic:...``)."""
    return list(dict.fromkeys(NAME.findall(message)))


def already(message: str) -> bool:
    """Return whether a refusal only says that the topic is being sent."""
    return ALREADY in message

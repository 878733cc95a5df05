"""The practice exchange's market clock: runs at any speed, goes on while the process is down."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from sandbox.store import SandboxStore


def wire_ms() -> int:
    """Return the host's time in UTC milliseconds; request signatures and frame times use it."""
    return time.time_ns() // 1_000_000


class _Anchor(msgspec.Struct):
    wire: int
    market: int
    speed: float


class MarketClock:
    """Maps the host's time to market time: ``market = anchor + elapsed * speed``."""

    def __init__(self, anchor: _Anchor) -> None:
        self._anchor = anchor

    @classmethod
    def resume(cls, store: SandboxStore, first: int, speed: float, *, wire: bool = False) -> MarketClock:
        """Go on from the stored anchor, or begin at market time ``first``; a new speed counts from now.

        With ``wire`` market time is the host's time, whatever was stored.
        """
        body = store.get("clock")
        now = wire_ms()
        if wire:
            clock = cls(_Anchor(now, now, 1.0))
        elif body is None:
            clock = cls(_Anchor(now, first, speed))
        else:
            clock = cls(msgspec.json.decode(body, type=_Anchor))
            if clock._anchor.speed != speed:
                clock = cls(_Anchor(now, clock.now(), speed))
        store.put("clock", msgspec.json.encode(clock._anchor).decode())
        return clock

    def now(self) -> int:
        """Return the market time in UTC milliseconds."""
        return self._anchor.market + int((wire_ms() - self._anchor.wire) * self._anchor.speed)

    def wait_s(self, market: int) -> float:
        """Return the host seconds until a market time."""
        return max(0.0, (market - self.now()) / self._anchor.speed / 1000)

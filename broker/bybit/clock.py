"""How far this host's clock is off the exchange's, as its answers and its refusals tell.

Source: Bybit v5 documentation, "Integration Guidance": a request's timestamp has to be later than the server's time
less the receive window, and earlier than that time plus a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger(__name__)

NEWS_MS = 500
"""What a clock is off by less than that is neither told nor made up for on an answer's word alone."""

AHEAD_MAX_MS, BEHIND_MAX_MS = 1_000, 5_000
"""A clock that is off by more would have every signed request refused."""

ROUND_TRIP_MAX_MS = 2_000
"""An answer that took longer says too little about the time."""


class HostClock:
    """Knows how far the host's clock is ahead of the exchange's; ``ahead_ms`` is what is made up for.

    ``moved`` is called when that changes. A refusal is believed at once: the next attempt depends on it. What answers
    say beside their result is believed when two of them agree, one after the other.
    """

    def __init__(self, moved: Callable[[int], None] = lambda _: None) -> None:
        self.ahead_ms = 0
        self._moved = moved
        self._suspected: int | None = None

    def answered(self, time: Any, before: int, after: int) -> None:
        """Take the time (UTC ms) of an answer to a request that was sent and answered then, by the host's clock."""
        took = after - before
        if isinstance(time, bool) or not isinstance(time, int) or time <= 0 or not 0 <= took <= ROUND_TRIP_MAX_MS:
            return
        ahead, doubt = (before + after) // 2 - time, NEWS_MS + took // 2
        if abs(ahead - self.ahead_ms) <= doubt:
            self._suspected = None
        elif self._suspected is None or abs(ahead - self._suspected) > doubt:
            self._suspected = ahead
        else:
            self._move(ahead)

    def refused(self, time: int, before: int, after: int) -> None:
        """Take the exchange's time (UTC ms) from a refusal for the time in a request."""
        self._move((before + after) // 2 - time)

    def text(self) -> str:
        """Return how the clock stands, in words for the operator."""
        if abs(self.ahead_ms) <= NEWS_MS:
            return (
                "requests reach the exchange too late, though the clock of this host is right: the connection is slow"
            )
        return f"the clock of this host is {self.ahead_ms / 1000:+.1f} s off the exchange's"

    def obstacle(self) -> str:
        """Return what the operator has to know, empty while the clock is right enough for signed requests."""
        if -BEHIND_MAX_MS <= self.ahead_ms <= AHEAD_MAX_MS:
            return ""
        return f"{self.text()}: set it (requests are signed with the exchange's time meanwhile)"

    def _move(self, ahead: int) -> None:
        known, self.ahead_ms, self._suspected = self.ahead_ms, ahead, None
        self._moved(ahead)
        if abs(ahead - known) > NEWS_MS:
            log.warning(
                "requests are signed with the exchange's time", reason=self.text(), hint="synchronise the clock"
            )

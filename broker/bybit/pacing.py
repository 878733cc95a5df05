"""Keeps every path below its own limit of requests a second; exits go first when there is little left.

Source: Bybit v5 documentation, "Rate Limit Rules": a rolling second, counted by path and account.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import deque

from domain.errors import Unavailable

ORDERS, READS = 10, 50
PER_SECOND = {
    "v5/order/create": ORDERS, "v5/order/amend": ORDERS, "v5/order/cancel": ORDERS, "v5/order/cancel-all": ORDERS,
    "v5/position/set-leverage": ORDERS, "v5/position/trading-stop": ORDERS, "v5/position/switch-mode": ORDERS,
    "v5/order/realtime": READS, "v5/order/history": READS, "v5/execution/list": READS, "v5/position/list": READS,
    "v5/position/closed-pnl": READS, "v5/account/wallet-balance": READS, "v5/account/info": READS,
    "v5/account/transaction-log": 25, "v5/user/query-api": 10, "v5/asset/coin/query-info": 5,
}  # fmt: skip
"""Requests a second that an account may send to each path for linear contracts."""

OTHER_PATHS = 5
LIMIT_MAX = 1_000
"""What an answer says about a limit is believed up to here."""

WINDOW_S = 1.1
"""A second, and what requests may be late by on their way, which pushes them together."""

EXITS_ONLY = 2
"""So many of a second's requests are kept for exits, where exits and entries share a path."""

PATIENCE_S = 60.0
SHORTEST_S = 0.005


class _Lane:
    """One path: when its newest requests went out, and who waits for the next."""

    def __init__(self, limit: int, kept: int) -> None:
        self.limit, self._kept = limit, kept
        self._sent: deque[float] = deque()
        self._blocked_until = 0.0
        self.waiting: list[tuple[bool, int]] = []

    def wait_s(self, now: float, *, urgent: bool) -> float:
        """Return for how long the next request has to wait."""
        while self._sent and self._sent[0] <= now - WINDOW_S:
            self._sent.popleft()
        allowed = max(1, self.limit - (0 if urgent else self._kept))
        wait = self._blocked_until - now
        if len(self._sent) >= allowed:
            wait = max(wait, self._sent[len(self._sent) - allowed] + WINDOW_S - now)
        return max(0.0, wait)

    def note(self, now: float) -> None:
        self._sent.append(now)

    def block(self, now: float, seconds: float) -> None:
        self._blocked_until = max(self._blocked_until, now + seconds)

    def hear(self, now: float, limit: int, left: int) -> None:
        """Take the exchange's own count: another program may use the same account, or have a higher limit."""
        self.limit = limit
        for _ in range(limit - left - len(self._sent)):
            self._sent.append(now)


class Pacing:
    """Waits until a request may go out; everything of one account in one process shares it."""

    def __init__(self, limits: dict[str, int] | None = None) -> None:
        self._limits = PER_SECOND if limits is None else limits
        self._lanes: dict[str, _Lane] = {}
        self._numbers = itertools.count()
        self._jitter = random.Random()  # noqa: S311  spreads requests, guards nothing

    async def take(self, path: str, *, urgent: bool = False) -> None:
        """Wait for a path; ``urgent`` requests overtake the others.

        Raises:
            Unavailable: when that would take longer than anybody should wait.
        """
        loop, lane = asyncio.get_running_loop(), self._lane(path)
        ticket = (not urgent, next(self._numbers))
        deadline = loop.time() + PATIENCE_S
        lane.waiting.append(ticket)
        try:
            while True:
                now = loop.time()
                wait = lane.wait_s(now, urgent=urgent)
                if not wait and ticket == min(lane.waiting):
                    lane.note(now)
                    return
                wait = max(wait, SHORTEST_S)
                if now + wait > deadline:
                    raise Unavailable(f"{path}: its rate limit leaves no room")
                await asyncio.sleep(wait * self._jitter.uniform(1.0, 1.1))
        finally:
            lane.waiting.remove(ticket)

    def hear(self, path: str, limit: int, left: int) -> None:
        """Take what an answer's headers say about a path: requests a second, and how many of them are left."""
        if 0 <= left <= limit <= LIMIT_MAX:
            self._lane(path).hear(asyncio.get_running_loop().time(), max(1, limit), left)

    def block(self, path: str, seconds: float) -> None:
        """Send nothing to a path for so long: the exchange said that its limit is used up."""
        self._lane(path).block(asyncio.get_running_loop().time(), seconds)

    def _lane(self, path: str) -> _Lane:
        if path not in self._lanes:
            kept = EXITS_ONLY if path == "v5/order/create" else 0
            self._lanes[path] = _Lane(self._limits.get(path, OTHER_PATHS), kept)
        return self._lanes[path]

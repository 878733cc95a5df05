"""How much may be asked of the practice exchange, by Bybit's rules, in the host's time.

Source: docs, rate-limit (linear contracts of a unified account).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from domain.errors import Rejected, RevenantError

if TYPE_CHECKING:
    from sandbox.exchange import Terms

SECOND_MS = 1000
PER_SECOND = {
    "/v5/order/create": 10, "/v5/order/amend": 10, "/v5/order/cancel": 10, "/v5/order/cancel-all": 10,
    "/v5/order/create-batch": 10, "/v5/order/amend-batch": 10, "/v5/order/cancel-batch": 10,
    "/v5/order/disconnected-cancel-all": 5, "/v5/order/pre-check": 10, "/v5/order/realtime": 50,
    "/v5/order/history": 50, "/v5/execution/list": 50, "/v5/position/list": 50, "/v5/position/closed-pnl": 50,
    "/v5/position/set-leverage": 10, "/v5/position/switch-mode": 10, "/v5/position/trading-stop": 10,
    "/v5/position/set-tpsl-mode": 10, "/v5/position/confirm-pending-mmr": 10, "/v5/account/wallet-balance": 50,
    "/v5/account/transaction-log": 25, "/v5/account/fee-rate": 5, "/v5/account/info": 50,
    "/v5/account/query-dcp-info": 5, "/v5/account/set-margin-mode": 5, "/v5/asset/coin-greeks": 50,
    "/v5/asset/coin/query-info": 5, "/v5/user/query-api": 10,
}  # fmt: skip
"""Requests to a path that an account may make in any second; set-tpsl-mode is not in the table, and taken as the others
of its kind. Public market data only counts against the address."""

REQUESTS, REQUESTS_MS = 600, 5_000
BAN_S = 600.0
CONNECTIONS, CONNECTIONS_MS = 500, 300_000
REAL_SPEED = 60.0


class Banned(RevenantError):
    """The address has asked too often, and hears nothing but HTTP 403 for a while."""


class Spent(NamedTuple):
    """What a request leaves: how many were granted, the limit, how many are left, when it is free again (UTC ms)."""

    granted: int
    limit: int
    left: int
    reset: int

    def headers(self) -> dict[str, str]:
        """Return the headers that Bybit shows it in."""
        return {
            "X-Bapi-Limit": str(self.limit), "X-Bapi-Limit-Status": str(self.left),
            "X-Bapi-Limit-Reset-Timestamp": str(self.reset),
        }  # fmt: skip


class Window:
    """At most ``limit`` events in any ``span_ms``; those that were refused do not count."""

    def __init__(self, limit: int, span_ms: int) -> None:
        self.limit, self._span_ms = limit, span_ms
        self._times: deque[int] = deque()

    def take(self, wanted: int, now: int) -> Spent:
        """Take as many of ``wanted`` as there are left."""
        while self._times and self._times[0] <= now - self._span_ms:
            self._times.popleft()
        granted = min(wanted, self.limit - len(self._times))
        self._times.extend([now] * granted)
        short = granted < wanted and self._times
        return Spent(
            granted, self.limit, self.limit - len(self._times), self._times[0] + self._span_ms if short else now
        )


class Limits:
    """All limits of one served exchange; everybody comes from one address, and there is one account.

    They are Bybit's up to market speed 60, and grow with the speed beyond it: what asks once for each bar asks as many
    times as often as on the real exchange, and at sixty times the real speed that already takes more discipline than
    there. In step mode, where the market waits for the bot, and with ``Terms.limits`` off there are none.
    """

    def __init__(self, terms: Terms) -> None:
        self._open = terms.step or not terms.limits
        self._scale = max(1.0, terms.speed / REAL_SPEED)
        self._by_path: dict[str, Window] = {}
        self._address = Window(self._scaled(REQUESTS), REQUESTS_MS)
        self._connections = Window(self._scaled(CONNECTIONS), CONNECTIONS_MS)
        self._banned_until = 0

    def admit(self, now: int, ban_s: float = BAN_S) -> None:
        """Count a request against the address.

        Raises:
            Banned: when there were more than 600 in five seconds, and for ``ban_s`` (host's seconds) after that.
        """
        if self._open:
            return
        if now >= self._banned_until and not self._address.take(1, now).granted:
            self._banned_until = now + int(ban_s * 1000)
        if now < self._banned_until:
            raise Banned("403, access too frequent")

    def connect(self, now: int) -> None:
        """Count a WebSocket connection; raises Banned beyond 500 in five minutes."""
        if not self._open and not self._connections.take(1, now).granted:
            raise Banned("403, access too frequent")

    def spend(self, path: str, now: int, wanted: int = 1) -> Spent | None:
        """Take ``wanted`` from what the account may ask of a path; None where nothing limits it."""
        per_second = PER_SECOND.get(path)
        if per_second is None:
            return None
        if self._open:
            return Spent(wanted, per_second, per_second, now)
        window = self._by_path.get(path)
        if window is None:
            window = self._by_path[path] = Window(self._scaled(per_second), SECOND_MS)
        return window.take(wanted, now)

    def _scaled(self, number: int) -> int:
        return int(number * self._scale)


def too_fast() -> Rejected:
    """Return the refusal of a request beyond its limit."""
    return Rejected("Too many visits!", 10006)

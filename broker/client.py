"""Bybit's REST interface through ccxt: signing, rate limits, and errors in our own terms."""

from __future__ import annotations

import re
from collections import Counter
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ccxt.pro
import tenacity
from ccxt.base.errors import (
    BaseError,
    DDoSProtection,
    ExchangeError,
    PermissionDenied,
    RateLimitExceeded,
)

from domain.errors import OutcomeUnknown, Rejected, RevenantError, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

KINDS: dict[type[RevenantError], str] = {Rejected: "rejected", OutcomeUnknown: "unknown"}
"""What failures are counted as; all others as unavailable."""

GET_ATTEMPTS = 4
REQUEST_TIMEOUT_MS = 10_000
RECV_WINDOW_MS = 5_000

# what a retCode says about a request that changes something; all others are refusals for good
TOO_FAST = 10006
NOT_ACCEPTED = {10002, 10018, 10429, 429}
UNKNOWN = {10000, 10016, 10019, 110079, 170007}
ALREADY_THERE = {110072, 170141}

EXITS_RESERVE = 0.1

RAISING = {"v5/order/create", "v5/position/set-leverage"}
"""Changing requests that may raise the risk."""

EXECUTIONS = ("Trade", "AdlTrade", "BustTrade", "Settle", "Delivery", "Funding")
"""Bybit's kinds of executions that change a position or its money."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an exchange listens and who we are there."""

    rest: str
    stream: str
    key: str = ""
    secret: str = ""
    loopback: bool = False


class _Stamped(ccxt.pro.bybit):  # type: ignore[misc]
    """Signs a request with the time that was set for it, instead of the time of its sending."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.stamp: ContextVar[int] = ContextVar("stamp", default=0)
        super().__init__(config)

    def nonce(self) -> int:
        """Return the milliseconds that go into the signature."""
        return self.stamp.get() or int(super().nonce())

    async def throttle(self, cost: float | None = None) -> None:
        """Wait for what an account may ask; a request that costs nothing of that goes out at once."""
        if cost:
            await super().throttle(cost)

    def calculate_rate_limiter_cost(self, api: str | list[str], *request: Any) -> float:
        """Return what a request costs of the account's limits.

        Public ones only count against the host's, which ``pace`` keeps: ccxt would send sixteen a second of the
        hundred and twenty that Bybit allows, and a start asks for every series.
        """
        return 0.0 if "public" in api else float(super().calculate_rate_limiter_cost(api, *request))


class BybitClient:
    """Sends requests; reading ones are repeated a few times, changing ones never.

    ``guard``, when set, is asked before every changing request whether it may go out. The time that the request is
    signed with is taken before: one that was held up in between, longer than the exchange's window, is refused there.

    ``counts`` says how many requests were sent, repeated, and failed by kind.

    ``pace``, when set, is waited for before every request: it shares the host's limit with everybody on this machine.
    Requests that only take risk away may use all of it; the others leave them a tenth.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.exchange = _Stamped(_settings(endpoint))
        self.guard: Callable[..., Awaitable[None]] | None = None
        self.pace: Callable[..., Awaitable[None]] | None = None
        self.counts: Counter[str] = Counter(sent=0, repeated=0, unavailable=0, rejected=0, unknown=0)

    async def close(self) -> None:
        """Close all connections."""
        await self.exchange.close()

    async def get(self, path: str, params: dict[str, Any]) -> dict[str, Any]:
        """Send a reading request and return its ``result``.

        Raises:
            Unavailable: when it was not answered in a few attempts.
            Rejected: when it was refused.
        """
        async for attempt in tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(GET_ATTEMPTS),
            wait=_pause_s,
            retry=tenacity.retry_if_exception_type(Unavailable),
            reraise=True,
        ):
            with attempt:
                self.counts["repeated"] += attempt.retry_state.attempt_number > 1
                if self.pace is not None:
                    await self.pace(reserve=EXITS_RESERVE)
                return await self._send("GET", path, params)
        raise Unavailable(path)

    async def post(self, path: str, params: dict[str, Any]) -> dict[str, Any]:
        """Send a changing request once and return its ``result``.

        Raises:
            Rejected: when it was refused for good.
            Unavailable: when it was certainly not accepted but may be repeated.
            OutcomeUnknown: when it may or may not have been accepted.
        """
        leaving = bool(params.get("reduceOnly")) or path not in RAISING
        if self.pace is not None:
            await self.pace(reserve=0.0 if leaving else EXITS_RESERVE)
        token = self.exchange.stamp.set(int(self.exchange.milliseconds()))
        try:
            if self.guard is not None:
                await self.guard(leaving=leaving)
            return await self._send("POST", path, params)
        except OutcomeUnknown:
            raise
        except Unavailable as error:
            if isinstance(error, NotAccepted):
                raise
            raise OutcomeUnknown(str(error)) from error
        finally:
            self.exchange.stamp.reset(token)

    async def pages(self, path: str, params: dict[str, Any]) -> AsyncIterator[list[dict[str, Any]]]:
        """Yield the ``list`` of every page, following the cursor to its end."""
        cursor = ""
        while True:
            result = await self.get(path, {**params, "cursor": cursor} if cursor else params)
            yield page_of(path, result)
            cursor = str(result.get("nextPageCursor") or "")
            if not cursor:
                return

    async def _send(self, method: str, path: str, params: dict[str, Any]) -> dict[str, Any]:
        self.counts["sent"] += 1
        api = "public" if path.startswith(("v5/market/", "v5/system/")) else "private"
        # ccxt's generated method of that name knows what the request costs of the rate limit
        call = getattr(self.exchange, f"{api}_{method.lower()}_{re.sub('[/-]', '_', path)}")
        try:
            body = await call(params)
        except BaseError as error:
            failed = _translated(error, path)
            self.counts[KINDS.get(type(failed), "unavailable")] += 1
            raise failed from error
        if not isinstance(body, dict) or not isinstance(body.get("result"), dict):
            raise Unavailable(f"{path}: unreadable answer {str(body)[:120]}")
        result: dict[str, Any] = body["result"]
        return result


def page_of(path: str, result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of an answer.

    Raises:
        Unavailable: when it holds no list of rows: such an answer says nothing, least of all that there is nothing.
    """
    rows = result.get("list")
    if rows is None:
        rows = []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Unavailable(f"{path}: unreadable answer {str(result)[:120]}")
    return rows


class NotAccepted(Unavailable):
    """The exchange turned a request away before looking at it; the same one may be sent again."""


class TooFast(NotAccepted):
    """More requests than this second allows."""


def _pause_s(state: tenacity.RetryCallState) -> float:
    """Return how long to wait before a reading request is repeated; the exchange counts by the second."""
    shortly = tenacity.wait_random_exponential(multiplier=0.1, max=2)(state)
    failed = state.outcome is not None and isinstance(state.outcome.exception(), TooFast)
    return shortly + 1.0 if failed else shortly


def _settings(endpoint: Endpoint) -> dict[str, Any]:
    http, stream = endpoint.rest, endpoint.stream
    names = ("spot", "futures", "v2", "public", "private")
    sockets = {
        "public": {kind: f"{stream}/v5/public/{kind}" for kind in ("spot", "inverse", "option", "linear")},
        "private": {
            "spot": {"unified": f"{stream}/v5/private", "nonUnified": f"{stream}/spot/private/v3"},
            "contract": f"{stream}/v5/private",
            "usdc": f"{stream}/trade/option/usdc/private/v1",
            "trade": f"{stream}/v5/trade",
        },
    }
    return {
        "apiKey": endpoint.key, "secret": endpoint.secret, "timeout": REQUEST_TIMEOUT_MS,
        "urls": {"api": dict.fromkeys(names, http) | {"ws": sockets}},
        # our own practice exchange needs no pacing; Bybit allows 600 requests in 5 s per address
        "enableRateLimit": not endpoint.loopback, "rateLimit": 12,
        "options": {
            "defaultType": "swap", "fetchMarkets": {"types": ["linear"]}, "recvWindow": RECV_WINDOW_MS,
            "adjustForTimeDifference": False,
            # by default ccxt passes funding payments over in silence
            "watchMyTrades": {"execType": list(EXECUTIONS)},
        },
    }  # fmt: skip


def _translated(error: BaseError, path: str) -> RevenantError:
    text = str(error)
    found = re.search(r'"retCode":\s*(\d+)', text)
    said = re.search(r'"retMsg":\s*"([^"]*)"', text)
    message = f"{path}: {said[1] if said else text[:200]}"
    if found:
        code = int(found[1])
        if code == TOO_FAST:
            return TooFast(message)
        if code in NOT_ACCEPTED:
            return NotAccepted(message)
        if code in UNKNOWN:
            return Unavailable(message)
        return Rejected(f"{message} (retCode {code})", code)
    if isinstance(error, (PermissionDenied, RateLimitExceeded, DDoSProtection)):
        return NotAccepted(message)
    if isinstance(error, ExchangeError):
        return Unavailable(message)
    return Unavailable(f"{path}: {type(error).__name__}")

"""Bybit's REST interface through ccxt: signing, pacing, and errors in our own terms."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
import ccxt.pro
import structlog
import tenacity
from ccxt.base.errors import BaseError

from broker.bybit.access import Access
from broker.bybit.clock import HostClock
from broker.bybit.errors import (
    CREATE,
    ID_USED,
    SET_LEVERAGE,
    Banned,
    ClockOff,
    Done,
    KeyRefused,
    NotAccepted,
    TooFast,
    failure,
)
from broker.bybit.messages import page_of
from broker.bybit.pacing import Pacing
from domain.answers import MEGABYTE, limited
from domain.errors import IdUsed, OutcomeUnknown, Rejected, RevenantError, Unavailable
from domain.reach import unreachable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

log = structlog.get_logger(__name__)

KINDS: dict[type[RevenantError], str] = {Rejected: "rejected", OutcomeUnknown: "unknown"}
"""What failures are counted as; all others as unavailable."""

GET_ATTEMPTS = POST_ATTEMPTS = 4
REQUEST_TIMEOUT_MS = 10_000
LEAVING_TIMEOUT_S = 3.0
"""Exits, stops and cancellations are answered within this, or their outcome is unknown and they are sent again."""

RECV_WINDOW_MS, RAISING_WINDOW_MS = 5_000, 2_000
"""So long after it was signed the exchange takes a request; what may raise the risk was allowed in that moment, and a
process that stood still since then must not send it when another one has taken over."""

RESET_S = 1.0
"""How long a path rests after it was asked too often, where the exchange does not say."""

RESET_LONGEST_S = 5.0
HEADER_DIGITS = 15
ANSWER_BYTES_MAX = 8 * MEGABYTE
"""The longest answer, all contracts with their rules, is an eighth of it."""

PAGES_MAX = 5_000
EXITS_RESERVE = 0.1

RAISING = {CREATE, SET_LEVERAGE}
"""Changing requests that may raise the risk."""

FORBIDDEN, UNAUTHORISED = 403, 401
PUBLIC = ("v5/market/", "v5/system/")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an exchange listens and who we are there.

    ``private`` are the hosts of the private stream, asked in turn; without any it is ``stream``. ``paced`` says whether
    requests keep to Bybit's limits per path: by default everywhere but on the loopback interface, where a practice
    exchange may run many times as fast as a real one.
    """

    rest: str
    stream: str
    key: str = ""
    secret: str = ""
    loopback: bool = False
    private: tuple[str, ...] = ()
    paced: bool | None = None


@dataclass(slots=True)
class _Heard:
    """What came back, beside the body: HTTP status, headers in lower case, and the body where it is no answer."""

    status: int = 0
    headers: dict[str, str] | None = None
    body: str = ""

    def number(self, name: str) -> int:
        """Return a header's number, -1 when there is none."""
        text = (self.headers or {}).get(name, "")
        return int(text) if text.isascii() and text.isdecimal() and len(text) <= HEADER_DIGITS else -1


Answer = limited(aiohttp.ClientResponse, ANSWER_BYTES_MAX)


class _Stamped(ccxt.pro.bybit):  # type: ignore[misc]
    """Signs a request with the time and window that were set for it, and lets whoever sent it see how it was answered.

    ``clock_ahead_ms`` is how far this host's clock is ahead of the exchange's, as far as that is known.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.stamp: ContextVar[int] = ContextVar("stamp", default=0)
        self.window: ContextVar[int] = ContextVar("window", default=RECV_WINDOW_MS)
        self.heard: ContextVar[_Heard | None] = ContextVar("heard", default=None)
        self.clock_ahead_ms = 0
        super().__init__(config)
        # asked with a key, and refused to one that may only trade
        self.has["fetchCurrencies"] = False

    def open(self, lazy: bool = False) -> None:  # noqa: FBT001, FBT002  as ccxt calls it
        """Open a session whose answers are of bounded size."""
        super().open(lazy)
        if self.session is not None:
            # ccxt makes the session itself
            self.session._response_class = Answer  # noqa: SLF001

    def nonce(self) -> int:
        """Return the milliseconds that go into the signature."""
        return (self.stamp.get() or int(super().nonce())) - self.clock_ahead_ms

    def sign(self, *request: Any, **more: Any) -> Any:
        """Sign a request; how long it holds is read from the options, and nothing else runs meanwhile."""
        self.options["recvWindow"] = self.window.get()
        return super().sign(*request, **more)

    def on_rest_response(
        self, code: int, reason: str, url: str, method: str, headers: dict[str, str], body: str, *request: Any
    ) -> str:
        """Keep what the answer to this task's request said beside its result."""
        if (heard := self.heard.get()) is not None:
            heard.status, heard.headers = code, {name.lower(): value for name, value in headers.items()}
            heard.body = body[:2_000] if isinstance(body, str) else ""
        return str(super().on_rest_response(code, reason, url, method, headers, body, *request))


class BybitClient:
    """Sends requests; reading ones are repeated a few times, changing ones only when they were turned away as too fast.

    ``guard``, when set, is asked before every changing request whether it may go out. The time that the request is
    signed with is taken before: one that was held up in between, longer than its window, is refused there, and asked
    about anew. The window is shorter for what may raise the risk.

    ``counts`` says how many requests were sent, repeated, and failed by kind.

    ``pace``, when set, is waited for before every request: it shares the host's limit with everybody on this machine.
    Requests that only take risk away may use all of it; the others leave them a tenth. Each path has a limit of its own
    beside that (``Pacing``). ``access`` knows whether the exchange lets us in at all.
    """

    def __init__(self, endpoint: Endpoint, access: Access | None = None) -> None:
        self.endpoint = endpoint
        self.exchange = _Stamped(_settings(endpoint))
        self.guard: Callable[..., Awaitable[None]] | None = None
        self.pace: Callable[..., Awaitable[None]] | None = None
        self.access = access or Access()
        self._clock = HostClock(self._clock_moved)
        self.counts: Counter[str] = Counter(sent=0, repeated=0, unavailable=0, rejected=0, unknown=0)
        paced = not endpoint.loopback if endpoint.paced is None else endpoint.paced
        self._pacing = Pacing() if paced else None
        self._jitter = random.Random()  # noqa: S311  spreads repeats, guards nothing

    async def close(self) -> None:
        """Close all connections."""
        await self.exchange.close()

    def clock_ms(self) -> int:
        """Return the exchange's time, as far as it is known (UTC ms)."""
        return int(self.exchange.milliseconds()) - self.exchange.clock_ahead_ms

    async def get(self, path: str, params: dict[str, Any]) -> dict[str, Any]:
        """Send a reading request and return its ``result``.

        Raises:
            Unavailable: when it was not answered in a few attempts.
            Rejected: when it was refused.
        """
        async for attempt in tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(GET_ATTEMPTS),
            wait=_pause_s,
            retry=tenacity.retry_if_exception(_worth_repeating),
            reraise=True,
        ):
            with attempt:
                self.counts["repeated"] += attempt.retry_state.attempt_number > 1
                await self._wait(path, leaving=False)
                return await self._send("GET", path, params)
        raise Unavailable(path)

    async def post(self, path: str, params: dict[str, Any]) -> dict[str, Any]:
        """Send a changing request and return its ``result``; nothing is in it when all was as wanted already.

        Raises:
            Rejected: when it was refused for good.
            Unavailable: when it was certainly not accepted but may be repeated.
            OutcomeUnknown: when it may or may not have been accepted.
        """
        leaving = bool(params.get("reduceOnly")) or path not in RAISING
        for attempt in range(1, POST_ATTEMPTS):
            try:
                return await self._change(path, params, leaving=leaving)
            except (TooFast, ClockOff) as error:
                # turned away unseen: the path now rests, or the time is known; only this one request is sent again
                self.counts["repeated"] += 1
                if self._pacing is None and isinstance(error, TooFast):
                    await asyncio.sleep(RESET_S * self._jitter.uniform(1.0, 1.0 + 0.2 * attempt))
        return await self._change(path, params, leaving=leaving)

    async def pages(self, path: str, params: dict[str, Any]) -> AsyncIterator[list[dict[str, Any]]]:
        """Yield the ``list`` of every page, following the cursor to its end.

        Raises:
            Unavailable: also when there is none: a cursor that comes again, or pages without number.
        """
        cursor, seen = "", set[str]()
        for _ in range(PAGES_MAX):
            result = await self.get(path, {**params, "cursor": cursor} if cursor else params)
            yield page_of(path, result)
            cursor = str(result.get("nextPageCursor") or "")
            if not cursor:
                return
            if cursor in seen:
                break
            seen.add(cursor)
        raise Unavailable(f"{path}: its pages have no end")

    async def _change(self, path: str, params: dict[str, Any], *, leaving: bool) -> dict[str, Any]:
        await self._wait(path, leaving=leaving)
        token = self.exchange.stamp.set(int(self.exchange.milliseconds()))
        window = self.exchange.window.set(RECV_WINDOW_MS if leaving else RAISING_WINDOW_MS)
        try:
            if self.guard is not None:
                await self.guard(leaving=leaving)
            async with asyncio.timeout(LEAVING_TIMEOUT_S if leaving else None):
                return await self._send("POST", path, params)
        except TimeoutError as error:
            raise OutcomeUnknown(f"{path}: no answer in {LEAVING_TIMEOUT_S:g} s") from error
        except Done:
            return {}
        except NotAccepted:
            raise
        except Unavailable as error:
            raise (IdUsed if error.code in ID_USED else OutcomeUnknown)(str(error)) from error
        finally:
            self.exchange.stamp.reset(token)
            self.exchange.window.reset(window)

    async def _wait(self, path: str, *, leaving: bool) -> None:
        """Wait until the limits let a request out; raise when the exchange has shut us out."""
        self.access.check(leaving=leaving)
        if self._pacing is not None and not path.startswith(PUBLIC):
            await self._pacing.take(path, urgent=leaving)
        if self.pace is not None:
            await self.pace(reserve=0.0 if leaving else EXITS_RESERVE)
        # the ban may have come while others were ahead of this request
        self.access.enter(leaving=leaving)

    async def _send(self, method: str, path: str, params: dict[str, Any]) -> dict[str, Any]:
        self.counts["sent"] += 1
        api = "public" if path.startswith(PUBLIC) else "private"
        call = getattr(self.exchange, f"{api}_{method.lower()}_{re.sub('[/-]', '_', path)}")
        heard = _Heard()
        token, before = self.exchange.heard.set(heard), int(self.exchange.milliseconds())
        try:
            body = await call(params)
        except Unavailable:
            self.counts["unavailable"] += 1
            raise
        except (BaseError, RecursionError) as error:
            failed = await self._failed(_translated(error, path, heard), path, heard)
            self.counts[_kind(failed)] += 1
            raise failed from error
        finally:
            self.exchange.heard.reset(token)
        if api == "private":
            self._hear(path, heard)
        if not isinstance(body, dict) or not isinstance(body.get("result"), dict):
            raise Unavailable(f"{path}: unreadable answer {str(body)[:120]}")
        self._clock.answered(body.get("time"), before, int(self.exchange.milliseconds()))
        self.access.answered()
        if api == "private":
            self.access.accepted(path)
            self.access.clock_off = ""
        result: dict[str, Any] = body["result"]
        return result

    async def _failed(self, failed: RevenantError, path: str, heard: _Heard) -> RevenantError:
        """Draw the conclusions from a failure that go beyond its request; return what to raise."""
        if heard.status == FORBIDDEN and not isinstance(failed, Rejected):
            return self.access.forbidden(heard.body)
        if isinstance(failed, KeyRefused):
            self.access.refused(path, failed)
        elif isinstance(failed, ClockOff):
            await self._compare_clocks(str(failed))
        elif isinstance(failed, TooFast) and self._pacing is not None:
            self._pacing.block(path, self._reset_s(heard))
        return failed

    def _hear(self, path: str, heard: _Heard) -> None:
        limit, left = heard.number("x-bapi-limit"), heard.number("x-bapi-limit-status")
        if self._pacing is not None and limit > 0 and left >= 0:
            self._pacing.hear(path, limit, left)

    def _reset_s(self, heard: _Heard) -> float:
        """Return after how long a path may be asked again."""
        reset = heard.number("x-bapi-limit-reset-timestamp")
        seconds = (reset - self.clock_ms()) / 1000
        return min(RESET_LONGEST_S, seconds) if reset > 0 and seconds > 0 else RESET_S

    async def _compare_clocks(self, said: str) -> None:
        """Learn how far our clock is off, so that requests are signed with the exchange's time from now on."""
        before = int(self.exchange.milliseconds())
        named = re.search(r"server_timestamp\[(\d{13})\]", said)
        there = int(named[1]) if named else await self._server_ms()
        if there is not None:
            self._clock.refused(there, before, int(self.exchange.milliseconds()))
            self.access.clock_off = self._clock.text()

    def _clock_moved(self, ahead_ms: int) -> None:
        self.exchange.clock_ahead_ms = ahead_ms
        self.access.clock_note = self._clock.obstacle()

    async def _server_ms(self) -> int | None:
        try:
            result = await self._send("GET", "v5/market/time", {})
            return int(str(result["timeNano"])) // 1_000_000
        except (RevenantError, KeyError, ValueError):
            return None


def _worth_repeating(error: BaseException) -> bool:
    return isinstance(error, Unavailable) and not isinstance(error, Banned)


def _pause_s(state: tenacity.RetryCallState) -> float:
    """Return how long to wait before a reading request is repeated; the exchange counts by the second."""
    shortly = tenacity.wait_random_exponential(multiplier=0.1, max=2)(state)
    failed = state.outcome is not None and isinstance(state.outcome.exception(), TooFast)
    return shortly + RESET_S if failed else shortly


def _kind(failed: RevenantError) -> str:
    return next((name for kind, name in KINDS.items() if isinstance(failed, kind)), "unavailable")


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
        # limits are kept here, path by path: ccxt knows one for all of them
        "enableRateLimit": False,
        "options": {
            "defaultType": "swap", "fetchMarkets": {"types": ["linear"]}, "recvWindow": RECV_WINDOW_MS,
            "adjustForTimeDifference": False,
        },
    }  # fmt: skip


def _translated(error: Exception, path: str, heard: _Heard | None = None) -> RevenantError:
    text = str(error)
    code = re.search(r'"retCode":\s*(-?\d+)', text)
    message = re.search(r'"retMsg":\s*"([^"]*)"', text)
    if code:
        return failure(int(code[1]), message[1] if message else text[:200], path)
    status = heard.status if heard is not None else 0
    if status in {FORBIDDEN, 418, 429}:
        return NotAccepted(f"{path}: HTTP {status}")
    if status == UNAUTHORISED:
        return failure(UNAUTHORISED, "HTTP 401", path)
    unreached = "" if status else unreachable(error)
    return Unavailable(unreached or f"{path}: {f'HTTP {status} ' if status else ''}{type(error).__name__}")

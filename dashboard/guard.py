"""Stands before every request: who it says it goes to, how often, how large; and what browsers are told in return."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse

from dashboard.access import Allowance, address_of
from dashboard.connections import RESERVED
from dashboard.owner import is_owner

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_MAX = 64 * 1024
WINDOW_S = 10.0
PROBES = frozenset({"/healthz", "/readyz"})
HEADED = PROBES | {"/"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
TOLD = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


class TooLarge(Exception):
    """A body is larger than anything that is asked for."""


class Guard:
    """ASGI middleware.

    Args:
        app: what is guarded.
        hosts: names that a request may give as its host, so that no other site's name can be pointed here; empty for
            any, where a password guards instead.
        per_s: requests of one address in a second, over ten seconds; health checks do not count.

    The owner's own socket has no limits but that of a body: its file says who comes.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], per_s: float) -> None:
        self._app, self._hosts = app, frozenset(hosts)
        self._allowance = Allowance(per_s * WINDOW_S, WINDOW_S)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve, or refuse."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, size = Headers(scope=scope), 0
        if scope["method"] == "HEAD" and scope["path"] in HEADED:
            # who watches from outside asks so; the server leaves the body out by itself
            scope = {**scope, "method": "GET"}

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                held = MutableHeaders(scope=message)
                for name, value in TOLD.items():
                    held[name] = value
                held.setdefault("cache-control", "no-store")
            await send(message)

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > BODY_MAX:
                raise TooLarge
            return message

        refused = self._refusal(scope, headers)
        if refused is not None:
            await refused(scope, receive, told)
            return
        try:
            await self._app(scope, counted, told)
        except TooLarge:
            await _said(413, f"the body is larger than {BODY_MAX} bytes")(scope, receive, told)

    def _refusal(self, scope: Scope, headers: Headers) -> JSONResponse | None:
        if is_owner(scope):
            return None
        name = _name(headers.get("host", ""))
        if self._hosts and name not in self._hosts:
            return _said(421, f"{name[:80]!r} is not this host; allowed are {', '.join(sorted(self._hosts))}")
        if scope["path"] in PROBES:
            return None
        if scope.get("state", {}).get(RESERVED):
            refused = _said(503, "too many connections: again in a moment")
            refused.headers["retry-after"] = "1"
            return refused
        address = address_of(HTTPConnection(scope))
        wait = self._allowance.wait_s(address)
        if wait > 0:
            refused = _said(429, f"too many requests: again in {wait:.1f} s")
            refused.headers["retry-after"] = f"{wait + 1:.0f}"
            return refused
        self._allowance.note(address)
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > BODY_MAX:
            return _said(413, f"the body is larger than {BODY_MAX} bytes")
        return None


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _said(status: int, text: str) -> JSONResponse:
    return JSONResponse({"detail": text}, status)

"""Who may speak to the practice exchange: programs of this machine, never a web page that a browser here shows."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sandbox.store import SandboxStore

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

CONTROL = "/control/"


def kept_token(store: SandboxStore) -> str:
    """Return what the control endpoint asks for; it stays the same over restarts, as the address does."""
    token = store.get("control_token") or new_token()
    store.put("control_token", token)
    return token


def new_token() -> str:
    """Return a token of 192 bits."""
    return secrets.token_urlsafe(24)


class Access:
    """Turns away what comes by another name or from a page, and whoever would control without the token."""

    def __init__(self, token: str) -> None:
        self.token = token

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let a request through, or answer it: 421 for another name, 403 for a page, 401 for lack of the token."""
        host, origin = request.headers.get("Host", ""), request.headers.get("Origin")
        if not _ours(host):
            # a name that somebody else can have lead here is how a page gets around the rules of a browser
            return web.Response(status=421, text="practice exchange: ask for it by its address on loopback")
        if origin is not None and _place(origin) != host:
            return web.Response(status=403, text="practice exchange: it is for programs, no web page may ask it")
        if request.path.startswith(CONTROL) and not self._permits(request.headers.get("Authorization", "")):
            message = (
                "practice exchange: send Authorization: Bearer <token>; the token is in endpoint.json in its folder"
            )
            return web.json_response({"error": message}, status=401)
        return await handler(request)

    def _permits(self, said: str) -> bool:
        return hmac.compare_digest(said.encode(errors="replace"), f"Bearer {self.token}".encode())


def _ours(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _place(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""

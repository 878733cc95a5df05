"""Tells freqtrade's programs from ours where both ask for the same path: by what they sign in with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware

from dashboard.freqtrade.tokens import is_token
from dashboard.owner import is_owner

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.types import ASGIApp, Receive, Scope, Send

BASE = "/api/v1/"
THEIRS = (f"{BASE}ping", f"{BASE}token/")
"""Paths that are freqtrade's alone and are asked for before anybody has signed in."""


class Door:
    """ASGI middleware: passes on to freqtrade's API what comes with a name and password, or with one of its tokens.

    Other sites' pages may read its answers when their origin is listed, and never those of our own API.

    Args:
        app: our own API and page.
        freqtrade: freqtrade's API, which takes no cookies.
        origins: origins of pages that may ask it, such as FreqUI's.
    """

    def __init__(self, app: ASGIApp, freqtrade: ASGIApp, origins: Collection[str]) -> None:
        self._app = app
        self._freqtrade = CORSMiddleware(
            freqtrade, allow_origins=sorted(origins), allow_methods=["GET", "POST", "DELETE"], allow_credentials=True,
            allow_headers=["authorization", "content-type"],
        )  # fmt: skip

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""
        theirs = scope["type"] == "http" and not is_owner(scope) and _is_theirs(scope)
        await (self._freqtrade if theirs else self._app)(scope, receive, send)


def _is_theirs(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    if not scope["path"].startswith(BASE):
        return False
    if scope["path"].startswith(THEIRS):
        return True
    if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
        return True
    scheme, _, given = headers.get("authorization", "").partition(" ")
    return scheme.lower() == "basic" or (scheme.lower() == "bearer" and is_token(given.strip()))

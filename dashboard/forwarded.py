"""Believes reverse proxies where a request comes from, and nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import ASGIApp, Receive, Scope, Send

ANY = "*"


class Forwarded:
    """ASGI middleware: takes the rightmost address of ``X-Forwarded-For`` that is no proxy of ours.

    What stands further left was said by whoever asked. With ``*`` whoever connects is taken for a proxy, but no address
    in the header is: uvicorn takes the leftmost then, and every request could choose its own.

    Args:
        app: what is served.
        proxies: addresses and networks of proxies.
    """

    def __init__(self, app: ASGIApp, proxies: Sequence[str]) -> None:
        self._app, self._any = app, ANY in proxies
        self._named = [one for one in proxies if one != ANY]
        self._known = ProxyHeadersMiddleware(app, self._named)  # type: ignore[arg-type]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""
        believed = self._known
        if self._any and scope.get("client"):
            believed = ProxyHeadersMiddleware(self._app, [scope["client"][0], *self._named])  # type: ignore[arg-type]
        await believed(scope, receive, send)  # type: ignore[arg-type]

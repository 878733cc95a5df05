"""Marks what comes over the owner's socket: its file lets nobody else in, so that no limit and no secret is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from starlette.types import ASGIApp, Receive, Scope, Send

MARK = "revenant.owner"


class OwnersDoor:
    """ASGI middleware: passes on every request as the owner's."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""
        await self._app({**scope, MARK: True}, receive, send)


def is_owner(scope: Mapping[str, Any]) -> bool:
    """Return whether a request came over the owner's socket; nothing that a request says can make it so."""
    return bool(scope.get(MARK))

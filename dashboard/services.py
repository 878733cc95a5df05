"""What the routes share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.responses import JSONResponse

from dashboard.access import Access, address_of
from dashboard.models import Problem
from dashboard.others import Others
from dashboard.owner import is_owner
from dashboard.port import Desk, Stored, Works
from dashboard.stream import Hub
from domain.errors import BadData, ConfigError, Rejected, RevenantError, Unavailable

REFUSALS: dict[int | str, dict[str, Any]] = {
    code: {"model": Problem, "description": said}
    for code, said in {
        400: "The body cannot be read.", 401: "Nobody has signed in.", 403: "It may come from another site's page.",
        404: "There is no such thing.", 409: "It cannot be done as things stand.", 413: "The body is too large.",
        422: "The request is wrong.", 429: "Too many requests.", 503: "It cannot be answered now.",
    }.items()
}  # fmt: skip

UNAUDITED = "unaudited"
"""What an answer says of an action that was done though the audit log did not take it."""


@dataclass(frozen=True, slots=True)
class Services:
    """Those who answer. ``audit`` keeps what somebody had done, before it is done, or raises Unavailable."""

    desk: Desk
    stored: Stored
    works: Works
    access: Access
    hub: Hub
    audit: Callable[[dict[str, Any]], Awaitable[None]]
    others: Others = field(default_factory=lambda: Others(()))

    async def note(self, request: Request, what: str, *, lowers: bool = False, **details: object) -> dict[str, str]:
        """Keep who has what done; return what the answer has to say of that, usually nothing.

        Args:
            request: who asks.
            what: what is to be done.
            lowers: whether it lowers the risk, or is needed to: then it is done even where it cannot be kept.
            details: of what is to be done.

        Raises:
            Unavailable: when it cannot be kept, and so must not be done.
        """
        by = "owner" if is_owner(request.scope) else "program" if request.headers.get("authorization") else "page"
        try:
            await self.audit({"by": by, "address": address_of(request), "what": what, **details})
        except Unavailable as error:
            if not lowers:
                raise Unavailable(
                    f"nothing was done: the audit log does not take it ({error}), and without it only what lowers the "
                    "risk is done"
                ) from error
            return {UNAUDITED: f"done, but not in the audit log: {error}"}
        return {}

    def must_run(self) -> None:
        """Refuse what only a running bot can do."""
        if not self.desk.running:
            raise Rejected("no bot runs behind this page: it only shows what is stored")


async def refused(_: Request, error: Exception) -> JSONResponse:
    """Say in JSON why something cannot be."""
    code = 404 if isinstance(error, BadData) else 503 if isinstance(error, Unavailable) else 409
    if isinstance(error, ConfigError):
        code = 422
    return JSONResponse({"detail": str(error)}, code)


REFUSED = RevenantError
"""What ``refused`` answers."""


def held(request: Request) -> Services:
    """Return the services of the application that serves a request."""
    found: Services = request.app.state.services
    return found


Held = Annotated[Services, Depends(held)]


async def may_read(request: Request, services: Held) -> None:
    """Let through whoever may look."""
    await services.access.reader(request)


async def may_act(request: Request, services: Held) -> None:
    """Let through whoever may act."""
    await services.access.actor(request)

"""Routes for signing in and out, and for what probes ask."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from starlette.responses import JSONResponse, Response

from dashboard import models
from dashboard.access import COOKIE, Session, address_of
from dashboard.services import REFUSALS, Held, Services

router = APIRouter(responses=REFUSALS)


@router.get("/healthz", response_model=models.Alive, tags=["health"])
async def alive() -> dict[str, Any]:
    """Say that the event loop turns."""
    return {"alive": True}


@router.get("/readyz", response_model=models.Ready, tags=["health"], responses={503: {"model": models.Ready}})
async def ready(services: Held) -> Response:
    """Return whether the bot is able to trade, why not, and which symbols take no entries though it is."""
    reasons = services.desk.reasons()
    told = {"ready": not reasons, "reasons": reasons, "notes": services.desk.notes()}
    return JSONResponse(told, 503 if reasons else 200)


@router.get("/api/v1/session", response_model=models.SessionState, tags=["session"])
async def session(services: Held, request: Request) -> dict[str, Any]:
    """Say who looks, and what actions have to repeat."""
    found = services.access.session(request)
    return _told(services, found)


@router.post("/api/v1/session", response_model=models.SessionState, tags=["session"])
async def sign_in(
    services: Held, request: Request, response: Response, given: models.Credentials,
    origin: Annotated[str | None, Header(max_length=200)] = None,
) -> Any:  # fmt: skip
    """Sign in with the password, or with the key of a link."""
    if origin is not None and origin.partition("://")[2] != request.headers.get("host", ""):
        return JSONResponse({"detail": "this comes from another site's page"}, 403)
    key, made = services.access.sign_in(given.secret, address_of(request))
    await services.note(request, "sign in", lowers=True)
    secure = "https" in {request.url.scheme, request.headers.get("x-forwarded-proto", "")}
    response.set_cookie(COOKIE, key, httponly=True, secure=secure, samesite="strict", path="/")
    return _told(services, made)


@router.delete("/api/v1/session", response_model=models.SessionState, tags=["session"])
async def sign_out(services: Held, request: Request, response: Response) -> dict[str, Any]:
    """Sign out."""
    services.access.sign_out(request)
    response.delete_cookie(COOKIE, path="/")
    return _told(services, None)


def _told(services: Services, found: Session | None) -> dict[str, Any]:
    return {
        "signed_in": found is not None and bool(found.csrf), "may_read": services.access.open or found is not None,
        "has_password": services.access.has_password, "csrf": found.csrf if found is not None else "",
        "mode": services.desk.mode, "running": services.desk.running,
    }  # fmt: skip

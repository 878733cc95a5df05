"""Puts freqtrade's API into an application of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.responses import JSONResponse

from dashboard.freqtrade import candles, control, reports
from dashboard.freqtrade.tokens import Tokens, Visitor
from dashboard.freqtrade.visitors import Signed, bearer, signs_in
from dashboard.services import REFUSED, Held, Services, refused

if TYPE_CHECKING:
    from collections.abc import Collection

BASE = "/api/v1"
SAID_MAX = 200

router = APIRouter()


@router.get("/ping")
async def ping() -> dict[str, str]:
    """Say that somebody answers."""
    return {"status": "pong"}


@router.post("/token/login")
async def login(services: Held, request: Request, held: Signed) -> dict[str, str]:
    """Return tokens for a name and a password."""
    visitor = await signs_in(request, services)
    await services.note(request, "sign in", lowers=True, name=visitor.name)
    return {"access_token": held.issue(visitor, "access"), "refresh_token": held.issue(visitor, "refresh")}


@router.post("/token/refresh")
async def refresh(request: Request, held: Signed) -> dict[str, str]:
    """Return a new short token for a long one."""
    visitor: Visitor = bearer(request, held, "refresh")
    return {"access_token": held.issue(visitor, "access")}


def build(services: Services, tokens: Tokens, origins: Collection[str]) -> FastAPI:
    """Return the application; it takes names, passwords and tokens, and no cookies.

    Args:
        services: those who answer.
        tokens: what it signs in with.
        origins: origins of pages that may have something done through it.
    """
    app = FastAPI(title="freqtrade's API", openapi_url=None, docs_url=None, redoc_url=None)
    app.state.services, app.state.tokens, app.state.origins = services, tokens, frozenset(origins)
    for one in (router, reports.router, candles.router, control.router):
        app.include_router(one, prefix=BASE)
    app.add_exception_handler(REFUSED, _refused)
    app.add_exception_handler(AnyHTTPException, _http)
    app.add_exception_handler(RequestValidationError, _wrong)
    return app


def _told(status: int, text: str, headers: Any = None) -> JSONResponse:
    # FreqUI shows the one, freqtrade's other programs the other
    return JSONResponse({"detail": text, "error": text}, status, headers)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    return _told((await refused(request, error)).status_code, str(error))


async def _http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, AnyHTTPException)
    return _told(error.status_code, error.detail, error.headers)


async def _wrong(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    problems = [f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}"[:SAID_MAX] for one in error.errors()]
    return _told(422, "; ".join(problems))

"""Puts the page, the API, metrics and health into one application."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles

from dashboard import actions, backtests, charts, data, market, metrics, reports, session
from dashboard.freqtrade.app import build as build_freqtrade
from dashboard.freqtrade.door import Door
from dashboard.freqtrade.tokens import Tokens
from dashboard.guard import Guard
from dashboard.services import REFUSED, Services, refused
from domain.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.types import Scope

PAGE = Path(__file__).parent / "page"
SAID_MAX = 200


class PageFiles(StaticFiles):
    """The page's files; browsers ask each time whether they have changed, and are told in one round trip."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file."""
        response = await super().get_response(path, scope)
        response.headers["cache-control"] = "no-cache"
        return response


def build(
    services: Services, exposed: metrics.Exposed, hosts: Collection[str], per_s: float, origins: Collection[str] = ()
) -> FastAPI:
    """Return the application.

    Args:
        services: those who answer.
        exposed: what is measured.
        hosts: host names that requests may give, empty for any.
        per_s: requests of one address in a second.
        origins: origins of other pages, such as FreqUI's, that may use freqtrade's API.
    """
    app = FastAPI(
        title="Revenant", version=VERSION, openapi_url="/api/v1/openapi.json", docs_url=None, redoc_url=None,
        description="How the bot stands and what it did; and, for who has signed in, what it shall do.",
    )  # fmt: skip
    app.state.services, app.state.exposed = services, exposed
    for one in (session, reports, charts, data, backtests, actions, market, metrics):
        app.include_router(one.router)

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(PAGE / "index.html", headers={"cache-control": "no-cache"})

    app.mount("/page", PageFiles(directory=PAGE), name="page")
    app.add_exception_handler(REFUSED, refused)
    app.add_exception_handler(RequestValidationError, _wrong)
    app.add_middleware(Door, freqtrade=build_freqtrade(services, Tokens(), origins), origins=origins)
    app.add_middleware(Guard, hosts=hosts, per_s=per_s)
    return app


async def _wrong(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    problems: list[dict[str, Any]] = [
        {"where": ".".join(str(part) for part in one["loc"]), "problem": str(one["msg"])[:SAID_MAX]}
        for one in error.errors()
    ]
    return JSONResponse({"detail": problems}, 422)

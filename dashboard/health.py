"""Answers whether the bot is alive, and whether it is able to trade."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any, Protocol

from aiohttp import web

from domain.errors import BadData, ConfigError, RevenantError
from domain.records import SwitchState

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Operations(Protocol):
    """What an operator can have done."""

    async def switch(self, state: SwitchState, reason: str) -> None:
        """Let new entries in, or stop them."""
        ...

    async def force_exit(self, what: str, reason: str) -> list[str]:
        """Close a position, or all; return the symbols."""
        ...

    async def panic(self, reason: str, *, foreign: bool = False) -> list[str]:
        """Stop and close everything; return the symbols."""
        ...

    async def train(self, strategy: str) -> dict[str, Any]:
        """Train a strategy's model now; return how it stands afterwards."""
        ...

    async def reconcile_now(self) -> dict[str, Any]:
        """Compare with the exchange; return what was found."""
        ...


class Health:
    """Serves /healthz (the loop runs), /readyz (able to trade, with reasons), reports, and takes orders.

    Reports are /status, /phantoms (of a symbol) and /ml.

    Address and a fresh token are written to ``endpoint``, readable by its owner only, so that ``manage.py`` finds the
    bot and nobody else can steer it.
    """

    def __init__(
        self,
        address: tuple[str, int],
        endpoint: Path,
        reasons: Callable[[], list[str]],
        status: Callable[[], dict[str, Any]],
        phantoms: Callable[[str | None, str | None], dict[str, Any]],
        learning: Callable[[], dict[str, Any]],
        operations: Operations,
    ) -> None:
        self._host, self._port = address
        self._phantoms, self._learning = phantoms, learning
        self._endpoint, self._reasons, self._status, self._operations = endpoint, reasons, status, operations
        self._token = secrets.token_urlsafe(24)
        self._runner: web.AppRunner | None = None

    async def start(self) -> int:
        """Listen and return the port.

        Raises:
            ConfigError: when the port is taken or not allowed.
        """
        app = web.Application()
        app.router.add_get("/healthz", self._alive)
        app.router.add_get("/readyz", self._ready)
        app.router.add_get("/status", self._show)
        app.router.add_get("/phantoms", self._show_phantoms)
        app.router.add_get("/ml", self._show_learning)
        app.router.add_post("/ml/train", self._train)
        app.router.add_post("/switch/{state}", self._turn)
        app.router.add_post("/forceexit", self._force_exit)
        app.router.add_post("/panic", self._panic)
        app.router.add_post("/reconcile", self._reconcile)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise ConfigError(
                f"health.port: cannot listen on {self._host}:{self._port} ({error.strerror}); set PORT to a free port"
            ) from error
        port = int(self._runner.addresses[0][1])
        self._endpoint.unlink(missing_ok=True)
        self._endpoint.touch(0o600)
        self._endpoint.write_text(json.dumps({"host": self._host, "port": port, "token": self._token}))
        return port

    async def stop(self) -> None:
        """Stop listening."""
        self._endpoint.unlink(missing_ok=True)
        if self._runner is not None:
            await self._runner.cleanup()

    async def _alive(self, _: web.Request) -> web.Response:
        return web.json_response({"alive": True})

    async def _ready(self, _: web.Request) -> web.Response:
        reasons = self._reasons()
        return web.json_response({"ready": not reasons, "reasons": reasons}, status=503 if reasons else 200)

    async def _show(self, _: web.Request) -> web.Response:
        return web.json_response(self._status(), dumps=lambda body: json.dumps(body, default=str))

    async def _show_phantoms(self, request: web.Request) -> web.Response:
        try:
            return web.json_response(self._phantoms(request.query.get("symbol"), request.query.get("strategy")))
        except BadData as error:
            return web.json_response({"error": str(error)}, status=404)

    async def _show_learning(self, _: web.Request) -> web.Response:
        return web.json_response(self._learning())

    async def _train(self, request: web.Request) -> web.Response:
        self._check(request)
        try:
            return web.json_response(await self._operations.train(request.query.get("strategy", "")))
        except BadData as error:
            return web.json_response({"error": str(error)}, status=404)
        except RevenantError as error:
            return web.json_response({"error": str(error)}, status=503)

    async def _turn(self, request: web.Request) -> web.Response:
        self._check(request)
        try:
            state = SwitchState(request.match_info["state"])
        except ValueError:
            return web.json_response({"error": f"allowed are {', '.join(SwitchState)}"}, status=400)
        await self._operations.switch(state, _reason(request))
        return web.json_response({"switch": state.value})

    async def _force_exit(self, request: web.Request) -> web.Response:
        self._check(request)
        what = request.query.get("what", "")
        closing = await self._operations.force_exit(what, _reason(request)) if what else []
        if not closing and what != "all":
            return web.json_response({"error": f"no open position is called {what[:80]!r}"}, status=404)
        return web.json_response({"closing": closing})

    async def _panic(self, request: web.Request) -> web.Response:
        self._check(request)
        foreign = request.query.get("foreign") == "1"
        return web.json_response({"closing": await self._operations.panic(_reason(request), foreign=foreign)})

    async def _reconcile(self, request: web.Request) -> web.Response:
        self._check(request)
        try:
            found = await self._operations.reconcile_now()
        except RevenantError as error:
            return web.json_response({"error": str(error)}, status=503)
        return web.json_response(found, dumps=lambda body: json.dumps(body, default=str))

    def _check(self, request: web.Request) -> None:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not secrets.compare_digest(given.encode(), self._token.encode()):
            text = json.dumps({"error": "the token in health.json is needed"})
            raise web.HTTPUnauthorized(text=text, content_type="application/json")


def _reason(request: web.Request) -> str:
    return request.query.get("reason", "operator")[:200]

"""Answers whether the bot is alive, and whether it is able to trade."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any

from aiohttp import web

from domain.errors import ConfigError
from domain.records import SwitchState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path


class Health:
    """Serves /healthz (the loop runs), /readyz (able to trade, with reasons), /status, and the stop switch.

    Address and a fresh token are written to ``endpoint``, readable by its owner only, so that ``manage.py`` finds the
    bot and nobody else can switch it.
    """

    def __init__(
        self,
        address: tuple[str, int],
        endpoint: Path,
        reasons: Callable[[], list[str]],
        status: Callable[[], dict[str, Any]],
        switch: Callable[[SwitchState, str], Awaitable[None]],
    ) -> None:
        self._host, self._port = address
        self._endpoint, self._reasons, self._status, self._switch = endpoint, reasons, status, switch
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
        app.router.add_post("/switch/{state}", self._turn)
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

    async def _turn(self, request: web.Request) -> web.Response:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not secrets.compare_digest(given.encode(), self._token.encode()):
            return web.json_response({"error": "the token in health.json is needed"}, status=401)
        try:
            state = SwitchState(request.match_info["state"])
        except ValueError:
            return web.json_response({"error": f"allowed are {', '.join(SwitchState)}"}, status=400)
        await self._switch(state, request.query.get("reason", "operator")[:200])
        return web.json_response({"switch": state.value})

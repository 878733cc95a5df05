"""Answers whether the bot is alive, and whether it is able to trade."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aiohttp import web

from domain.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Health:
    """Serves /healthz (the loop runs), /readyz (able to trade, with reasons) and /status.

    The address is written to ``endpoint`` so that ``manage.py status`` finds it.
    """

    def __init__(
        self,
        host: str,
        port: int,
        endpoint: Path,
        reasons: Callable[[], list[str]],
        status: Callable[[], dict[str, Any]],
    ) -> None:
        self._host, self._port, self._endpoint = host, port, endpoint
        self._reasons, self._status = reasons, status
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
        self._endpoint.write_text(json.dumps({"host": self._host, "port": port}))
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

"""Serves the application in the daemon's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import socket
from typing import TYPE_CHECKING

import uvicorn

from domain.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from starlette.types import ASGIApp

BACKLOG = 128
CONNECTIONS_MAX = 200
KEEP_ALIVE_S = 15
STOP_S = 0.3
STARTED_S = 10.0


class _Quiet(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the daemon."""
        yield


class Server:
    """Listens at an address; notes address and token in a file, if given, that only the owner of the process reads."""

    def __init__(self, address: tuple[str, int], note: Path | None, proxies: Sequence[str] = ()) -> None:
        self._host, self._port = address
        self._note, self._proxies = note, list(proxies)
        self.token = secrets.token_urlsafe(24)
        self._server: _Quiet | None = None
        self._task: asyncio.Task[None] | None = None
        self._closing: Callable[[], None] = lambda: None

    async def start(self, app: ASGIApp, closing: Callable[[], None]) -> int:
        """Listen and return the port; ``closing`` is called before connections are let go.

        Raises:
            ConfigError: when the port is taken or not allowed.
        """
        self._closing = closing
        bound = self._bind()
        port = int(bound.getsockname()[1])
        config = uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", ws="none", server_header=False,
            proxy_headers=bool(self._proxies), forwarded_allow_ips=self._proxies or None,
            limit_concurrency=CONNECTIONS_MAX, timeout_keep_alive=KEEP_ALIVE_S, timeout_graceful_shutdown=1,
        )  # fmt: skip
        self._server = _Quiet(config)
        self._task = asyncio.create_task(self._server.serve([bound]), name="http")
        async with asyncio.timeout(STARTED_S):
            while not self._server.started and not self._task.done():
                await asyncio.sleep(0)
        if self._note is not None:
            self._note.unlink(missing_ok=True)
            self._note.touch(0o600)
            self._note.write_text(json.dumps({"host": self._host, "port": port, "token": self.token}))
        return port

    async def stop(self) -> None:
        """Stop listening; connections that are still open then are cut."""
        if self._note is not None:
            self._note.unlink(missing_ok=True)
        self._closing()
        if self._server is None or self._task is None:
            return
        self._server.should_exit = True
        with contextlib.suppress(TimeoutError, asyncio.CancelledError):
            async with asyncio.timeout(STOP_S):
                await asyncio.shield(self._task)
        self._server.force_exit = True
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def _bind(self) -> socket.socket:
        try:
            family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
            bound = socket.socket(family, socket.SOCK_STREAM)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((self._host, self._port))
            bound.listen(BACKLOG)
        except OSError as error:
            bound.close()
            said = error.strerror or error
            raise ConfigError(
                f"dashboard.port: cannot listen on {self._host}:{self._port} ({said}); set PORT to a free port"
            ) from error
        return bound

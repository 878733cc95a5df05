"""Serves the application in the daemon's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import socket
from typing import TYPE_CHECKING

import uvicorn

from domain.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from starlette.types import ASGIApp

BACKLOG = 128
CONNECTIONS_MAX = 200
KEEP_ALIVE_S = 15
STOP_S = 0.3


class Server:
    """Listens at an address; notes address and token in a file, if given, that only the owner of the process reads.

    ``about`` says there whose bot it is.
    """

    def __init__(
        self, address: tuple[str, int], note: Path | None, proxies: Sequence[str] = (),
        about: Mapping[str, object] | None = None,
    ) -> None:  # fmt: skip
        self._host, self._port = address
        self._about = {"process": os.getpid(), **(about or {})}
        self._note, self._proxies = note, list(proxies)
        self.token = secrets.token_urlsafe(24)
        self._server: uvicorn.Server | None = None
        self._bound: list[socket.socket] = []
        self._closing: Callable[[], None] = lambda: None

    async def start(self, app: ASGIApp, closing: Callable[[], None]) -> int:
        """Listen and return the port; ``closing`` is called before connections are let go.

        Raises:
            ConfigError: when the port is taken or not allowed.
        """
        self._closing, self._bound = closing, [self._bind()]
        port = int(self._bound[0].getsockname()[1])
        config = uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", ws="none", server_header=False, date_header=False,
            proxy_headers=bool(self._proxies), forwarded_allow_ips=self._proxies or None,
            limit_concurrency=CONNECTIONS_MAX, timeout_keep_alive=KEEP_ALIVE_S,
        )  # fmt: skip
        config.load()
        # what uvicorn's own loop would do besides is to note the date and to catch signals, which are the daemon's
        self._server = uvicorn.Server(config)
        self._server.lifespan = config.lifespan_class(config)
        self._server.server_state.default_headers = config.encoded_headers
        await self._server.startup(sockets=self._bound)
        if self._note is not None:
            self._note.unlink(missing_ok=True)
            self._note.touch(0o600)
            noted = {"host": self._host, "port": port, "token": self.token, **self._about}
            self._note.write_text(json.dumps(noted))
        return port

    async def stop(self) -> None:
        """Stop listening; what has not been answered by then is not answered any more."""
        if self._note is not None:
            self._note.unlink(missing_ok=True)
        self._closing()
        if self._server is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                await self._server.shutdown(sockets=self._bound)
        for task in self._server.server_state.tasks:
            task.cancel()

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

"""Serves the application in the daemon's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import secrets
import socket
from typing import TYPE_CHECKING, cast

import uvicorn

from dashboard.connections import Connection, Room
from dashboard.forwarded import Forwarded
from dashboard.owner import OwnersDoor
from domain.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from starlette.types import ASGIApp

BACKLOG = 128
CONNECTIONS_MAX, OF_ONE_MAX, OWNERS_MAX = 200, 100, 20
"""Connections at once to the port, of one address among them, and to the owner's socket."""
KEEP_ALIVE_S = 15
STOP_S = 0.3


class Server:
    """Listens at an address; notes address and token in a file, if given, that only the owner of the process reads.

    ``about`` says there whose bot it is; ``owner`` returns the socket over which the owner is served, by a server of
    its own: whatever happens at the port leaves it as it is.
    """

    def __init__(
        self, address: tuple[str, int], note: Path | None, proxies: Sequence[str] = (),
        about: Mapping[str, object] | None = None, owner: Callable[[], socket.socket] | None = None,
    ) -> None:  # fmt: skip
        self._host, self._port = address
        self._about = {"process": os.getpid(), **(about or {})}
        self._note, self._proxies, self._owner = note, list(proxies), owner
        self.token = secrets.token_urlsafe(24)
        self._served: list[tuple[uvicorn.Server, socket.socket]] = []
        self._closing: Callable[[], None] = lambda: None

    async def start(self, app: ASGIApp, closing: Callable[[], None]) -> int:
        """Listen and return the port; ``closing`` is called before connections are let go.

        Raises:
            ConfigError: when the port is taken or not allowed.
        """
        self._closing, bound = closing, self._bind()
        port = int(bound.getsockname()[1])
        shared = Forwarded(app, self._proxies) if self._proxies else app
        await self._serve(shared, bound, Room(CONNECTIONS_MAX, OF_ONE_MAX))
        if self._owner is not None:
            await self._serve(OwnersDoor(app), self._owner(), Room(OWNERS_MAX, OWNERS_MAX))
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
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                await asyncio.gather(*(server.shutdown(sockets=[bound]) for server, bound in self._served))
        for server, _ in self._served:
            for task in server.server_state.tasks:
                task.cancel()

    async def _serve(self, app: ASGIApp, bound: socket.socket, room: Room) -> None:
        config = uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", ws="none", server_header=False, date_header=False,
            proxy_headers=False, timeout_keep_alive=KEEP_ALIVE_S,
        )  # fmt: skip
        config.load()
        config.http_protocol_class = cast("type[asyncio.Protocol]", functools.partial(Connection, room=room))
        # what uvicorn's own loop would do besides is to note the date and to catch signals, which are the daemon's
        server = uvicorn.Server(config)
        server.lifespan = config.lifespan_class(config)
        server.server_state.default_headers = config.encoded_headers
        await server.startup(sockets=[bound])
        self._served.append((server, bound))

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

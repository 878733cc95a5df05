"""Connections of people and programs: how long one may keep others waiting, and who makes room when it is full."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from typing import TYPE_CHECKING, Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

REQUEST_S = 10.0
"""How long a request may take to arrive."""
STALL_S = 30.0
"""How long an answer may wait for whoever asked to take it."""
RESERVE = 20
"""Connections beyond the limits, on which health checks alone are answered."""
RESERVED = "reserved"
ROOT = 0


class Room:
    """Who is connected; when it is full, the connection that has been without a request for longest makes room.

    Args:
        most: connections at once.
        of_one: connections of one address.
    """

    def __init__(self, most: int, of_one: int) -> None:
        self._most, self._of_one = most, of_one
        self._held: dict[Connection, None] = {}

    def enter(self, one: Connection) -> bool:
        """Take a connection in; return whether there was room. It may be in reserve."""
        same = [other for other in self._held if other.address == one.address]
        crowd = same if len(same) >= self._of_one else list(self._held)
        if len(same) >= self._of_one or len(self._held) >= self._most:
            silent = next((other for other in crowd if other.silent), None)
            if silent is not None:
                silent.drop()
            elif sum(other.reserved for other in self._held) < RESERVE:
                one.reserved = True
            else:
                return False
        self._held[one] = None
        return True

    def heard(self, one: Connection) -> None:
        """Note that a request has arrived."""
        if one in self._held:
            del self._held[one]
            self._held[one] = None

    def leave(self, one: Connection) -> None:
        """Forget a connection."""
        self._held.pop(one, None)


class Connection(H11Protocol):
    """A connection whose requests and answers have deadlines.

    Uvicorn has one for the pause after an answer only: one byte, or none at all, kept a connection for good.
    """

    def __init__(
        self, config: Config, server_state: ServerState, app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None, *, room: Room,
    ) -> None:  # fmt: skip
        super().__init__(config, server_state, app_state, _loop)
        self._room = room
        self._late: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self.address = ""
        self.reserved = False

    @property
    def silent(self) -> bool:
        """Whether no request is being answered here."""
        return self.cycle is None or self.cycle.response_complete or self.cycle.more_body

    def _unsupported_upgrade_warning(self) -> None:
        # web sockets are not served: FreqUI asks for one every few seconds, and who asks could fill the log
        pass

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection in, if there is room and the peer is welcome."""
        super().connection_made(transport)
        self.address = self.client[0] if self.client is not None else ""
        if not _welcome(transport) or not self._room.enter(self):
            transport.abort()
            return
        self.app_state = {**self.app_state, RESERVED: self.reserved}
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let the connection go."""
        self._room.leave(self)
        self._late = _cancelled(self._late)
        self._stalled = _cancelled(self._stalled)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what has arrived; more of a request does not lengthen its deadline."""
        super().data_received(data)
        self._watch()

    def pause_writing(self) -> None:
        """Stop answering one who does not read, and for how long."""
        super().pause_writing()
        if self._stalled is None:
            self._stalled = self.loop.call_later(STALL_S, self.drop)

    def resume_writing(self) -> None:
        """Go on answering."""
        self._stalled = _cancelled(self._stalled)
        super().resume_writing()

    def drop(self) -> None:
        """End the connection at once."""
        self._room.leave(self)
        self.transport.abort()

    def _watch(self) -> None:
        if self.conn.their_state in {h11.IDLE, h11.SEND_BODY}:
            if self._late is None:
                self._late = self.loop.call_later(REQUEST_S, self.drop)
            return
        self._room.heard(self)
        self._late = _cancelled(self._late)


def _cancelled(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    if timer is not None:
        timer.cancel()
    return None


def _welcome(transport: asyncio.Transport) -> bool:
    """Return whether the peer of a unix socket is the user who runs the bot, or root; others are strangers anyhow."""
    peer: socket.socket = transport.get_extra_info("socket")
    if peer.family != socket.AF_UNIX:
        return True
    _, user, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return user in {ROOT, os.geteuid()}

"""The socket over which its owner steers a running bot: a file in the data folder that no other user can open."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

from domain.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATH_MAX = 107
"""Bytes that the name of a socket may have on Linux, without the zero at its end."""
BACKLOG = 32


def listen(path: Path) -> socket.socket:
    """Return a socket that listens at ``path``; whoever calls holds the folder, so what lies there is a dead bot's.

    Raises:
        ConfigError: when the folder takes no sockets.
    """
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        with _short(path) as address:
            bound.bind(address)
            # nobody can connect before it listens, so it is never open to others
            path.chmod(0o600)
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        raise ConfigError(
            f"{path}: cannot listen ({error.strerror or error}), and manage.py would not reach the bot; put data_dir "
            "onto a filesystem that takes sockets"
        ) from error
    return bound


def connect(path: Path, seconds: float) -> socket.socket:
    """Return a connection to the bot that listens at ``path``. Raises OSError."""
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    found.settimeout(seconds)
    try:
        with _short(path) as address:
            found.connect(address)
    except OSError:
        found.close()
        raise
    return found


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """Yield a name that a socket may have: where the path is too long for one, it leads through the open folder."""
    if len(os.fsencode(path)) <= PATH_MAX:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)

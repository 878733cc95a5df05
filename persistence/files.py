"""Files that survive a power cut: replaced whole, never written in place."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from domain.errors import ConfigError, Unavailable, of_system

if TYPE_CHECKING:
    from collections.abc import Callable

OTHERS = stat.S_IRWXG | stat.S_IRWXO


def sync_folder(path: Path) -> None:
    """Put the names in a folder on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def durable_folder(path: Path) -> None:
    """Make a folder, and those above it that are not there, names on disk: what is synced in it is worth as much."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in reversed(missing):
        # one that may be entered and not read cannot be synced
        with contextlib.suppress(PermissionError):
            sync_folder(folder.parent)


def refused(place: str, path: Path, error: OSError, advice: str) -> ConfigError | Unavailable:
    """Return what it means that a file or folder was refused to us, in words about what is there.

    Raises nothing: where even looking fails, what the operating system said first is told.
    """
    with contextlib.suppress(OSError):
        for part in (path, *path.parents):
            if part.is_symlink() and not part.exists():
                return Unavailable(
                    f"{place}: {part} leads to {part.readlink()}, which is not there; is its disk mounted?"
                )
            if error.errno in {errno.EACCES, errno.EPERM} and part.exists():
                owner, us = part.stat().st_uid, os.geteuid()
                if owner != us:
                    return ConfigError(
                        f"{place}: {error.strerror}; {part} belongs to user {owner}, and this runs as user {us}: "
                        f"run it as that one, or give the folder to this one (chown -R {us})"
                    )
                break
    return of_system(place, error, advice)


def make_private(folder: Path, ours: Callable[[str], bool]) -> None:
    """Take what others may do with a folder, and with our files in it, away from them. Raises OSError.

    What is written is private from the start; what earlier versions left, or came as a copy, is as the umask then was.
    """
    _make_private(folder)
    for place, _, names in os.walk(folder):
        for path in (Path(place) / name for name in names):
            if ours(str(path.relative_to(folder))):
                with contextlib.suppress(FileNotFoundError):
                    _make_private(path)


def _make_private(path: Path) -> None:
    status = path.lstat()
    mode = stat.S_IMODE(status.st_mode)
    # a link's own mode says nothing, and what it leads to may be somebody else's
    if mode & OTHERS and status.st_uid == os.geteuid() and not stat.S_ISLNK(status.st_mode):
        path.chmod(mode & ~OTHERS)


class AtomicFile:
    """A file whose content is at any moment the old one or the new one, whole."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def read(self) -> bytes | None:
        """Return the content, None when there is none yet."""
        return self.path.read_bytes() if self.path.exists() else None

    def write(self, content: bytes) -> None:
        """Replace the content; on disk, name and all, when this returns. Raises OSError."""
        scratch = self.path.with_name(f"{self.path.name}.new")
        with scratch.open("wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        scratch.replace(self.path)
        sync_folder(self.path.parent)

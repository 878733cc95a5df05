"""What people had the bot do: an append-only file, a line of JSON for each, on disk before the call returns."""

from __future__ import annotations

import errno
import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from domain.errors import Unavailable

if TYPE_CHECKING:
    from pathlib import Path

FILE_BYTES = 10 << 20


class Deeds:
    """Keeps deeds in ``path``; a file that has grown large is put aside under the time of that, never deleted."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, deed: dict[str, Any]) -> None:
        """Keep a deed with the time of now. Raises Unavailable when the disk does not take it."""
        now = datetime.now(UTC)
        line = json.dumps({"time": now.isoformat(timespec="milliseconds"), **deed}, default=str) + "\n"
        try:
            if self.path.exists() and self.path.stat().st_size > FILE_BYTES:
                self.path.rename(self.path.with_name(f"{self.path.stem}-{now:%Y%m%dT%H%M%S%f}{self.path.suffix}"))
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                # a disk that is nearly full takes a part of it, and says no more than how much
                if os.write(descriptor, line.encode()) < len(line.encode()):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise Unavailable(f"{self.path}: {error.strerror}") from error

    def newest(self, count: int) -> list[dict[str, Any]]:
        """Return the newest so many deeds of the present file, oldest first; a torn line is passed over."""
        if not self.path.exists():
            return []
        rows = []
        for line in self.path.read_text(errors="replace").splitlines()[-count:]:
            try:
                rows.append(json.loads(line))
            except ValueError:
                continue
        return rows

"""One rate limit per host, shared by every process on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import random
import struct
import time
from typing import TYPE_CHECKING

from domain.errors import Unavailable

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE_S = 180.0
LOCKED_S = 0.002
BANNED_MAX_S = 86_400.0
BURST = 0.4
"""How much of a window's limit may go out at once; the rest trickles in, so that no window ever sees more than it."""

_RECORD = struct.Struct("<ddd")


class SharedBudget:
    """A token bucket in a small file, so that downloads and a live bot beside them ask no more than the host allows.

    ``reserve`` is the share of the burst that this user leaves to more important ones: history leaves half, the bot's
    ordinary requests a tenth, exits nothing. The file is memory to the kernel, read and written in microseconds, and
    worth nothing after a reboot, which the monotonic clock in it shows. Where the disk refuses it, this process keeps
    to the limit by itself: no order may wait for a disk.
    """

    def __init__(self, path: Path, limit: float, window_s: float, reserve: float = 0.0) -> None:
        self.host = path.stem
        self.capacity, self.rate = BURST * limit, (1 - BURST) * limit / window_s
        self.limit, self.reserve = limit, reserve
        self._mine, self._ahead = (self.capacity, time.monotonic(), 0.0), False
        self._file: int | None = None
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)

    async def take(self, cost: float = 1.0, *, reserve: float | None = None) -> None:
        """Wait until a request of that cost may go out.

        Raises:
            Unavailable: when that would take longer than anybody should wait.
        """
        kept = self.capacity * (self.reserve if reserve is None else reserve)
        # a request that costs more than the bucket ever holds goes out when it is full
        cost = min(cost, self.capacity - kept)
        deadline = time.monotonic() + PATIENCE_S
        while (wait := self._try(cost, kept)) > 0:
            if time.monotonic() + wait > deadline:
                raise Unavailable(f"{self.host}: its rate limit leaves no room for {wait:.0f} s")
            await asyncio.sleep(wait * random.uniform(1.0, 1.1))  # noqa: S311  no secret

    def told(self, used: float) -> None:
        """Take the host's own word on how much of the limit has been used in this window."""
        held = self._locked()
        if held is not None:
            tokens, stamp, banned = held
            self._write(min(tokens, max(0.0, self.limit - used)), stamp, banned)

    def ban(self, seconds: float) -> None:
        """Let nothing out for so long, neither from here nor from any other process: the host said so."""
        held = self._locked()
        while held is None:
            time.sleep(LOCKED_S)
            held = self._locked()
        self._write(0.0, held[1], max(held[2], time.monotonic() + seconds))

    def banned_s(self) -> float:
        """Return for how many seconds the host still lets nobody in, 0 when it does."""
        now = time.monotonic()
        _, stamp, banned = self._read()
        # another boot's clock, or torn: as for the tokens
        return max(0.0, banned - now) if 0 <= stamp <= now and banned - now < BANNED_MAX_S else 0.0

    def _try(self, cost: float, kept: float) -> float:
        """Take the tokens and return 0, or return how long to wait before it is worth trying again."""
        held = self._locked()
        if held is None:
            return LOCKED_S
        tokens, now, banned = held
        enough = tokens - cost >= kept - 1e-9
        self._write(tokens - cost if enough and banned <= now else tokens, now, banned)
        if banned > now:
            return banned - now
        return 0.0 if enough else (cost + kept - tokens) / self.rate

    def _locked(self) -> tuple[float, float, float] | None:
        """Lock the file and return tokens as of now, now, and until when the host lets nobody in; None when taken."""
        try:
            if self._file is not None:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        except OSError:
            # whoever cannot lock reckons for itself alone
            self._ahead = True
        now = time.monotonic()
        tokens, stamp, banned = self._read()
        if not (0 <= stamp <= now and tokens == tokens):  # noqa: PLR0124  NaN
            # another boot's clock, or torn
            tokens, stamp, banned = self.capacity, now, 0.0
        return min(self.capacity, tokens + (now - stamp) * self.rate), now, banned

    def _read(self) -> tuple[float, float, float]:
        """Return what the file says, and what this process has taken where the file does not tell or does not know."""
        if self._file is not None and not self._ahead:
            with contextlib.suppress(OSError):
                raw = os.pread(self._file, _RECORD.size, 0)
                if len(raw) == _RECORD.size:
                    return _RECORD.unpack(raw)
        return self._mine

    def _write(self, tokens: float, stamp: float, banned: float) -> None:
        self._mine, self._ahead = (tokens, stamp, banned), True
        if self._file is None:
            return
        with contextlib.suppress(OSError):
            os.pwrite(self._file, _RECORD.pack(*self._mine), 0)
            self._ahead = False
        with contextlib.suppress(OSError):
            fcntl.flock(self._file, fcntl.LOCK_UN)

"""Runs the drawing process: a Python of its own, bounded in time, one at a time."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from domain.errors import Unavailable

if TYPE_CHECKING:
    from domain.picture import Picture

ROOT = Path(__file__).parent.parent
PNG = b"\x89PNG"


class DrawingProcess:
    """Has pictures drawn; ``deadline_s`` is the longest that one may take."""

    def __init__(self, deadline_s: float = 45.0) -> None:
        self._deadline_s, self._busy = deadline_s, asyncio.Lock()

    async def __call__(self, picture: Picture) -> bytes:
        """Return a picture as PNG.

        Raises:
            Unavailable: when it took too long, or the process failed.
        """
        async with self._busy:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "dashboard.drawing", cwd=ROOT, stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
            try:
                async with asyncio.timeout(self._deadline_s):
                    drawn, errors = await process.communicate(msgspec.json.encode(picture))
            except TimeoutError:
                raise Unavailable(f"drawing took longer than {self._deadline_s:.0f} s and was ended") from None
            finally:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if not drawn.startswith(PNG):
            last = errors.decode(errors="replace").strip().rsplit("\n", 1)[-1]
            raise Unavailable(f"the picture could not be drawn: {last[:300]}")
        return drawn

"""Runs the training process: a Python of its own, bounded in time, ended with whoever waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from domain.errors import Unavailable
from ml.job import Message, Outcome, Step

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent
LINE_MAX = 64 << 20
ERRORS_MAX = 2_000

_decoder = msgspec.json.Decoder(Message)


class TrainingProcess:
    """Starts ``processes.training`` for each job; ``deadline_s`` is the longest that one may take."""

    def __init__(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s

    async def __call__(self, job: bytes, progress: Callable[[int, int, str], object] | None = None) -> Outcome:
        """Do a job.

        Raises:
            Unavailable: when it took too long, or the process ended without an outcome.
        """
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "processes.training", cwd=ROOT, limit=LINE_MAX, stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(self._deadline_s):
                outcome, errors = await asyncio.gather(_converse(process, job, progress), _tail(process.stderr))
                await process.wait()
        except TimeoutError:
            raise Unavailable(f"training took longer than {self._deadline_s:.0f} s and was ended") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if outcome is None:
            last = errors.strip().rsplit("\n", 1)[-1]
            raise Unavailable(f"the training process ended with {process.returncode} and no outcome: {last[:300]}")
        return outcome


async def _converse(
    process: asyncio.subprocess.Process, job: bytes, progress: Callable[[int, int, str], object] | None
) -> Outcome | None:
    if process.stdin is None or process.stdout is None:
        raise AssertionError("asked for as pipes")
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(job)
        await process.stdin.drain()
        process.stdin.close()
    async for line in process.stdout:
        try:
            message = _decoder.decode(line)
        except msgspec.MsgspecError as error:
            raise Unavailable(f"the training process says what nobody understands: {error}") from error
        if isinstance(message, Outcome):
            return message
        if isinstance(message, Step) and progress is not None:
            progress(message.done, message.of, message.what)
    return None


async def _tail(stream: asyncio.StreamReader | None) -> str:
    held = b""
    while stream is not None and (part := await stream.read(ERRORS_MAX)):
        held = (held + part)[-ERRORS_MAX:]
    return held.decode(errors="replace")

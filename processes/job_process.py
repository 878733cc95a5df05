"""Has the regular jobs of history done in processes of their own."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from domain.errors import Unavailable
from domain.schedule import Judged
from persistence.jobs import JobBook

if TYPE_CHECKING:
    from collections.abc import Callable

    from domain.schedule import Job
    from persistence.database import Database

log = structlog.get_logger(__name__)

NICE = "10"
ROOT = Path(__file__).parent.parent


def job_book(database: Database) -> JobBook:
    """Return the book of jobs, in which this process has a name of its own."""
    return JobBook(database, f"{socket.gethostname()}:{os.getpid()}")


class JobProcess:
    """Does a job in a process of its own, which the event loop does not feel, and which ends with the daemon.

    ``told`` takes what jobs that judge have found.
    """

    def __init__(self, told: Callable[[str, object], None]) -> None:
        self._told = told

    async def __call__(self, job: Job) -> str:
        """Do a job and say how it ended.

        Raises:
            Unavailable: when it took too long, or ended without an outcome.
        """
        # trading comes first
        nice = [found, "-n", NICE] if (found := shutil.which("nice")) else []
        process = await asyncio.create_subprocess_exec(
            *nice, sys.executable, str(ROOT / "manage.py"), "data", "run", job.name, "--json",
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(job.limit_s):
                out, err = await process.communicate()
        except TimeoutError:
            raise Unavailable(f"{job.name}: took longer than {job.limit_s} s and was ended") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        body = _outcome(out)
        if body is None:
            last = err.decode(errors="replace").strip().rsplit("\n", 1)[-1]
            raise Unavailable(f"{job.name}: its process ended with {process.returncode}: {last[:300]}")
        for alert in body.get("alerts", []):
            log.warning("history needs attention", job=job.name, alert=alert)
        if job.judges:
            self._told("judged", Judged(job.name, tuple(body.get("alerts", []))))
        return f"{body['status']}: {body['said']}"


def _outcome(out: bytes) -> dict[str, Any] | None:
    try:
        body = json.loads(out)
    except ValueError:
        return None
    return body if isinstance(body, dict) and "status" in body else None

"""Starts the program's processes from one that has loaded its modules already.

Tests start hundreds of them, and on a slow machine most of a start is loading. Each is a process of its own all the same,
forked from a server that has done nothing but load, with its own environment, folder and output.
"""

from __future__ import annotations

import functools
import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from multiprocessing.context import ForkServerContext
    from pathlib import Path


class Started:
    """A process of the program, used as a subprocess.Popen is.

    Args:
        program: the module whose ``main`` is the program.
        arguments: its command line.
        cwd: where it runs.
        environment: all of its environment.
        out: the file that what it prints is appended to.
        err: the file for what it complains of; where it prints otherwise.
    """

    def __init__(
        self, program: str, arguments: Sequence[str], cwd: Path, environment: Mapping[str, str], out: Path,
        err: Path | None = None,
    ) -> None:  # fmt: skip
        task = (program, list(arguments), str(cwd), dict(environment), str(out), str(err or out))
        self._process = _context().Process(target=_run, args=task)
        self._process.start()

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """How it ended: its exit code, less than zero for a signal, None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return how it ended, None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, and return how it ended. Raises subprocess.TimeoutExpired."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self._process.exitcode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


@functools.cache
def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    # what manage.py would load late comes before it
    cases = ("backtest", "cluster_view", "control", "jobs", "names", "parity", "proof", "results", "scaffold", "sweep")
    stores = ("backup", "candle_reader", "cluster_state", "rules", "sources")
    late = [f"commands.{name}" for name in ("backtest", "backup", "data", "ml", "sources", "strategies")]
    parts = ["live_bot", *(f"app.{name}" for name in cases), *(f"persistence.{name}" for name in stores),
             "bootstrap.inspection", *late, "manage"]  # fmt: skip
    # what a bot loads late too: the exchange's client, the migrations of a new database, the page's server
    own = ("broker.bybit.access", "broker.bybit.rest", "persistence.migration")
    theirs = ("alembic.command", "alembic.runtime.environment", "anyio._backends._asyncio", "sqlalchemy.ext.compiler",
              "uvicorn.lifespan.off", "uvicorn.protocols.http.auto")  # fmt: skip
    context.set_forkserver_preload([__name__, *parts, *own, *theirs])
    return context


def _run(program: str, arguments: list[str], cwd: str, environment: dict[str, str], out: str, err: str) -> None:
    for path, number in ((out, 1), (err, 2)):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(opened, number)
        os.close(opened)
    # what the server inherited is the tests'; a program that was started by hand has neither
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [f"{program}.py", *arguments]
    code = 0
    try:
        code = importlib.import_module(program).main() or 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    # as live_bot.py leaves: a thread stuck in a dead database must not keep it alive
    os._exit(code)

"""Has downloads, the filling of gaps, exports, jobs and backtests done in processes, one at a time, for the page."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import sys
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domain.errors import BadData, Unavailable
from history.jobs import named

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOT = Path(__file__).parent.parent
NICE = "10"
KEPT, WAITING_MAX = 50, 10
LIMIT_S = 6 * 3600
SAID_MAX, CHUNK = 2_000, 4_096
ENDINGS = {0: "done", 3: "degraded"}
STEP = re.compile(r"^(?P<step>[a-z][a-z ]*): (?P<percent>\d{1,3}) of 100\n", re.MULTILINE)
"""A line that says how far a work is."""
OPTIONS = {"since": "--since", "until": "--until", "source": "--source", "ml": "--ml", "fee": "--fee",
           "slippage": "--slippage", "wallet": "--wallet"}  # fmt: skip


@dataclass(slots=True)
class Work:
    """One work: its command, its state (running, done, degraded, failed or ended), and the last that it said.

    ``step`` and ``percent`` are how far it is, where it tells.
    """

    number: int
    kind: str
    arguments: list[str]
    started_at: datetime
    state: str = "running"
    said: str = "waits for its turn"
    step: str = ""
    percent: int = 0
    ended_at: datetime | None = None
    ending: asyncio.Event = field(default_factory=asyncio.Event)


class WorkProcesses:
    """Keeps the newest works; ``told`` is called with one whenever it changes."""

    def __init__(self, export_to: Path, told: Callable[[dict[str, Any]], None]) -> None:
        self._export_to, self._told = export_to, told
        self._works: deque[Work] = deque(maxlen=KEPT)
        self._queue: asyncio.Queue[Work] = asyncio.Queue(WAITING_MAX)
        self._count = 0

    def begin(self, kind: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Begin a work, or let it wait for its turn. Raises BadData, Unavailable.

        ``kind`` is download, fill-gaps, export, job, or backtest, whose arguments have been checked.
        """
        command = self._command(kind, arguments)
        self._count += 1
        work = Work(self._count, kind, command, datetime.now(UTC))
        try:
            self._queue.put_nowait(work)
        except asyncio.QueueFull:
            raise Unavailable(f"{WAITING_MAX} works wait already; end one, or wait") from None
        self._works.appendleft(work)
        return _row(work)

    def all(self) -> list[dict[str, Any]]:
        """Return the works, newest first."""
        return [_row(one) for one in self._works]

    async def end(self, number: int) -> dict[str, Any]:
        """End a work; what it has stored stays. Raises BadData."""
        work = next((one for one in self._works if one.number == number), None)
        if work is None:
            raise BadData(f"there is no work {number}")
        work.ending.set()
        if work.state == "running" and work.said == "waits for its turn":
            self._finish(work, "ended", "ended before its turn came")
        return _row(work)

    async def run(self) -> None:
        """Do one work after the other, until cancelled."""
        while True:
            work = await self._queue.get()
            if work.state == "running":
                await self._do(work)

    async def _do(self, work: Work) -> None:
        self._say(work, "has begun")
        # trading comes first
        nice = [found, "-n", NICE] if (found := shutil.which("nice")) else []
        process = await asyncio.create_subprocess_exec(
            *nice, sys.executable, str(ROOT / "manage.py"), *work.arguments,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        try:
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(self._read(work, process))
                ending = group.create_task(work.ending.wait())
                await asyncio.wait({reading, ending}, timeout=LIMIT_S, return_when=asyncio.FIRST_COMPLETED)
                whole = reading.done()
                reading.cancel()
                ending.cancel()
            if whole:
                self._finish(work, ENDINGS.get(await process.wait(), "failed"), work.said)
            else:
                why = "was ended" if work.ending.is_set() else f"took longer than {LIMIT_S // 3600} h and was ended"
                self._finish(work, "ended", why)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _read(self, work: Work, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        held = ""
        while chunk := await process.stdout.read(CHUNK):
            held += chunk.decode(errors="replace")
            for step in STEP.finditer(held):
                work.step, work.percent = step["step"], int(step["percent"])
            held = STEP.sub("", held)[-SAID_MAX:]
            # a line that has not ended yet may be one of those
            self._say(work, held[: held.rfind("\n") + 1].strip() or "has begun")
        if held.strip():
            self._say(work, held.strip())

    def _say(self, work: Work, said: str) -> None:
        work.said = said
        self._told(_row(work))

    def _finish(self, work: Work, state: str, said: str) -> None:
        work.state, work.said, work.ended_at = state, said, datetime.now(UTC)
        self._told(_row(work))

    def _command(self, kind: str, asked: Mapping[str, Any]) -> list[str]:
        if kind == "job":
            if named(asked["name"]) is None:
                raise BadData(f"job {asked['name'][:40]!r}: there is none of that name")
            return ["data", "run", asked["name"]]
        if kind == "backtest":
            return _backtest(asked)
        if not asked["symbols"] and kind == "download":
            raise BadData("a download has to be told which symbols")
        for value in (*asked["symbols"], *asked["timeframes"], asked["source"]):
            if value.startswith("-"):
                raise BadData(f"{value[:40]!r} is neither a symbol, a timeframe nor a source")
        chosen = [part for name in asked["symbols"] for part in ("-p", name)]
        chosen += [part for name in asked["timeframes"] for part in ("-t", name)]
        chosen += ["--source", asked["source"]] if asked["source"] else []
        chosen += ["--days", str(asked["days"])]
        return ["data", kind, *chosen, *(["--out", str(self._export_to)] if kind == "export" else [])]


def _backtest(asked: Mapping[str, Any]) -> list[str]:
    # with = no value can be taken for an option
    given = [f"{option}={asked[name]}" for name, option in OPTIONS.items() if asked[name]]
    given += [f"--symbols={name}" for name in asked["symbols"]]
    given += [f"--strategy={name}" for name in asked["strategies"]]
    return ["backtest", "run", "--progress-lines", *given, *(["--allow-gaps"] if asked["allow_gaps"] else [])]


def _row(work: Work) -> dict[str, Any]:
    names = ("number", "kind", "state", "said", "step", "percent", "started_at", "ended_at")
    return {**{name: getattr(work, name) for name in names}, "command": " ".join(work.arguments)}

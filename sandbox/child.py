"""Starts the practice exchange as a child process, or finds the one that an earlier life left running."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import structlog

from domain.errors import ConfigError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

log = structlog.get_logger(__name__)

USAGE = 2
START_S = 30.0
POLL_S = 0.05
WATCH_S = 1.0
STOP_S = 3.0


@dataclass(frozen=True, slots=True)
class Address:
    """Where the practice exchange listens, and what its control endpoint asks for."""

    host: str
    port: int
    token: str = field(default="", repr=False)

    @property
    def rest(self) -> str:
        """Base of its REST addresses."""
        return f"http://{self.host}:{self.port}"

    @property
    def stream(self) -> str:
        """Base of its WebSocket addresses."""
        return f"ws://{self.host}:{self.port}"


class SandboxProcess:
    """The practice exchange on a state folder; ``arguments`` are those of ``manage.py sandbox serve``.

    It runs in a session of its own, so that whatever ends the bot does not end it.
    """

    def __init__(self, state_dir: Path, arguments: Sequence[str]) -> None:
        self._state_dir = state_dir
        self._arguments = list(arguments)
        self._process: subprocess.Popen[bytes] | None = None
        self.address: Address | None = None
        self.status: dict[str, Any] = {}

    @property
    def lived(self) -> bool:
        """Whether one has ever run on the folder."""
        return (self._state_dir / "arguments.json").exists()

    @property
    def spawned(self) -> bool:
        """Whether it was started here, not found running."""
        return self._process is not None

    async def start(self) -> Address:
        """Attach to the running one when it was started alike, else start one, and wait until it answers.

        Raises:
            ConfigError: when it refuses to come up; the text ends with its last words.
            Unavailable: when it does not come up for now.
        """
        self._state_dir.mkdir(parents=True, exist_ok=True)
        wanted = json.dumps(self._arguments)
        note = self._state_dir / "arguments.json"
        running = await self._running()
        if running is not None and note.exists() and note.read_text() == wanted:
            log.info("practice exchange found running", port=running.port)
        else:
            if running is not None:
                await self._tell(running, "/control/stop")
                await self._wait_gone()
            note.write_text(wanted)
            running = await self._spawn(0)
        self.address = running
        return running

    async def watch(self) -> None:
        """Start it again, at the same address, whenever it has died, until cancelled."""
        while True:
            await asyncio.sleep(WATCH_S)
            gone = self._process is not None and self._process.poll() is not None
            if (gone or self._process is None) and self.address and await self._running() is None:
                log.warning("practice exchange has died: starting it again")
                await self._spawn(self.address.port)

    async def acknowledge(self, time: int) -> None:
        """Tell a stepping market that the bars that closed at ``time`` have been handled."""
        if self.address is not None:
            await self._tell(self.address, f"/control/ack?time={time}")

    async def stop(self) -> None:
        """End it in good order."""
        if self.address is not None:
            with contextlib.suppress(Unavailable):
                await self._tell(self.address, "/control/stop")
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(self._process.wait, STOP_S)

    async def _spawn(self, port: int) -> Address:
        root = Path(__file__).parent.parent
        # by itself it is up in a fraction of the time that all of the operator's commands take to load
        program = f"import sys; sys.path.insert(0, {str(root)!r}); from sandbox.__main__ import main; sys.exit(main())"
        command = [
            sys.executable, "-c", program, "--state", str(self._state_dir.absolute()), "--port", str(port),
            *self._arguments,
        ]  # fmt: skip
        log_path = self._state_dir / "practice-exchange.log"
        with log_path.open("ab") as out:
            self._process = subprocess.Popen(  # noqa: ASYNC220, S603  returns at once; the command is our own
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        deadline = asyncio.get_running_loop().time() + START_S
        while asyncio.get_running_loop().time() < deadline:
            address = await self._running()
            if address is not None:
                return address
            if self._process.poll() is not None:
                break
            await asyncio.sleep(POLL_S)
        last = log_path.read_text(errors="replace").strip().splitlines()[-1:]
        # it says with 2 that something has to be changed; it may also have been too slow, or have been killed
        kind = ConfigError if self._process.poll() == USAGE else Unavailable
        raise kind(f"practice exchange did not start: {' '.join(last)} (see {log_path})")

    async def _running(self) -> Address | None:
        try:
            note = json.loads((self._state_dir / "endpoint.json").read_text())
            address = Address(note["host"], int(note["port"]), str(note.get("token", "")))
            self.status = await self._tell(address, "/control/status", "GET")
        except (OSError, ValueError, KeyError, Unavailable):
            return None
        return address

    async def _wait_gone(self) -> None:
        deadline = asyncio.get_running_loop().time() + STOP_S
        while asyncio.get_running_loop().time() < deadline and await self._running() is not None:
            await asyncio.sleep(POLL_S)

    @staticmethod
    async def _tell(address: Address, path: str, method: str = "POST") -> dict[str, Any]:
        timeout, headers = aiohttp.ClientTimeout(total=5), {"Authorization": f"Bearer {address.token}"}
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
                session.request(method, address.rest + path) as answer,
            ):
                body: dict[str, Any] = await answer.json()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unavailable(f"practice exchange: {error!r}") from error
        return body

"""The practice exchange inside a test's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web

from broker.client import BybitClient, Endpoint
from sandbox.exchange import Exchange, Terms
from sandbox.server import Server
from sandbox.store import SandboxStore
from sandbox.tape import GeneratedTape, Tape
from tests.bot import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

START = 1_763_000_000_000 - 1_763_000_000_000 % 21_600_000


class Practice:
    """A served exchange with its address and its fault switches."""

    def __init__(self, exchange: Exchange, port: int) -> None:
        self.exchange, self.port = exchange, port

    @property
    def rest(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def stream(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v5/public/linear"

    def client(self, key: str | None = None, secret: str | None = None) -> BybitClient:
        terms = self.exchange.terms
        endpoint = Endpoint(
            self.rest, f"ws://127.0.0.1:{self.port}", key or terms.key, secret or terms.secret, loopback=True
        )
        return BybitClient(endpoint)

    async def control(self, path: str, body: Any = None) -> Any:
        async with aiohttp.ClientSession() as session, session.post(f"{self.rest}/control/{path}", json=body) as answer:
            return await answer.json()

    async def faults(self, **switches: Any) -> Any:
        return await self.control("faults", switches)


@contextlib.asynccontextmanager
async def practice(
    folder: Path, *, tape: Tape | None = None, symbols: int = 4, **terms: Any
) -> AsyncIterator[Practice]:
    """Serve a practice exchange until the block is left; its limits are lifted unless a test is about them."""
    folder.mkdir(parents=True, exist_ok=True)
    store = SandboxStore(folder / "exchange.sqlite")
    exchange = Exchange(tape or GeneratedTape(3, symbols, START), store, Terms(**{"limits": False, **terms}))
    server = Server(exchange, 900)
    runner = web.AppRunner(server.application(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    running = asyncio.create_task(server.run())
    try:
        yield Practice(exchange, runner.addresses[0][1])
    finally:
        server.stopping.set()
        await running
        await runner.cleanup()
        store.close()


async def until(check: Any, what: str, seconds: float = 20.0) -> Any:
    """Ask again and again, letting the loop run, until the answer is true; return it."""
    async with asyncio.timeout(seconds * PATIENCE):
        while not (found := check()):
            await asyncio.sleep(0.01)
    assert found, what
    return found


def decoded(frames: list[str]) -> list[dict[str, Any]]:
    return [json.loads(frame) for frame in frames]

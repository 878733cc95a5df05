"""The practice exchange inside a test's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

import aiohttp
from aiohttp import web
from yarl import URL

from broker.bybit.rest import BybitClient, Endpoint
from sandbox.clock import wire_ms
from sandbox.exchange import Exchange, Terms
from sandbox.server import Server
from sandbox.store import SandboxStore
from sandbox.tape import GeneratedTape, Tape
from tests.bot import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

START = 1_763_000_000_000 - 1_763_000_000_000 % 21_600_000


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def code(self) -> int:
        return self.body["retCode"]

    @property
    def result(self) -> dict[str, Any]:
        assert self.code == 0, self.body
        return self.body["result"]


class Practice:
    """A served exchange with its address and its fault switches."""

    def __init__(self, exchange: Exchange, port: int, seen: set[tuple[str, str]], token: str) -> None:
        self.exchange, self.port, self.token = exchange, port, token
        self.seen = seen
        """Method and path of every request that was answered with retCode 0."""

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
        headers = {"Authorization": f"Bearer {self.token}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.post(f"{self.rest}/control/{path}", json=body) as answer,
        ):
            return await answer.json()

    async def ask(self, method: str, path: str, params: Any = None, **headers: str) -> Answer:
        """Send a signed request; ``params`` may be a string, which is sent as it is."""
        terms, stamp, posted = self.exchange.terms, str(wire_ms()), method == "POST"
        text = params if isinstance(params, str) else json.dumps(params or {}) if posted else urlencode(params or {})
        sign = hmac.new(terms.secret.encode(), f"{stamp}{terms.key}5000{text}".encode(errors="replace"), hashlib.sha256)
        signed = {
            "X-BAPI-API-KEY": terms.key, "X-BAPI-TIMESTAMP": stamp, "X-BAPI-RECV-WINDOW": "5000",
            "X-BAPI-SIGN": sign.hexdigest(), "Content-Type": "application/json", **headers,
        }  # fmt: skip
        url = URL(self.rest + path + ("" if posted or not text else f"?{text}"), encoded=True)
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, url, data=text.encode(errors="replace") if posted else None, headers=signed) as got,
        ):
            body = await got.text()
        return Answer(got.status, dict(got.headers), json.loads(body) if body[:1] == "{" else {"text": body})

    async def get(self, path: str, **params: Any) -> Answer:
        return await self.ask("GET", path, params)

    async def post(self, path: str, **params: Any) -> Answer:
        return await self.ask("POST", path, params)

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
    server, seen = Server(exchange, 900), set[tuple[str, str]]()
    app = server.application()
    app.middlewares.append(_recorded(seen))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    running = asyncio.create_task(server.run())
    try:
        yield Practice(exchange, runner.addresses[0][1], seen, server.token)
    finally:
        server.stopping.set()
        await running
        await runner.cleanup()
        store.close()


def _recorded(seen: set[tuple[str, str]]) -> Any:
    @web.middleware
    async def record(request: web.Request, handler: Any) -> web.StreamResponse:
        answer = await handler(request)
        if b'"retCode":0,' in (getattr(answer, "body", None) or b""):
            seen.add((request.method, request.path))
        return answer

    return record


async def until(check: Any, what: str, seconds: float = 20.0) -> Any:
    """Ask again and again, letting the loop run, until the answer is true; return it."""
    async with asyncio.timeout(seconds * PATIENCE):
        while not (found := check()):
            await asyncio.sleep(0.01)
    assert found, what
    return found


def decoded(frames: list[str]) -> list[dict[str, Any]]:
    return [json.loads(frame) for frame in frames]

"""Stands between a bot and an exchange, as a process of its own: passes everything on, and lies where it is told to.

``POST /liar`` tells it: ``lies``, each with the ``key`` of an answer or frame, the ``place`` in it and the ``kind``;
``fault``, ``503`` for every answer, or ``refused`` for what the key asks; ``cut`` ends all sockets now. It answers with
what it has seen, if ``seen`` is asked for, and with how often it has lied.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, WSMsgType, web

from tests.torture.bent import Place, bend, encoded, places

ROOT = Path(__file__).parents[2]
PRIVATE = ("/v5/account", "/v5/order", "/v5/position", "/v5/execution", "/v5/user", "/v5/asset")
REFUSED = {"retCode": 10003, "retMsg": "API key is invalid.", "result": {}, "retExtInfo": {}, "time": 0}
KEPT = {"content-type", *(f"x-bapi-limit{end}" for end in ("", "-status", "-reset-timestamp"))}
FRAME_BYTES_MAX = 1 << 24


class Liar:
    """The forwarding itself; ``there`` is host and port of the exchange."""

    def __init__(self, there: str, session: ClientSession) -> None:
        self._there, self._session = there, session
        self._lies: dict[str, list[tuple[Place, str]]] = {}
        self._fault = ""
        self._sockets: set[web.WebSocketResponse] = set()
        self._seen: dict[str, dict[Place, None]] = {}
        self._told = 0

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, or talk to one socket."""
        if self._fault == "503":
            return web.Response(status=503, text="unavailable")
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._talk(request)
        if self._fault == "refused" and request.path.startswith(PRIVATE):
            return web.json_response(REFUSED)
        body = await request.read()
        headers = {
            name: value for name, value in request.headers.items() if name.lower() not in {"host", "content-length"}
        }
        async with self._session.request(
            request.method, f"http://{self._there}{request.raw_path}", headers=headers, data=body
        ) as answer:
            told = await answer.read()
            kept = {name: value for name, value in answer.headers.items() if name.lower() in KEPT}
            return web.Response(
                body=self._bent(f"{request.method} {request.path}", told), status=answer.status, headers=kept
            )

    async def obey(self, request: web.Request) -> web.Response:
        """Take an order."""
        order = await request.json()
        told = self._told
        if "lies" in order:
            self._lies, self._told = {}, 0
            for lie in order["lies"]:
                self._lies.setdefault(lie["key"], []).append((tuple(lie["place"]), lie["kind"]))
        self._fault = order.get("fault", self._fault)
        if order.get("cut"):
            for socket in list(self._sockets):
                if socket._req is not None and socket._req.transport is not None:
                    socket._req.transport.abort()
        seen = {key: list(found) for key, found in self._seen.items()} if order.get("seen") else {}
        return web.json_response({"told": told, "seen": seen})

    async def _talk(self, request: web.Request) -> web.WebSocketResponse:
        here = web.WebSocketResponse(max_msg_size=FRAME_BYTES_MAX)
        await here.prepare(request)
        self._sockets.add(here)
        url = f"ws://{self._there}{request.raw_path}"
        try:
            async with self._session.ws_connect(url, max_msg_size=FRAME_BYTES_MAX) as there:
                asked = asyncio.create_task(self._pass(here, there, request.path, told=False))
                try:
                    await self._pass(there, here, request.path, told=True)
                finally:
                    asked.cancel()
        finally:
            self._sockets.discard(here)
            with contextlib.suppress(Exception):
                await here.close()
        return here

    async def _pass(self, source: Any, target: Any, path: str, *, told: bool) -> None:
        async for message in source:
            if message.type not in {WSMsgType.TEXT, WSMsgType.BINARY}:
                break
            text = message.data if isinstance(message.data, str) else message.data.decode()
            if told:
                text = self._frame(path, text)
            with contextlib.suppress(ConnectionError):
                await target.send_str(text)
        await target.close()

    def _frame(self, path: str, text: str) -> str:
        body = json.loads(text)
        word = str(body.get("op") or body.get("topic", "")).partition(".")[0]
        side = "private" if "private" in path else "public"
        if self._fault == "refused" and side == "private":
            body["success"] = False
        return self._bent(f"{side} {word}", encoded(body)).decode()

    def _bent(self, key: str, told: bytes) -> bytes:
        try:
            body = json.loads(told)
        except ValueError:
            return told
        seen = self._seen.setdefault(key, {})
        seen.update(dict.fromkeys(places(body)))
        for place, kind in self._lies.get(key, ()):
            with contextlib.suppress(TypeError, AttributeError):
                # an earlier lie may have taken what this one would bend
                self._told += bend(body, place, kind)
        return encoded(body) if key in self._lies else told


async def main(there: str) -> None:
    """Serve until standard input ends."""
    async with ClientSession(
        timeout=ClientTimeout(total=30), cookie_jar=DummyCookieJar(), auto_decompress=True
    ) as session:
        liar = Liar(there, session)
        app = web.Application(client_max_size=1 << 22)
        app.router.add_post("/liar", liar.obey)
        app.router.add_route("*", "/{tail:.*}", liar.serve)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        await runner.cleanup()


class LiarProcess:
    """The liar, started and told what to do."""

    def __init__(self, there: str) -> None:
        command = [sys.executable, "-m", "tests.torture.liar", there]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def tell(self, **order: Any) -> dict[str, Any]:
        """Give an order; return what it answers."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/liar", json.dumps(order).encode())
        with urllib.request.urlopen(request, timeout=30) as answer:
            return dict(json.load(answer))

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

"""What crowds, silence and strangers at the port deny: nothing to health checks, nothing to the owner."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING

import httpx
import pytest

from daemon.control_socket import listen
from dashboard import connections
from dashboard.forwarded import Forwarded
from dashboard.server import CONNECTIONS_MAX, OF_ONE_MAX, Server
from tests.page_desk import PASSWORD, Served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

STOP = {"confirm": True, "state": "stopped"}


@contextlib.asynccontextmanager
async def listening(folder: Path, served: Served) -> AsyncIterator[int]:
    server = Server(("127.0.0.1", 0), None, owner=lambda: listen(folder / "bot.sock"))
    port = await server.start(served.app, served.hub.close)
    try:
        yield port
    finally:
        await server.stop()


def owner(folder: Path) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.AsyncHTTPTransport(uds=str(folder / "bot.sock")), base_url="http://localhost"
    )


def public(port: int) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False)


@contextlib.asynccontextmanager
async def crowd(port: int, count: int, sent: bytes = b"") -> AsyncIterator[list[asyncio.StreamReader]]:
    """Hold so many connections that each send a little and then nothing."""
    held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(count)]
    for _, writer in held:
        writer.write(sent)
    try:
        yield [reader for reader, _ in held]
    finally:
        for _, writer in held:
            writer.transport.abort()


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET /healthz HT", b"POST /api/v1/panic HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\n{"],
    ids=["silent", "half a request", "half a body"],
)
async def test_connections_that_ask_nothing_deny_nothing(tmp_path, sent):
    """Found with 220 silent connections: 503 for everybody, health checks and the owner included."""
    async with listening(tmp_path, Served()) as port, crowd(port, CONNECTIONS_MAX + 20, sent), public(port) as anybody:
        for path in ("/healthz", "/readyz", "/api/v1/status", "/"):
            assert (await anybody.get(path)).status_code == 200
        async with owner(tmp_path) as program:
            assert (await program.post("/api/v1/switch", json=STOP)).json() == {"switch": "stopped"}


async def test_the_port_holds_so_many_connections_and_no_more(tmp_path):
    async with listening(tmp_path, Served()) as port, crowd(port, OF_ONE_MAX + 50) as readers, public(port) as anybody:
        assert (await anybody.get("/healthz")).status_code == 200
        gone = [reader for reader in readers if reader.at_eof()]
        # the oldest left, one for each that came after the room was full
        assert gone == readers[: len(gone)]
        assert len(gone) >= 50


async def test_what_is_being_answered_is_not_let_go_and_health_has_a_reserve(tmp_path, monkeypatch):
    monkeypatch.setattr("dashboard.server.OF_ONE_MAX", 3)
    served = Served()
    async with listening(tmp_path, served) as port, contextlib.AsyncExitStack() as stack:
        pages = []
        for _ in range(3):
            client = await stack.enter_async_context(public(port))
            answer = await stack.enter_async_context(client.stream("GET", "/api/v1/events"))
            chunks = answer.aiter_bytes()
            await anext(chunks)
            pages.append(chunks)
        async with public(port) as late, owner(tmp_path) as program:
            assert (await late.get("/healthz")).status_code == 200
            refused = await late.get("/api/v1/status")
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            assert (await program.get("/api/v1/status")).status_code == 200
        served.hub.publish("trade", {})
        for chunks in pages:
            assert b"event" in await anext(chunks)
        served.hub.close()


async def test_a_request_has_a_deadline_from_its_first_byte_on(tmp_path, monkeypatch):
    monkeypatch.setattr(connections, "REQUEST_S", 0.05)
    async with listening(tmp_path, Served()) as port:
        async with crowd(port, 5) as silent, asyncio.timeout(30):
            assert [await reader.read() for reader in silent] == [b""] * 5
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(30):
            with contextlib.suppress(ConnectionError):
                # one byte after another: each would have lengthened a deadline that counts from the last. A reset, as
                # the end of a connection with something unread, is told as an exception and not as an end
                while not reader.at_eof() and reader.exception() is None:
                    writer.write(b"G")
                    await asyncio.sleep(0.01)
        writer.transport.abort()


async def test_who_asks_and_does_not_read_is_let_go(tmp_path, monkeypatch):
    monkeypatch.setattr(connections, "STALL_S", 0.05)
    served = Served()
    async with listening(tmp_path, served) as port:
        with socket.socket() as peer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            peer.setblocking(False)
            await asyncio.get_running_loop().sock_connect(peer, ("127.0.0.1", port))
            peer.send(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            async with asyncio.timeout(60):
                while not served.hub.pages:
                    await asyncio.sleep(0)
                while served.hub.pages:
                    served.hub.publish("trade", {"x": "y" * 50_000})
                    await asyncio.sleep(0.001)
            assert not served.hub.pages


async def test_a_flood_of_requests_and_wrong_secrets_leave_the_owner_free(tmp_path):
    served = Served(password=PASSWORD, per_s=1)
    async with listening(tmp_path, served) as port, public(port) as stranger, owner(tmp_path) as program:
        codes = [(await stranger.post("/api/v1/session", json={"secret": "x"})).status_code for _ in range(12)]
        assert codes[-1] == 429
        for _ in range(30):
            assert (await program.get("/api/v1/status")).status_code == 200
        assert (await program.post("/api/v1/panic", json={"confirm": True})).status_code == 200
    assert served.deeds[-1]["by"] == "owner"


async def test_nothing_that_is_said_at_the_port_makes_one_the_owner(tmp_path):
    served = Served(password=PASSWORD)
    said = {"revenant.owner": "1", "X-Forwarded-For": "owner", "Host": "bot.sock"}
    async with listening(tmp_path, served) as port, public(port) as stranger:
        assert (await stranger.post("/api/v1/switch", json=STOP, headers=said)).status_code == 401
    assert served.desk.done == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_another_user_cannot_steer_the_bot_even_if_the_file_were_open(tmp_path, monkeypatch):
    served = Served()
    async with listening(tmp_path, served):
        assert (tmp_path / "bot.sock").stat().st_mode & 0o777 == 0o600
        monkeypatch.setattr("dashboard.connections.os.geteuid", lambda: 4_000)
        monkeypatch.setattr(connections, "ROOT", 4_001)
        async with owner(tmp_path) as somebody:
            with pytest.raises(httpx.TransportError):
                await somebody.post("/api/v1/switch", json=STOP)
    assert served.desk.done == []


@pytest.mark.parametrize(
    ("proxies", "header", "taken"),
    [
        (["*"], "10.0.1.1, 203.0.113.9", "203.0.113.9"),
        (["*"], "198.51.100.7", "198.51.100.7"),
        (["*"], "", "192.0.2.1"),
        (["*", "203.0.113.0/24"], "10.0.1.1, 198.51.100.7, 203.0.113.9", "198.51.100.7"),
        (["192.0.2.1"], "10.0.1.1, 203.0.113.9", "203.0.113.9"),
        (["192.0.2.2"], "10.0.1.1, 203.0.113.9", "192.0.2.1"),
    ],
)
async def test_the_address_is_the_rightmost_that_is_no_proxy_of_ours(proxies, header, taken):
    """Found with ``*``: the leftmost counted, so that every guess of a password came from an address of its own."""
    seen: list[str] = []

    async def app(scope, *_):
        seen.append(scope["client"][0])

    headers = [(b"x-forwarded-for", header.encode())] if header else []
    await Forwarded(app, proxies)({"type": "http", "client": ("192.0.2.1", 5), "headers": headers}, None, None)
    assert seen == [taken]

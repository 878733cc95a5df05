"""Programs of this machine may use the practice exchange; pages that a browser shows may not, nor control it."""

from __future__ import annotations

import json
import stat

import aiohttp
import pytest

from sandbox.access import kept_token
from sandbox.store import SandboxStore
from tests.practice import Practice, practice

CONTROLS = [("GET", "status"), ("POST", "faults"), ("POST", "ack"), ("POST", "stop")]


async def asked(exchange: Practice, method: str, path: str, **headers: str) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, exchange.rest + path, data='{"lose_stops": true}', headers=headers) as answer,
    ):
        return answer.status


@pytest.mark.parametrize(("method", "name"), CONTROLS)
async def test_control_asks_for_the_token(tmp_path, method, name):
    async with practice(tmp_path) as exchange:
        for said in ("", "Bearer ", "Bearer wrong", f"Basic {exchange.token}", exchange.token, "Bearer \u00fc"):
            headers = {"Authorization": said} if said else {}
            assert await asked(exchange, method, f"/control/{name}", **headers) == 401
        assert await exchange.control("faults", {"delay_ms": 0}) == {"ok": True}


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1", "http://127.0.0.1.evil.example", "http://["]
)
async def test_no_page_of_another_origin_is_answered(tmp_path, origin):
    """Neither the control endpoint, whatever it knows, nor anything else: the practice key is no secret."""
    async with practice(tmp_path) as exchange:
        right = {"Authorization": f"Bearer {exchange.token}", "Origin": origin}
        for path in ("/control/stop", "/v5/order/create"):
            assert await asked(exchange, "POST", path, **right) == 403
        for path in ("/v5/private", "/v5/trade", "/v5/public/linear"):
            async with aiohttp.ClientSession() as session:
                with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                    await session.ws_connect(f"ws://127.0.0.1:{exchange.port}{path}", origin=origin)
                assert refused.value.status == 403
        assert (await exchange.get("/v5/order/realtime", category="linear", settleCoin="USDT")).code == 0


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "10.0.0.1", "", "["])
async def test_a_name_that_was_led_here_is_not_answered(tmp_path, host):
    """A page that has its own name lead to loopback is of the same origin as what it asks."""
    async with practice(tmp_path) as exchange:
        right = {"Authorization": f"Bearer {exchange.token}", "Origin": f"http://{host}", "Host": host}
        assert await asked(exchange, "POST", "/control/stop", **right) == 421
        assert await asked(exchange, "GET", "/v5/market/time", Host=host) == 421


async def test_clients_that_name_the_exchange_itself_as_origin_are_served(tmp_path):
    """Some libraries for sockets always send one."""
    async with practice(tmp_path) as exchange, aiohttp.ClientSession() as session:
        for name in ("127.0.0.1", "localhost"):
            place = f"{name}:{exchange.port}"
            socket = await session.ws_connect(f"ws://{place}/v5/public/linear", origin=f"http://{place}")
            assert not socket.closed
            await socket.close()


def test_the_token_stays_the_same_over_restarts(tmp_path):
    store = SandboxStore(tmp_path / "exchange.sqlite")
    first = kept_token(store)
    store.close()
    again = SandboxStore(tmp_path / "exchange.sqlite")
    assert kept_token(again) == first
    again.close()


def test_only_the_owner_can_read_the_token(tmp_path):
    from sandbox.server import _announce

    _announce(tmp_path / "endpoint.json", {"token": "x"})
    assert stat.S_IMODE((tmp_path / "endpoint.json").stat().st_mode) == 0o600
    assert json.loads((tmp_path / "endpoint.json").read_text()) == {"token": "x"}

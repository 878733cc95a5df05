"""Other bots on the page: each has its row, and what one of them does, or leaves undone, stays in it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web
from pydantic import ValidationError

from dashboard.others import SIZE_MAX, Other, Others
from dashboard.server import Server
from page_section import Dashboard
from tests.page_desk import PASSWORD, Served

VIEWER = "the password of who looks"


async def answering(handler: Any) -> tuple[web.AppRunner, str]:
    """Serve whatever is asked by a handler; return its server and address."""
    app = web.Application()
    app.router.add_get("/{rest:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"


async def test_a_bot_is_shown_as_it_stands_with_a_token_that_only_looks():
    other = Served(password=PASSWORD, viewer=VIEWER)
    server = Server(("127.0.0.1", 0), None)
    url = f"http://127.0.0.1:{await server.start(other.app, lambda: None)}"
    ours = Served(others=Others([Other("second", url, VIEWER), Other("wrong", url, "not its password")]))
    async with ours.client() as client:
        good, wrong = (await client.get("/api/v1/bots")).json()
    await server.stop()
    assert good == {
        "name": "second", "url": url, "error": "", "mode": "SYNTHETIC", "switch": "running", "ready": True, "reasons": [],
        "equity": "10250.50", "day_pnl": "-12.00", "open_pnl": "+9.59", "open": 1,
    }  # fmt: skip
    assert "viewer password" in wrong["error"]
    assert VIEWER not in str((good, wrong))


async def test_a_bot_that_fails_in_any_way_has_a_row_that_says_so():
    went = asyncio.Event()
    seen: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        kind = request.path.split("/")[1]
        seen.append(kind)
        if kind == "silent":
            await went.wait()
        if kind == "away":
            raise web.HTTPFound("/stolen/api/v1/status")
        if kind == "broken":
            return web.Response(status=500)
        return web.Response(text={"large": "x" * (SIZE_MAX + 1), "html": "<p>", "other": "{}"}.get(kind, "[]"))

    runner, url = await answering(handler)
    kinds = ["silent", "away", "broken", "large", "html", "other"]
    bots = [Other(kind, f"{url}/{kind}", "secret") for kind in kinds]
    rows = await Others([*bots, Other("nobody", "http://127.0.0.1:1", "")]).rows()
    went.set()
    await runner.cleanup()
    said = {one["name"]: one["error"] for one in rows}
    assert said == {
        "silent": "no answer within 3 s", "away": "it answers HTTP 302", "broken": "it answers HTTP 500",
        "large": f"its answer is larger than {SIZE_MAX} bytes",
        "html": "its answer is not understood: is it a bot of this version?",
        "other": "its answer is not understood: is it a bot of this version?",
        "nobody": "cannot be reached",
    }  # fmt: skip
    assert "stolen" not in seen


async def test_many_who_look_at_once_ask_a_bot_once():
    asked = 0

    async def handler(_: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.json_response({})

    runner, url = await answering(handler)
    others = Others([Other("one", url, "")])
    await asyncio.gather(*(others.rows() for _ in range(20)))
    await runner.cleanup()
    assert asked == 1


async def test_without_other_bots_there_is_nothing_to_show_and_only_readers_ask():
    async with Served().client() as client:
        assert (await client.get("/api/v1/bots")).json() == []
    async with Served(password=PASSWORD).client() as client:
        assert (await client.get("/api/v1/bots")).status_code == 401


@pytest.mark.parametrize(
    "url", ["bot.example", "ftp://bot.example", "https://", "https://me:secret@bot.example", "https://a b"]
)
def test_an_address_that_cannot_be_asked_is_refused(url):
    with pytest.raises(ValidationError, match="give the address of its page"):
        Dashboard(bots=[{"name": "x", "url": url}])


def test_a_token_is_masked_wherever_settings_are_shown():
    held = Dashboard(bots=[{"name": "x", "url": "https://bot.example/", "token": "secret enough"}])
    assert held.bots[0].url == "https://bot.example"
    assert "secret enough" not in repr(held)

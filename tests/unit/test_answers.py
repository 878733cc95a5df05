"""Answers have a size, whoever sends them, and pages have an end."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import zipfile
import zlib

import aiohttp
import pytest
from aiohttp import web
from telegram.error import NetworkError, RetryAfter, TelegramError

from broker.bybit import rest
from broker.bybit.rest import BybitClient, Endpoint
from domain.errors import BadData, Unavailable
from formats import container
from history.sources import exchange
from history.sources import web as history_web
from telegram_bot.line import ANSWER_BYTES_MAX, WAIT_S_MAX, Line

DEEP = b"[" * 100_000 + b"]" * 100_000


@contextlib.asynccontextmanager
async def serving(body, *, status=200, packed=False):
    """Serve an answer on the loopback interface; yield the address."""

    async def answer(_):
        headers = {"Content-Type": "application/json"} | ({"Content-Encoding": "gzip"} if packed else {})
        made = web.StreamResponse(status=status, headers=headers)
        await made.prepare(_)
        with contextlib.suppress(ConnectionError):
            await made.write(body)
        return made

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
    finally:
        await runner.cleanup()


def bomb(size):
    """Return a gzip of so many bytes, a thousandth of that."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packer.compress(b" " * size) + packer.flush()


@pytest.mark.parametrize(("body", "packed"), [
    (b'{"result": {"list": ["' + b"x" * rest.ANSWER_BYTES_MAX + b'"]}}', False), (bomb(4 * rest.ANSWER_BYTES_MAX), True),
    (b'{"retCode": 0, "result": {"list": ' + DEEP + b"}}", False), (DEEP, False),
], ids=["long", "bomb", "deep inside", "deep"])  # fmt: skip
async def test_an_answer_of_the_exchange_that_is_too_long_or_too_deep_is_none(monkeypatch, body, packed):
    monkeypatch.setattr(rest, "GET_ATTEMPTS", 1)
    async with serving(body, packed=packed) as address:
        client = BybitClient(Endpoint(address, "", loopback=True))
        try:
            with pytest.raises(Unavailable):
                await client.get("v5/market/tickers", {"category": "linear"})
        finally:
            await client.close()


async def test_an_answer_as_long_as_may_be_is_read_whole():
    rows = [{"symbol": "A" * 1_000} for _ in range(rest.ANSWER_BYTES_MAX // 1_100)]
    async with serving(
        gzip.compress(json.dumps({"retCode": 0, "result": {"list": rows}}).encode()), packed=True
    ) as address:
        client = BybitClient(Endpoint(address, "", loopback=True))
        try:
            assert (await client.get("v5/market/tickers", {"category": "linear"}))["list"] == rows
        finally:
            await client.close()


@pytest.mark.parametrize("cursors", [["a", "b", "a"], None], ids=["in a circle", "without end"])
async def test_pages_that_have_no_end_are_no_answer(monkeypatch, cursors):
    monkeypatch.setattr(rest, "PAGES_MAX", 20)
    client, asked = BybitClient(Endpoint("http://127.0.0.1:1", "", loopback=True)), []

    async def get(_path, params):
        asked.append(params)
        return {"list": [], "nextPageCursor": cursors[len(asked) - 1] if cursors else str(len(asked))}

    client.get = get
    with pytest.raises(Unavailable, match="no end"):
        [page async for page in client.pages("v5/execution/list", {})]
    assert len(asked) == (3 if cursors else 20)
    await client.close()


async def test_exchanges_of_the_history_have_answers_of_bounded_size_too():
    kind = exchange._bounded(exchange._ccxt().binance)
    client = kind({"enableRateLimit": False})
    try:
        client.open()
        assert kind.__name__ == "binance"
        assert issubclass(client.session._response_class, aiohttp.ClientResponse)
        assert client.session._response_class is not aiohttp.ClientResponse
    finally:
        await client.close()


@pytest.mark.parametrize("body", [bomb(2 * history_web.JSON_BYTES_MAX), DEEP], ids=["bomb", "deep"])
async def test_json_of_a_web_source_is_bounded(body):
    budget = type("Budget", (), {"take": staticmethod(_nothing), "ban": lambda *_: None})()
    async with serving(body, packed=body is not DEEP) as address:
        source = history_web.Web(type("Host", (), {"name": "host"})(), lambda _: budget, address, {})
        try:
            with pytest.raises((Unavailable, history_web.Rejected)):
                await source.json("/x")
        finally:
            await source.close()


async def _nothing(*_):
    return None


def test_a_retry_after_of_a_web_source_has_a_limit():
    banned = []
    budget = type("Budget", (), {"ban": staticmethod(banned.append)})()
    source = history_web.Web(type("Host", (), {"name": "host"})(), lambda _: budget, "", {})
    with pytest.raises(history_web.Throttled):
        source._judged(429, "9" * 20, b"", "/x")
    assert banned == [history_web.BAN_S_MAX]


def test_members_of_archives_are_bounded(monkeypatch, tmp_path):
    monkeypatch.setattr(history_web, "MEMBER_BYTES_MAX", 1_000)
    monkeypatch.setattr(container, "BYTES_MAX", 5_000)
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a.csv", "1" * 100_000)
    with pytest.raises(Unavailable, match="more than"):
        history_web._unzipped(held.getvalue(), "a.zip")
    (tmp_path / "BTCUSDT-1m-2026-03.csv.gz").write_bytes(bomb(100_000))
    with pytest.raises(BadData, match="more than"):
        container.unpacked(tmp_path / "BTCUSDT-1m-2026-03.csv.gz")


@pytest.mark.filterwarnings("ignore::telegram.warnings.PTBDeprecationWarning")
@pytest.mark.parametrize("told", [10**9, 10**400, 1e308, 0.0001, -5], ids=lambda told: f"{str(told)[:8]}")
async def test_telegram_makes_nobody_wait_for_longer_than_a_minute(told):
    body = json.dumps(
        {"ok": False, "error_code": 429, "description": "slow", "parameters": {"retry_after": told}}
    ).encode()
    async with serving(body, status=429) as address, Line() as line:
        with pytest.raises(TelegramError) as raised:
            await line.post(address)
    if isinstance(raised.value, RetryAfter):
        assert 1 <= raised.value._retry_after.total_seconds() <= WAIT_S_MAX


@pytest.mark.parametrize(("body", "packed"), [
    (b'{"ok": true, "result": "' + b"x" * ANSWER_BYTES_MAX + b'"}', False), (bomb(10 * ANSWER_BYTES_MAX), True),
    (DEEP, False), (b'{"ok": true, "result": ' + DEEP + b"}", False), (b"[]", False), (b"", False), (b"\xff", False),
])  # fmt: skip
@pytest.mark.parametrize("status", [200, 429, 500])
async def test_an_answer_that_is_none_of_telegrams_is_an_error_that_is_waited_out(body, packed, status):
    async with serving(body, packed=packed, status=status) as address, Line() as line:
        with pytest.raises(TelegramError):
            await line.post(address)


@pytest.mark.parametrize("wrong", [
    {"parameters": 5}, {"parameters": []}, {"parameters": {"retry_after": "soon"}}, {"description": {"a": [1]}},
    {"parameters": {"retry_after": {}, "migrate_to_chat_id": "x"}},
])  # fmt: skip
async def test_an_error_of_another_form_is_an_error_all_the_same(wrong):
    async with serving(json.dumps({"ok": False, **wrong}).encode(), status=429) as address, Line() as line:
        with pytest.raises(NetworkError):
            await line.post(address)
    async with serving(json.dumps({"ok": True, **wrong}).encode()) as address, Line() as line:
        assert await line.post(address) is None

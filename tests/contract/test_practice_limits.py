"""The practice exchange limits its clients as Bybit does: by path and account, by address, by connections."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
import websockets

from sandbox.limits import PER_SECOND, Limits
from sandbox.rest import Rest
from tests.practice import practice
from tests.trade_client import Trading

ORDER = {
    "category": "linear",
    "symbol": "BTCUSDT",
    "side": "Buy",
    "orderType": "Limit",
    "qty": "0.001",
    "price": "60000",
}


async def test_the_eleventh_order_in_a_second_is_refused_and_the_headers_say_so(tmp_path):
    async with practice(tmp_path, speed=1, limits=True) as exchange:
        answers = await asyncio.gather(*(exchange.post("/v5/order/create", **ORDER) for _ in range(13)))
        codes = [answer.code for answer in answers]
        # what is slow here may fall into a second of its own, but never more than ten into one
        assert codes.count(0) >= 10
        last = [answer for answer in answers if answer.code][-1]
        assert (last.code, last.body["retMsg"]) == (10006, "Too many visits!")
        assert (last.headers["X-Bapi-Limit"], last.headers["X-Bapi-Limit-Status"]) == ("10", "0")
        assert int(last.headers["X-Bapi-Limit-Reset-Timestamp"]) > last.body["time"]
        wallet = await exchange.get("/v5/account/wallet-balance", accountType="UNIFIED")
        assert (wallet.code, wallet.headers["X-Bapi-Limit"]) == (0, "50")


async def test_a_wrong_signature_costs_nothing_of_the_account(tmp_path):
    async with practice(tmp_path, speed=1, limits=True) as exchange:
        for _ in range(12):
            refused = await exchange.ask("POST", "/v5/order/create", ORDER, **{"X-BAPI-SIGN": "00"})
            assert refused.code == 10004
        assert (await exchange.post("/v5/order/create", **ORDER)).headers["X-Bapi-Limit-Status"] == "9"


async def test_orders_of_a_batch_count_one_by_one_and_those_beyond_are_refused(tmp_path):
    """Source: docs, rate-limit, instructions for batch endpoints."""
    async with practice(tmp_path, speed=1, limits=True) as exchange:
        rows = [{name: value for name, value in ORDER.items() if name != "category"}] * 12
        answer = await exchange.post("/v5/order/create-batch", category="linear", request=rows)
        codes = [row["code"] for row in answer.body["retExtInfo"]["list"]]
        assert codes == [0] * 10 + [10006] * 2
        assert [bool(row["orderId"]) for row in answer.result["list"]] == [True] * 10 + [False] * 2
        # they do not share with single orders
        assert (await exchange.post("/v5/order/create", **ORDER)).code == 0


async def test_the_trade_socket_shares_the_limit_with_rest(tmp_path):
    async with practice(tmp_path, speed=1, limits=True) as exchange, Trading(exchange) as socket:
        answers = [await socket.ask("order.create", ORDER) for _ in range(5)]
        assert [answer["header"]["X-Bapi-Limit-Status"] for answer in answers[:1]] == ["9"]
        spent = (await exchange.post("/v5/order/create", **ORDER)).headers["X-Bapi-Limit-Status"]
        assert int(spent) < 9


async def test_an_address_that_asks_too_often_hears_403_until_the_ban_ends(tmp_path):
    async with practice(tmp_path, speed=1, limits=True) as exchange:
        await exchange.faults(ban_s=0.5)

        async def time(session: aiohttp.ClientSession) -> int:
            async with session.get(f"{exchange.rest}/v5/market/time") as answer:
                return answer.status

        async with aiohttp.ClientSession() as session:
            statuses = [await time(session) for _ in range(600)]
            while statuses[-1] == 200:
                # on a slow machine 600 take longer than five seconds
                statuses += await asyncio.gather(*(time(session) for _ in range(100)))
            assert statuses[:600].count(200) >= 599
            assert await time(session) == 403
            refused = await exchange.post("/v5/order/create", **ORDER)
            assert (refused.status, refused.body["text"]) == (403, "403, access too frequent")
            async with asyncio.timeout(20):
                while await time(session) == 403:
                    await asyncio.sleep(0.05)


async def test_a_connection_too_many_is_turned_away(tmp_path, monkeypatch):
    monkeypatch.setattr("sandbox.limits.CONNECTIONS", 2)
    async with practice(tmp_path, speed=1, limits=True) as exchange:
        async with websockets.connect(exchange.stream, proxy=None), websockets.connect(exchange.stream, proxy=None):
            with pytest.raises(websockets.InvalidStatus, match="403"):
                await websockets.connect(exchange.stream, proxy=None)


async def test_every_private_path_has_a_documented_limit(tmp_path):
    async with practice(tmp_path) as exchange:
        paths = {path for _, path in Rest(exchange.exchange, lambda _: None, Limits(exchange.exchange.terms)).private}
        assert paths == set(PER_SECOND)

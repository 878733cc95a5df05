"""The private stream: what it does before it reports anything, what it reports, and how it comes back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from decimal import Decimal as D

import pytest
from aiohttp import WSMsgType, web

from broker.bybit import BybitBroker
from broker.bybit.messages import Rows
from broker.bybit.stream import PrivateStream, StreamLimits
from domain.ids import order_id
from domain.order import Cause, OrderReport, OrderState, PositionReport
from domain.records import Fill
from tests.practice import practice, until

OURS = order_id("ABCDEFGHIJKLMNOPQRSTUVWX", "x", 0, paper=False)
QUICK = StreamLimits(open_s=2.0, close_s=0.1, ping_s=0.05, silence_s=0.3, backoff_s=(0.01, 0.05), down_s=0.1)
EXECUTION = {
    "category": "linear", "symbol": "BTCUSDT", "orderId": "v", "orderLinkId": OURS, "side": "Sell", "execFee": "0.1",
    "execId": "x1", "execPrice": "100", "execQty": "1", "execType": "Trade", "execTime": "1672282722429",
    "stopOrderType": "", "closedSize": "1", "isMaker": False, "createType": "CreateByUser", "feeCurrency": "USDT",
}  # fmt: skip
ORDER = {
    "category": "linear", "symbol": "BTCUSDT", "orderId": "v", "orderLinkId": OURS, "orderStatus": "Cancelled",
    "cumExecQty": "0.4", "rejectReason": "EC_NoImmediateQtyToFill", "cancelType": "UNKNOWN",
}  # fmt: skip
POSITION = {
    "category": "linear", "symbol": "BTCUSDT", "side": "Sell", "size": "2", "positionIdx": 2, "entryPrice": "100",
    "stopLoss": "", "takeProfit": "90", "leverage": "5", "markPrice": "101", "unrealisedPnl": "-2", "liqPrice": "119",
}  # fmt: skip


def frame(topic, *rows):
    return {"topic": topic, "id": "1", "creationTime": 1, "data": list(rows)}


class Venue:
    """A private stream that does as a test wants."""

    def __init__(self):
        self.asked, self.connects, self.sockets = [], [], []
        self.login = self.subscribes = True
        self.early, self.pongs = [], True

    async def serve(self, request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.connects.append(request.path)
        self.sockets.append(socket)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await self.answer(socket, json.loads(message.data))
        return socket

    async def answer(self, socket, asked):
        self.asked.append(asked)
        operation = asked["op"]
        if operation == "ping" and self.pongs:
            await socket.send_json({"op": "pong", "args": ["1"], "conn_id": "c", "req_id": asked["req_id"]})
        elif operation == "auth":
            await socket.send_json(
                {"success": self.login, "ret_msg": "" if self.login else "API key is invalid.", "op": "auth"}
            )
        elif operation == "subscribe":
            for one in self.early:
                await socket.send_json(one)
            await socket.send_json({"success": self.subscribes, "ret_msg": "", "op": "subscribe"})

    async def send(self, *frames):
        for one in frames:
            await self.sockets[-1].send_str(one if isinstance(one, str) else json.dumps(one))


@contextlib.asynccontextmanager
async def served(venue):
    app = web.Application()
    app.router.add_get("/{name}/v5/private", venue.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.fixture
async def venue():
    held = Venue()
    async with served(held) as url:
        held.rows = Rows()
        held.stream = PrivateStream([f"{url}/one", f"{url}/two"], "key", "secret", held.rows.told, QUICK)
        yield held


async def next_of(events):
    async with asyncio.timeout(10):
        return list(await anext(events))


async def test_it_is_connected_once_its_subscriptions_stand_and_what_came_before_is_not_lost(venue):
    venue.early = [frame("order", ORDER), {"op": "pong"}, frame("wallet", {"coin": []})]
    async with contextlib.aclosing(venue.stream.events()) as events:
        assert await next_of(events) == []
        assert [asked["op"] for asked in venue.asked] == ["auth", "subscribe"]
        assert sorted(venue.asked[1]["args"]) == ["execution", "order", "position"]
        assert venue.stream.status.connected
        assert [type(one) for one in await next_of(events)] == [OrderReport]
        await venue.send(frame("execution", EXECUTION, {**EXECUTION, "execId": "x2"}), frame("position", POSITION))
        assert [fill.exec_id for fill in await next_of(events)] == ["x1", "x2"]
        (position,) = await next_of(events)
        assert position == PositionReport("BTC/USDT:USDT", D(-2), D(100), D(0), D(90), D(5), D(101), D(-2), 2, D(119))
    assert not venue.stream.status.connected


async def test_a_refused_login_is_tried_again_on_the_other_host_and_shown_meanwhile(venue):
    venue.login = False
    async with contextlib.aclosing(venue.stream.events()) as events:
        first = asyncio.ensure_future(anext(events))
        await until(lambda: len(venue.connects) >= 3 and venue.stream.obstacle(), "asked again and again")
        assert venue.connects[:3] == [f"/{name}/v5/private" for name in ("one", "two", "one")]
        assert "API key is invalid" in venue.stream.obstacle()
        assert venue.stream.obstacle().startswith("private stream down since")
        venue.login = True
        assert list(await asyncio.wait_for(first, 10)) == []
        assert (venue.stream.obstacle(), venue.stream.status.connects) == ("", 1)
        assert venue.stream.status.failures >= 3


async def test_a_socket_without_any_frame_is_dead_and_one_that_answers_pings_is_not(venue):
    async with contextlib.aclosing(venue.stream.events()) as events:
        assert await next_of(events) == []
        waiting = asyncio.ensure_future(anext(events))
        await until(lambda: sum(asked["op"] == "ping" for asked in venue.asked) > 20, "pinged for long")
        assert venue.stream.status.connected
        assert not waiting.done()
        venue.pongs = False
        assert list(await asyncio.wait_for(waiting, 10)) == []
        assert (venue.stream.status.connects, venue.stream.status.failures) == (2, 1)


async def test_a_dropped_socket_is_reopened_and_says_so(venue):
    async with contextlib.aclosing(venue.stream.events()) as events:
        for connects in (1, 2, 3):
            assert await next_of(events) == []
            assert venue.stream.status.connects == connects
            await venue.sockets[-1].close()


async def test_frames_that_cannot_be_read_are_kept_and_hide_no_other(venue):
    async with contextlib.aclosing(venue.stream.events()) as events:
        assert await next_of(events) == []
        await venue.send(
            "{", "[]", '{"topic": 5}', '{"topic":"execution"}', '{"topic":"order","data":{}}', '{"topic":"spread","data":[1]}',
            # without fee and kind: not subscribed to, and never taken for the other
            json.dumps(frame("execution.fast", {**EXECUTION, "execId": "fast"})),
            frame("execution", {**EXECUTION, "execQty": "NaN"}, 7, {**EXECUTION, "execType": "Novelty", "execId": "n"}, EXECUTION),
        )  # fmt: skip
        assert [fill.exec_id for fill in await next_of(events)] == ["x1"]
        kept = venue.rows.unread()
        assert len(kept) == 7
        assert [one.what for one in kept][-1] == "execution of an unknown kind: Novelty"
        assert (kept[-1].symbol, kept[-1].time) == ("BTC/USDT:USDT", 1672282722429)
        assert venue.rows.unread() == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, (OrderState.CANCELLED, D("0.4"), "EC_NoImmediateQtyToFill")),
        ({"orderStatus": "PartiallyFilledCanceled", "rejectReason": "EC_NoError"}, (OrderState.CANCELLED, D("0.4"), "")),
        ({"orderStatus": "Rejected", "rejectReason": "EC_ReachMarketPriceLimit"}, (OrderState.REJECTED, D("0.4"), "EC_ReachMarketPriceLimit")),
        ({"rejectReason": "EC_NoError", "cancelType": "CancelByReduceOnly"}, (OrderState.CANCELLED, D("0.4"), "CancelByReduceOnly")),
        # a cancellation that came too late: the order has filled, and was not refused
        ({"orderStatus": "Filled", "cancelType": "CancelByUser", "rejectReason": "EC_OrigClOrdIDDoesNotExist"}, (OrderState.FILLED, D("0.4"), "")),
        ({"orderStatus": "PartiallyFilled", "rejectReason": "EC_NoError"}, (OrderState.WORKING, D("0.4"), "")),
        ({"orderStatus": "Unheard-of"}, (OrderState.WORKING, D("0.4"), "")),
        ({"orderLinkId": "somebody-elses"}, None),
        ({"orderLinkId": ""}, None),
        ({"category": "spot"}, None),
    ],
)  # fmt: skip
def test_orders_of_ours_are_reported_as_they_stand(change, expected):
    reports = Rows().told("order", [{**ORDER, **change}])
    found = [(one.state, one.filled_qty, one.reason) for one in reports]
    assert found == ([expected] if expected else [])
    assert all((one.order_id, one.symbol) == (OURS, "BTC/USDT:USDT") for one in reports)


@pytest.mark.parametrize("fault", [{"code": 10005}, {"status": 401}, {"code": 10006}], ids=str)
async def test_nothing_is_asked_that_a_key_for_trading_alone_may_be_refused(tmp_path, fault):
    async with practice(tmp_path, speed=0.001) as exchange:
        await exchange.faults(answer={"path": "/v5/asset/coin/query-info", "times": 1_000, **fault})
        client = exchange.client()
        broker = BybitBroker(client)
        async with contextlib.aclosing(broker.stream()) as events:
            assert await next_of(events) == []
            assert broker.private_stream.connected
            assert broker.obstacles() == []
        assert client.counts["sent"] == 0
        await client.close()


def test_no_row_of_any_topic_ever_raises_and_what_is_reported_is_sound():
    draw, rows = random.Random(11), Rows()
    strange = [
        "",
        None,
        -1,
        0,
        1e308,
        "1e999",
        "NaN",
        "Infinity",
        "-0",
        [],
        {},
        [[]],
        "x" * 50,
        True,
        10**5000,
        "99999999999999999999",
    ]
    for _ in range(20_000):
        topic, sample = draw.choice([("execution", EXECUTION), ("order", ORDER), ("position", POSITION)])
        row = dict(sample)
        for name in draw.sample(sorted(row), draw.randint(1, 3)):
            if draw.random() < 0.3:
                del row[name]
            else:
                row[name] = draw.choice(strange)
        for told in rows.told(topic, draw.choice([[row], [row], row, [row, 5], None])):
            assert told.symbol
            for name in ("qty", "price", "fee", "closed_qty", "filled_qty", "entry_price", "stop", "liquidation"):
                value = getattr(told, name, D(0))
                assert isinstance(value, D)
                assert value.is_finite()
            assert not isinstance(told, Fill) or (told.qty > 0 and told.cause in set(Cause))
    assert len(rows.unread()) <= 200


async def test_how_long_it_has_been_so_is_told_in_seconds(venue):
    status = venue.stream.status
    assert status.report(100.0) == {
        "connected": False,
        "seconds": 0.0,
        "connects": 0,
        "failures": 0,
        "reason": "not opened yet",
    }
    async with contextlib.aclosing(venue.stream.events()) as events:
        assert await next_of(events) == []
        told = status.report(status.since + 2.0)
        assert told == {"connected": True, "seconds": 2.0, "connects": 1, "failures": 0, "reason": ""}

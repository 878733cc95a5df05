"""What goes out how fast, what is repeated, and what happens when the exchange shuts us out."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import defaultdict
from decimal import Decimal as D

import pytest
from aiohttp import web

from bootstrap.assembly import _patiently
from broker.bybit import BybitBroker
from broker.bybit.access import Access
from broker.bybit.errors import CURES, AddressBlocked, Banned, KeyRefused
from broker.bybit.pacing import EXITS_ONLY, PER_SECOND, WINDOW_S, Pacing
from broker.bybit.rest import BybitClient, Endpoint, _Heard
from domain.errors import ConfigError, OutcomeUnknown, Rejected, Unavailable
from domain.ids import order_id
from domain.order import OrderKind, OrderRequest, OrderSide
from persistence.budget import SharedBudget
from tests.practice import until

DIGEST = "ABCDEFGHIJKLMNOPQRSTUVWX"
CREATE, LEVERAGE, STOP = "v5/order/create", "v5/position/set-leverage", "v5/position/trading-stop"


class Counting:
    """Answers every request, with 10006 where a path gets more than its limit in a rolling second."""

    def __init__(self, limits=None):
        self.limits = PER_SECOND if limits is None else limits
        self.came, self.refused, self.bodies, self.answers = defaultdict(list), 0, [], []
        self.headers = True

    async def serve(self, request):
        path, now = request.path.lstrip("/"), time.monotonic()
        self.bodies.append((path, json.loads(await request.text() or "{}")))
        if self.answers:
            status, answer = self.answers.pop(0)
            return web.Response(status=status, text=answer if isinstance(answer, str) else json.dumps(answer))
        recent = [one for one in self.came[path] if one > now - 1.0]
        limit = self.limits.get(path, 10_000)
        headers = {"X-Bapi-Limit": str(limit), "X-Bapi-Limit-Status": str(max(0, limit - len(recent) - 1))}
        if len(recent) >= limit:
            self.refused += 1
            stamp = str(int(time.time() * 1000 + (recent[0] + 1.0 - now) * 1000))
            return web.json_response({"retCode": 10006, "retMsg": "Too many visits!", "result": {}},
                                     headers={**headers, "X-Bapi-Limit-Reset-Timestamp": stamp} if self.headers else {})  # fmt: skip
        self.came[path].append(now)
        return web.json_response(
            {"retCode": 0, "retMsg": "OK", "result": {"list": []}}, headers=headers if self.headers else {}
        )


@contextlib.asynccontextmanager
async def exchange(server, **more):
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    access = more.pop("access", None)
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    client = BybitClient(Endpoint(url, url, "key", "secret", **{"loopback": True, "paced": True, **more}), access)
    try:
        yield client, BybitBroker(client)
    finally:
        await client.close()
        await runner.cleanup()


def order(number, leg="x"):
    exit_ = leg == "x"
    side = OrderSide.SELL if exit_ else OrderSide.BUY
    return OrderRequest(
        order_id(DIGEST, leg, number, paper=False),
        f"C{number}/USDT:USDT",
        side,
        OrderKind.MARKET,
        D(1),
        reduce_only=exit_,
    )


async def test_a_panic_with_fifty_positions_stays_inside_the_limits_and_overtakes_entries():
    # what counts is when requests leave: on a slow machine they arrive whenever they can
    server = Counting({})
    server.headers = False
    async with exchange(server) as (client, broker):
        sent, send = defaultdict(list), client._send

        async def noted(method, path, params):
            sent[path].append((asyncio.get_running_loop().time(), params.get("reduceOnly")))
            return await send(method, path, params)

        client._send = noted
        entries = [asyncio.ensure_future(broker.place(order(number, "e"))) for number in range(12)]
        await asyncio.sleep(0)
        exits = [asyncio.ensure_future(broker.place(order(number))) for number in range(50)]
        stops = [asyncio.ensure_future(broker.set_stop(f"C{number}/USDT:USDT", D(1), None)) for number in range(20)]
        await asyncio.gather(*entries, *exits, *stops)
    for path, count in ((CREATE, 62), (STOP, 20)):
        times = [moment for moment, _ in sent[path]]
        assert len(times) == count
        assert all(later - first > 1.0 for first, later in zip(times, times[10:], strict=False))
    created = [reduces for _, reduces in sent[CREATE]]
    assert (created.count(True), created.count(False)) == (50, 12)
    # what came first went out first, but two places were kept; after that no entry before an exit
    assert created[:8].count(False) == 8
    assert created[8:58] == [True] * 50


async def test_one_refusal_for_haste_repeats_one_request_after_the_time_that_the_exchange_names():
    # another program uses the same account: the exchange has less left for us than we think
    for headers in (True, False):
        server = Counting({LEVERAGE: 3})
        server.headers = headers
        async with exchange(server) as (client, broker):
            for number in range(7):
                await broker.set_leverage(f"C{number}/USDT:USDT", D(5))
            asked = [body["symbol"] for path, body in server.bodies if path == LEVERAGE]
            assert sorted(set(asked)) == [f"C{number}USDT" for number in range(7)]
            assert len(server.came[LEVERAGE]) == 7
            assert client.counts["repeated"] == server.refused
            # with headers the lower limit is learned from the first answer
            assert client._pacing._lane(LEVERAGE).limit == (3 if headers else 10)
            assert server.refused > 0 or headers


async def test_reading_requests_are_paced_too_and_public_ones_are_not():
    server, paced = Counting(), Pacing({"v5/position/list": 4})
    async with exchange(server) as (client, _):
        server.headers, client._pacing = False, paced
        times, send = [], client._send

        async def noted(method, path, params):
            times.append(asyncio.get_running_loop().time())
            return await send(method, path, params)

        client._send = noted
        await asyncio.gather(*(client.get("v5/position/list", {"category": "linear"}) for _ in range(9)))
        assert len(times) == 9
        assert all(later - first > 1.0 for first, later in zip(times, times[4:], strict=False))
        await asyncio.gather(*(client.get("v5/market/tickers", {"category": "linear"}) for _ in range(30)))
        assert len(server.came["v5/market/tickers"]) == 30


async def test_no_rolling_second_ever_sees_more_than_the_limit(monkeypatch):
    """On a clock of its own: no test waits for it, and no slow machine can break it."""
    loop, now, sent = asyncio.get_running_loop(), [0.0], []
    monkeypatch.setattr(loop, "time", lambda: now[0])
    paced = Pacing()

    async def sleep(seconds):
        now[0] += seconds / 50

    monkeypatch.setattr("broker.bybit.pacing.asyncio.sleep", lambda seconds: sleep(seconds))
    for number in range(60):
        await paced.take(CREATE, urgent=number % 2 == 0)
        sent.append(now[0])
    for index in range(len(sent) - 10):
        assert sent[index + 10] - sent[index] >= 1.0
    assert PER_SECOND[CREATE] == 10
    assert EXITS_ONLY == 2
    assert WINDOW_S > 1.0


FORBIDDEN = "<html>403 Forbidden</html>"
COUNTRY = (
    "<H1>403 ERROR</H1>The Amazon CloudFront distribution is configured to block access from your country. We can't connect"
    " to the server for this app or website at this time."
)


class Clock:
    def __init__(self):
        self.now = 1_000.0

    def __call__(self):
        return self.now


async def test_a_ban_stops_every_request_for_ten_minutes_and_lets_exits_out_first():
    server, clock = Counting(), Clock()
    access = Access(now=clock, wall=lambda: 1_700_000_000.0)
    async with exchange(server, access=access) as (_, broker):
        server.answers = [(403, FORBIDDEN)]
        with pytest.raises(Banned):
            await broker.balance()
        assert len(server.bodies) == 1
        for ask in (
            broker.positions,
            lambda: broker.place(order(1)),
            lambda: broker.place(order(1, "e")),
            broker.instruments,
        ):
            with pytest.raises(Unavailable, match="22:23:20 UTC"):
                await ask()
        assert len(server.bodies) == 1
        assert (
            broker.obstacles()
            == [broker.barred()]
            == ["the exchange has shut this address out until 22:23:20 UTC (HTTP 403)"]
        )
        clock.now += 600.0
        with pytest.raises(Banned):
            await broker.place(order(2, "e"))
        await broker.place(order(3))
        clock.now += 2.0
        await broker.place(order(2, "e"))
        assert broker.obstacles() == []


def test_a_ban_that_repeats_lasts_longer_and_one_after_a_long_while_does_not():
    clock = Clock()
    access, lasted = Access(now=clock), []
    access.share = lasted.append
    for _ in range(5):
        access.forbidden(FORBIDDEN)
        # answers of requests that were under way add nothing
        access.forbidden(FORBIDDEN)
        clock.now += lasted[-1] + 1.0
    assert lasted == [600.0, 1_200.0, 2_400.0, 3_600.0, 3_600.0]
    clock.now += 3_600.0
    access.forbidden(FORBIDDEN)
    assert lasted[-1] == 600.0


async def test_a_ban_is_shared_with_other_programs_of_this_machine(tmp_path):
    here, there = (SharedBudget(tmp_path / "api.bybit.com.rate", 600, 5) for _ in range(2))
    banned, other = Access(), Access()
    banned.share, banned.shared = here.ban, here.banned_s
    other.share, other.shared = there.ban, there.banned_s
    other.check(leaving=False)
    banned.forbidden(FORBIDDEN)
    with pytest.raises(Banned):
        other.check(leaving=True)
    assert other.obstacles() == banned.obstacles()
    here.close()
    there.close()


async def test_an_address_whose_country_is_not_served_is_told_apart():
    server = Counting()
    async with exchange(server) as (client, broker):
        server.answers = [(403, COUNTRY)]
        with pytest.raises(AddressBlocked, match="another region"):
            await broker.instruments()
        assert "country" in broker.barred()
        # no ban: nothing is gained by waiting, and whoever moves the bot need not wait either
        await client.get("v5/account/info", {})
        assert broker.obstacles() == []


async def test_a_refused_key_ends_entries_says_so_once_and_heals_by_itself(capsys):
    server = Counting()
    expired = {"retCode": 33004, "retMsg": "Your api key has expired.", "result": {}}
    async with exchange(server) as (client, broker):
        for _ in range(3):
            server.answers = [(200, expired)]
            with pytest.raises(KeyRefused):
                await client.get("v5/account/info", {})
        assert "make a new one" in broker.barred()
        assert broker.obstacles() == [broker.barred()]
        assert capsys.readouterr().out.count("the exchange refuses us") == 1
        await client.get("v5/account/info", {})
        assert (broker.barred(), broker.obstacles()) == ("", [])
        server.answers = [(401, "")]
        with pytest.raises(KeyRefused):
            await client.get("v5/account/info", {})
        assert broker.barred()


@pytest.mark.parametrize("code", [10005, 10024, 110080, 110124])
async def test_a_missing_permission_concerns_its_path_and_is_tried_again_later(code, capsys):
    server, clock = Counting(), Clock()
    denied = {"retCode": code, "retMsg": "Permission denied", "result": {}}
    async with exchange(server, access=Access(now=clock)) as (client, broker):
        server.answers = [(200, denied)]
        with pytest.raises(Rejected):
            await broker.set_stop("C/USDT:USDT", D(1), None)
        await client.get("v5/account/info", {})
        assert CURES[code] in broker.barred()
        clock.now += 301.0
        assert broker.barred() == ""
        server.answers = [(200, denied)]
        with pytest.raises(Rejected):
            await broker.set_stop("C/USDT:USDT", D(1), None)
        await broker.set_stop("C/USDT:USDT", D(1), None)
        assert broker.barred() == ""
        assert capsys.readouterr().out.count("the exchange refuses us") == 1


async def test_requests_that_wait_their_turn_when_the_ban_comes_stay_here():
    server = Counting()
    async with exchange(server) as (_, broker):
        waiting = [asyncio.ensure_future(broker.place(order(number))) for number in range(15)]
        await until(lambda: len(server.bodies) >= 10, "ten are out, and the others wait")
        server.answers = [(403, FORBIDDEN)] * 99
        with pytest.raises(Banned):
            await broker.balance()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(one) for one in found] == [type(None)] * 10 + [Banned] * 5
        assert len(server.bodies) == 11


LATE = "invalid request, please check your server timestamp or recv_window param. req_timestamp[1],server_timestamp[{}],recv_window[5000]"


@pytest.mark.parametrize("named", [True, False])
async def test_a_clock_that_is_off_is_measured_said_and_made_up_for(named, capsys):
    server, there = Counting(), int(time.time() * 1000) - 8_000
    late = {"retCode": 10002, "retMsg": LATE.format(there) if named else "too late", "result": {}}
    asked = [] if named else [(200, {"retCode": 0, "result": {"timeNano": str(there * 1_000_000)}})]
    async with exchange(server) as (client, broker):
        server.answers = [(200, late), *asked]
        await client.post(STOP, {"symbol": "C"})
        assert 7_000 < client.exchange.milliseconds() - client.clock_ms() < 9_500
        assert "clock of this host is +8" in capsys.readouterr().out
        assert broker.barred() == ""
        # what the exchange keeps refusing is an obstacle
        server.answers = [one for _ in range(8) for one in [(200, late), *asked]]
        with pytest.raises(Unavailable):
            await client.post(STOP, {"symbol": "C"})
        assert "clock of this host is +8" in broker.barred()


async def test_a_clock_that_cannot_be_measured_stays_as_it_is():
    server = Counting()
    late = [
        (200, {"retCode": -1, "retMsg": "request expired: o@0, now[] diff[]", "result": {}}),
        (200, {"retCode": 0, "result": {"timeNano": "soon"}}),
    ]
    async with exchange(server) as (client, _):
        server.answers = [*late, *late, *late, *late]
        with pytest.raises(Unavailable, match="retCode -1"):
            await client.post(STOP, {"symbol": "C"})
        assert client.exchange.clock_ahead_ms == 0


@pytest.mark.parametrize(
    ("limit", "left"),
    [("", ""), ("10", ""), ("9" * 6_000, "0"), ("1000000000", "0"), ("-1", "5"), ("5", "50"), ("ten", "1"), ("٣", "1")],
)
async def test_headers_that_make_no_sense_change_nothing(limit, left):
    async with exchange(Counting()) as (client, _):
        heard = _Heard(200, {"x-bapi-limit": limit, "x-bapi-limit-status": left})
        client._hear(CREATE, heard)
        assert client._pacing._lane(CREATE).limit == 10
        assert client._pacing._lane(CREATE).wait_s(0.0, urgent=False) == 0.0
        assert client._reset_s(_Heard(200, {"x-bapi-limit-reset-timestamp": limit})) == 1.0


async def test_an_answer_with_a_code_is_no_ban_whatever_its_status():
    server = Counting()
    async with exchange(server) as (client, broker):
        server.answers = [(403, {"retCode": 10009, "retMsg": "Service Restricted", "result": {}})]
        with pytest.raises(KeyRefused, match="another one"):
            await client.get("v5/account/info", {})
        await client.get("v5/account/info", {})
        assert broker.obstacles() == []


async def test_the_start_says_once_what_it_waits_for_and_ends_where_waiting_is_no_use(monkeypatch, capsys):
    monkeypatch.setattr("bootstrap.assembly.PATIENCE_S", 0.001)
    answers = (
        [Banned("shut out until 10:00:00 UTC")] * 5 + [OutcomeUnknown("lost")] * 3 + [Banned("until 11:00:00 UTC")]
    )

    async def call():
        if not answers:
            raise AddressBlocked(
                "the exchange does not serve the country of this address (HTTP 403): another region", 403
            )
        raise answers.pop(0)

    with pytest.raises(ConfigError, match="another region"):
        await _patiently(call, asyncio.Event())
    assert capsys.readouterr().out.count("start waits for the exchange") == 3

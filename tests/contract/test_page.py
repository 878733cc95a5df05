"""The API, metrics and health as programs and browsers meet them: who may what, what is said, and that nothing breaks."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import json
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
import schemathesis
from aiohttp import web
from hypothesis import HealthCheck, settings
from prometheus_client.parser import text_string_to_metric_families
from schemathesis.specs.openapi.checks import allow_header_conformance, unsupported_method

from dashboard import guard, metrics, stream
from dashboard.access import COOKIE
from dashboard.heartbeat import Heartbeat
from dashboard.server import Server
from domain.errors import Unavailable
from domain.portion import Portion
from tests.desk import trade
from tests.page_desk import PASSWORD, TOKEN, Served, phantom

PAGE = Path(__file__).parents[2] / "dashboard" / "page"
LOCAL = {"Origin": "http://localhost"}


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


async def signed_in(client: httpx.AsyncClient, secret: str) -> dict[str, str]:
    """Sign a browser in; return what its actions send."""
    answer = await client.post("/api/v1/session", json={"secret": secret}, headers=LOCAL)
    assert answer.status_code == 200, answer.text
    return {"X-CSRF-Token": answer.json()["csrf"], **LOCAL}


async def test_on_this_machine_everybody_looks_and_nobody_acts():
    served = Served()
    async with served.client() as client:
        assert (await client.get("/api/v1/status")).json()["equity"] == "10250.50"
        assert (await client.get("/metrics")).status_code == 200
        refused = await client.post("/api/v1/switch", json={"confirm": True, "state": "stopped"})
        assert refused.status_code == 401
        assert "manage.py dashboard" in refused.json()["detail"]
    assert served.desk.done == []
    assert served.deeds == []


async def test_a_link_signs_in_once_and_not_after_five_minutes():
    clock = Clock()
    served = Served(clock=clock)
    async with served.program() as program, served.client() as client:
        keys = [(await program.post("/api/v1/link")).json()["key"] for _ in range(2)]
        sent = await signed_in(client, keys[0])
        done = await client.post("/api/v1/switch", json={"confirm": True, "state": "paused"}, headers=sent)
        assert done.json() == {"switch": "paused"}
        for key in (keys[0], "x" * 30):
            assert (await client.post("/api/v1/session", json={"secret": key})).status_code == 401
        clock.now += 301
        assert (await client.post("/api/v1/session", json={"secret": keys[1]})).status_code == 401


async def test_a_session_acts_only_for_its_own_page_and_only_for_its_time():
    clock = Clock()
    served = Served(password=PASSWORD, clock=clock)
    order = {"confirm": True, "what": "all"}
    async with served.client() as client:
        sent = await signed_in(client, PASSWORD)
        assert (await client.post("/api/v1/forceexit", json=order)).status_code == 403
        other = {**sent, "Origin": "https://evil.example"}
        assert (await client.post("/api/v1/forceexit", json=order, headers=other)).status_code == 403
        stolen = {**sent, "X-CSRF-Token": "guess"}
        assert (await client.post("/api/v1/forceexit", json=order, headers=stolen)).status_code == 403
        assert served.desk.done == []
        assert (await client.post("/api/v1/forceexit", json=order, headers=sent)).status_code == 200
        clock.now += 3_601
        assert (await client.post("/api/v1/forceexit", json=order, headers=sent)).status_code == 401
        assert (await client.get("/api/v1/trades")).status_code == 401
    assert len(served.desk.done) == 1


async def test_signing_out_ends_the_session():
    served = Served(password=PASSWORD)
    async with served.client() as client:
        await signed_in(client, PASSWORD)
        key = client.cookies[COOKIE]
        assert (await client.delete("/api/v1/session")).json()["signed_in"] is False
        again = await client.get("/api/v1/status", headers={"Cookie": f"{COOKIE}={key}"})
        assert again.status_code == 401


@pytest.mark.parametrize(
    "path", ["/api/v1/status", "/api/v1/trades", "/api/v1/config", "/metrics", "/api/v1/events", "/api/market-summary"]
)
async def test_with_a_password_nothing_is_told_without_it(path):
    served = Served(password=PASSWORD)
    async with served.client() as client:
        assert (await client.get(path)).status_code == 401
    async with served.client(Authorization="Bearer wrong") as client:
        assert (await client.get(path)).status_code == 401
    if path != "/api/v1/events":
        async with served.client(Authorization=f"Bearer {PASSWORD}") as client:
            assert (await client.get(path)).status_code == 200


async def test_probes_are_answered_without_a_password_and_say_nothing_of_money():
    served = Served(password=PASSWORD)
    async with served.client() as client:
        assert (await client.get("/healthz")).json() == {"alive": True}
        assert (await client.get("/readyz")).json() == {"ready": True, "reasons": [], "notes": []}
        served.desk.told = ["no entries in BSV/USDT:USDT: the feed is silent there"]
        told = await client.get("/readyz")
        assert (told.status_code, told.json()) == (200, {"ready": True, "reasons": [], "notes": served.desk.told})
        assert (await client.head("/readyz")).status_code == 200
        served.desk.why = ["waits for the right to send orders"]
        waiting = await client.get("/readyz")
        assert (waiting.status_code, waiting.json()["reasons"]) == (503, served.desk.why)
        assert (await client.get("/healthz")).status_code == 200


async def test_who_watches_from_outside_may_ask_with_head_and_needs_no_more_rights():
    """Most services that look after others send HEAD; it was refused."""
    served = Served(password=PASSWORD)
    async with served.client() as client:
        assert [(await client.head(path)).status_code for path in ("/healthz", "/readyz", "/")] == [200, 200, 200]
        served.desk.why = ["waits for the right to send orders"]
        assert (await client.head("/readyz")).status_code == 503
        assert (await client.head("/api/v1/status")).status_code in {401, 405}
        assert (await client.head("/api/v1/events")).status_code in {401, 405}


async def test_five_wrong_secrets_of_anybody_lock_nobody_out():
    """Found with five guesses from this machine: the owner's own commands were refused for five minutes."""
    clock = Clock()
    served = Served(password=PASSWORD, clock=clock)
    async with served.client() as client:
        link = (await client.post("/api/v1/link", headers={"Authorization": f"Bearer {TOKEN}"})).json()["key"]
        codes = [(await client.post("/api/v1/session", json={"secret": "guess"})).status_code for _ in range(6)]
        assert codes == [401] * 5 + [429]
        waits = await client.get("/api/v1/status", headers={"Authorization": "Bearer guess"})
        assert waits.status_code == 429
        assert int(waits.headers["retry-after"]) > 200
        for secret in (TOKEN, PASSWORD):
            told = await client.get("/api/v1/status", headers={"Authorization": f"Bearer {secret}"})
            assert told.status_code == 200
        for secret in (link, PASSWORD):
            assert (await client.post("/api/v1/session", json={"secret": secret})).status_code == 200
        clock.now += 301
        assert (await client.post("/api/v1/session", json={"secret": "guess"})).status_code == 401


async def test_a_search_for_the_password_is_ended_and_locks_out_neither_token_nor_link_nor_session():
    clock = Clock()
    served = Served(password=PASSWORD, clock=clock)
    async with served.client() as client, served.client() as browser:
        sent = await signed_in(browser, PASSWORD)
        link = (await client.post("/api/v1/link", headers={"Authorization": f"Bearer {TOKEN}"})).json()["key"]
        for _ in range(100):
            assert (await client.post("/api/v1/session", json={"secret": "guess"})).status_code in {401, 429}
        waits = await client.post("/api/v1/session", json={"secret": PASSWORD})
        assert waits.status_code == 429
        assert int(waits.headers["retry-after"]) > 200
        bearer = {"Authorization": f"Bearer {PASSWORD}"}
        assert (await client.get("/api/v1/status", headers=bearer)).status_code == 429
        order = {"confirm": True, "state": "stopped"}
        assert (await browser.post("/api/v1/switch", json=order, headers=sent)).status_code == 200
        assert (await client.get("/api/v1/status", headers={"Authorization": f"Bearer {TOKEN}"})).status_code == 200
        assert (await client.post("/api/v1/session", json={"secret": link})).status_code == 200
        clock.now += 301
        assert (await client.post("/api/v1/session", json={"secret": PASSWORD})).status_code == 200


async def test_who_may_only_look_sees_everything_and_does_nothing():
    served, viewer = Served(password=PASSWORD, viewer="only-looking-on"), "only-looking-on"
    order = {"confirm": True, "state": "stopped"}
    async with served.client(Authorization=f"Bearer {viewer}") as prometheus:
        for path in ("/metrics", "/api/v1/status", "/api/v1/trades"):
            assert (await prometheus.get(path)).status_code == 200
        refused = await prometheus.post("/api/v1/switch", json=order)
        assert (refused.status_code, refused.json()["detail"]) == (403, "this password lets you look, and do nothing")
        assert (await prometheus.post("/api/v1/link")).status_code == 403
        assert (await prometheus.post("/api/v1/backtests", json={})).status_code == 403
        assert [one["figures"]["profit"] for one in (await prometheus.get("/api/v1/backtests")).json()] == ["12.5"]
    async with served.client() as browser:
        told = (await browser.post("/api/v1/session", json={"secret": viewer}, headers=LOCAL)).json()
        assert (told["signed_in"], told["may_read"], told["csrf"]) == (False, True, "")
        assert (await browser.get("/api/v1/status")).status_code == 200
        for sent in ({}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": "guess"}):
            assert (await browser.post("/api/v1/panic", json={"confirm": True}, headers=sent)).status_code == 403
        # who then signs in to act, may
        sent = await signed_in(browser, PASSWORD)
        assert (await browser.post("/api/v1/switch", json=order, headers=sent)).status_code == 200
    assert len(served.desk.done) == 1


async def test_a_password_for_looking_closes_the_page_to_the_rest_of_the_machine():
    served = Served(viewer="only-looking-on")
    async with served.client() as client:
        assert (await client.get("/api/v1/status")).status_code == 401
        assert (await client.get("/api/v1/session")).json()["has_password"] is True


@pytest.mark.parametrize(("proto", "secure"), [("http", False), ("https", True)])
async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(proto, secure):
    served = Served(password=PASSWORD)
    async with served.client() as client:
        headers = {"X-Forwarded-Proto": proto, **LOCAL}
        answer = await client.post("/api/v1/session", json={"secret": PASSWORD}, headers=headers)
        cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert ("secure" in cookie) is secure
    assert PASSWORD not in answer.text


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "", "localhost.evil.example", "[::2]"])
async def test_no_other_name_can_be_pointed_at_a_page_on_this_machine(host):
    async with Served().client(Host=host) as client:
        assert (await client.get("/api/v1/status")).status_code == 421


async def test_too_many_requests_wait_and_probes_do_not():
    served = Served(per_s=1)
    async with served.client() as client:
        codes = [(await client.get("/api/v1/version")).status_code for _ in range(12)]
        assert codes == [200] * 10 + [429] * 2
        refused = await client.get("/api/v1/version")
        assert int(refused.headers["retry-after"]) >= 1
        assert (await client.get("/healthz")).status_code == 200


async def test_a_body_that_is_too_large_is_refused_whether_it_says_so_or_not():
    served = Served(password=PASSWORD)

    async def endless():
        for _ in range(40):
            yield b" " * 4096

    async with served.client() as client:
        told = await client.post("/api/v1/session", content=b" " * (guard.BODY_MAX + 1))
        assert told.status_code == 413
        untold = await client.post("/api/v1/session", content=endless(), headers={"content-type": "application/json"})
        assert untold.status_code in {400, 413}


@pytest.mark.parametrize("path", ["/", "/page/app.js", "/api/v1/status", "/nothing", "/api/v1/trades?limit=0"])
async def test_browsers_are_told_what_may_run_whatever_the_answer(path):
    async with Served().client() as client:
        told = (await client.get(path)).headers
    assert "script-src 'self'" in told["content-security-policy"]
    assert "unsafe" not in told["content-security-policy"]
    assert told["x-content-type-options"] == "nosniff"
    assert told["x-frame-options"] == "DENY"
    assert "access-control-allow-origin" not in told


async def test_an_action_is_meant_and_in_the_audit_before_it_is_done():
    served = Served()
    async with served.program() as client:
        for body in ({}, {"state": "stopped"}, {"confirm": False, "state": "stopped"}, {"confirm": True, "state": "off"},
                     {"confirm": True, "state": "stopped", "more": 1}):  # fmt: skip
            wrong = await client.post("/api/v1/switch", json=body)
            assert wrong.status_code == 422, body
            assert wrong.json()["detail"][0]["where"].startswith("body")
        assert served.desk.done == []
        await client.post("/api/v1/panic", json={"confirm": True, "reason": "smoke", "foreign": True})
    assert served.desk.done == [("panic", "smoke", True)]
    assert served.deeds == [
        {"by": "program", "address": "10.0.0.9", "what": "panic", "foreign": True, "reason": "smoke", "done_before": []}
    ]


LOWERING = (("switch", {"state": "stopped"}), ("switch", {"state": "paused"}), ("forceexit", {"what": "all"}), ("panic", {}),
            ("reconcile", {}))  # fmt: skip
OTHERS = (
    ("switch", {"confirm": True, "state": "running"}),
    ("train", {"confirm": True, "strategy": "scalp"}),
    ("works", {"kind": "job", "name": "update"}),
    ("backtests", {}),
)


async def test_what_the_audit_does_not_take_is_done_only_if_it_lowers_the_risk_and_says_so():
    """Found with a full disk: entries were let in again, and nothing anywhere told by whom."""
    served = Served()
    served.full = "page-audit.jsonl: No space left on device"
    async with served.program() as client:
        for path, body in LOWERING:
            done = await client.post(f"/api/v1/{path}", json={"confirm": True, **body})
            assert done.status_code == 200, path
            assert done.json()["unaudited"] == f"done, but not in the audit log: {served.full}"
        count = len(served.desk.done)
        assert count >= len(LOWERING) - 1
        for path, body in OTHERS:
            refused = await client.post(f"/api/v1/{path}", json=body)
            assert refused.status_code == 503, refused.text
            assert "nothing was done: the audit log does not take it" in refused.json()["detail"]
        assert (len(served.desk.done), served.works.begun) == (count, [])
        # whoever cannot sign in cannot stop the bot either
        link = (await client.post("/api/v1/link")).json()
        assert link["unaudited"]
        await signed_in(client, link["key"])


async def test_a_backtest_is_begun_as_a_work_and_what_is_wrong_is_said():
    served = Served()
    async with served.program() as client:
        for body, code, said in (
            ({"symbols": ["NOBODY"]}, 409, "'NOBODY' means none"), ({"ml": "maybe"}, 422, "body.ml"),
            ({"more": 1}, 422, "body.more"),
        ):  # fmt: skip
            wrong = await client.post("/api/v1/backtests", json=body)
            assert (wrong.status_code, said in wrong.text) == (code, True), wrong.text
        assert (served.works.begun, served.deeds) == ([], [])
        begun = (await client.post("/api/v1/backtests", json={"strategies": ["scalp"]})).json()
        assert (begun["kind"], begun["state"]) == ("backtest", "running")
        assert (served.deeds[0]["what"], served.deeds[0]["strategies"]) == ("backtest", ["scalp"])
        ended = (await client.delete(f"/api/v1/works/{begun['number']}")).json()
        assert ended["state"] == "ended"
        name = (await client.get("/api/v1/backtests")).json()[0]["id"]
        assert (await client.get(f"/api/v1/backtests/{name}/trades")).json()["total"] == 1
        report = await client.get(f"/api/v1/backtests/{name}/report.html")
        assert report.headers["content-disposition"] == "attachment; filename=report.html"
        assert (await client.get("/api/v1/backtests/another")).status_code == 404


async def test_where_no_bot_runs_nothing_can_be_done():
    served = Served()
    served.desk.running = False
    async with served.program() as client:
        for path, body in (("switch", {"state": "running"}), ("forceexit", {"what": "all"}), ("panic", {}), ("reconcile", {}),
                           ("train", {"strategy": "scalp"})):  # fmt: skip
            refused = await client.post(f"/api/v1/{path}", json={"confirm": True, **body})
            assert refused.status_code == 409, path
            assert "no bot runs" in refused.json()["detail"]
    assert served.desk.done == []


async def test_a_position_that_is_not_there_is_said_to_be_not_there():
    served = Served()
    async with served.program() as client:
        gone = await client.post("/api/v1/forceexit", json={"confirm": True, "what": "NOBODY"})
        assert (gone.status_code, gone.json()["detail"]) == (404, "no open position is called 'NOBODY'")
        served.desk.positions = []
        assert (await client.post("/api/v1/forceexit", json={"confirm": True, "what": "all"})).json() == {
            "closing": [],
            "outcomes": [],
        }


async def test_a_part_of_a_position_is_closed_and_what_is_no_part_is_refused():
    served = Served()
    held = served.desk.positions[0]
    async with served.program() as client:
        order = {"confirm": True, "what": held["id"]}
        told = (await client.post("/api/v1/forceexit", json={**order, "part": "50%"})).json()
        assert [(one["outcome"], one["left"]) for one in told["outcomes"]] == [("reduced", "0.006")]
        assert (served.deeds[-1]["target"], served.deeds[-1]["part"]) == (held["id"], "50%")
        for part, code in (("0%", 404), ("101%", 404), ("half", 422), ("50", 422), ("-5%", 422)):
            assert (await client.post("/api/v1/forceexit", json={**order, "part": part})).status_code == code, part
        assert (await client.post("/api/v1/forceexit", json={**order, "part": "100%"})).status_code == 200
    assert served.desk.done == [("reduce", held["id"], Portion(Decimal(50))), ("force_exit", held["id"])]


async def test_trades_are_filtered_sorted_paged_and_exported_exactly():
    served = Served()
    held = served.desk.held
    async with served.client() as client:
        page = (await client.get("/api/v1/trades?sort=pnl_usd&descending=false&limit=5")).json()
        worst = sorted(held, key=lambda one: one.pnl_usd)[:5]
        assert [Decimal(row["pnl_usd"]) for row in page["trades"]] == [one.pnl_usd for one in worst]
        assert page["total"] == len(held)
        assert Decimal(page["net"]) == sum(one.pnl_usd for one in held)
        second = (await client.get("/api/v1/trades?limit=7&offset=7")).json()["trades"]
        newest = sorted(held, key=lambda one: one.exit_time, reverse=True)
        assert [row["trade_id"] for row in second] == [one.trade_id for one in newest[7:14]]
        few = (await client.get("/api/v1/trades?exit_reason=stop_loss&side=long")).json()
        fitting = [one for one in held if one.exit_reason == "stop_loss" and one.side == "long"]
        assert (few["total"], len(few["trades"])) == (len(fitting), len(fitting))
        rows = list(csv.DictReader(io.StringIO((await client.get("/api/v1/trades.csv")).text)))
        assert {row["trade_id"]: Decimal(row["pnl_usd"]) for row in rows} == {one.trade_id: one.pnl_usd for one in held}
        one = (await client.get(f"/api/v1/trades/{held[0].trade_id[:10]}")).json()
        assert one["trade"]["trade_id"] == held[0].trade_id
        assert one["fills"][0]["cause"] == "entry"
        assert (await client.get("/api/v1/trades/nothing-begins-so")).status_code == 404


async def test_no_cell_of_the_export_is_a_formula():
    served = Served()
    served.desk.held = [trade(1, symbol="=HYPERLINK(1)", reason="+cmd"), trade(2, pnl="-5")]
    async with served.client() as client:
        rows = list(csv.reader(io.StringIO((await client.get("/api/v1/trades.csv")).text)))
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "@"))]
    assert any(cell == "-5" for row in rows for cell in row)


async def test_what_refusing_cost_adds_up_per_gate_strategy_and_symbol():
    served = Served()
    served.desk.held_phantoms = [
        phantom(1, "score", "2"), phantom(2, "score", "-1"), phantom(3, "cooldown", "-0.5"), phantom(4, "", "3"),
    ]  # fmt: skip
    async with served.client() as client:
        told = (await client.get("/api/v1/phantoms")).json()
        rows = (await client.get("/api/v1/phantoms/list?gate=score")).json()
    by_gate = {row["name"]: row for row in told["by_gate"]}
    assert by_gate["score"] | {"name": ""} == {
        "name": "", "refused": 2, "would_have_won": 1, "missed_r": "2", "avoided_r": "1", "net_r": "1",
        "low_r": None, "high_r": None, "days": 1, "verdict": "too few days",
    }  # fmt: skip
    assert by_gate["cooldown"]["net_r"] == "-0.5"
    for view in ("by_strategy", "by_symbol"):
        assert sum(Decimal(row["net_r"]) for row in told[view]) == Decimal("0.5"), view
    assert [row["gate"] for row in rows] == ["score", "score"]


async def test_scores_that_rank_signals_show_as_tenths_that_rise():
    served = Served()
    served.desk.held_phantoms = [phantom(i, "score", str(i - 49.5), float(i)) for i in range(100)]
    async with served.client() as client:
        state = (await client.get("/api/v1/models")).json()["strategies"]["scalp"]
    means = [one["mean_r"] for one in state["deciles"]]
    assert len(means) == 10
    assert means == sorted(means)
    assert sum(one["signals"] for one in state["deciles"]) == 50


async def test_charts_and_the_names_of_an_earlier_dashboard_have_real_contents():
    served = Served()
    async with served.client() as client:
        chart = (await client.get("/api/v1/chart?symbol=btc&timeframe=15m&count=50")).json()
        assert (len(chart["bars"]), chart["step_ms"], chart["price"]) == (50, 900_000, 100.7)
        assert chart["marks"][0]["label"] == "+1.0R"
        assert (await client.get("/api/v1/chart?symbol=doge")).status_code == 404
        market = (await client.get("/api/market-summary?limit=2")).json()
        assert len(market) == 2
        assert market[0].keys() >= {"symbol", "price", "change_1h_percent", "volume_24h"}
        old = (await client.get("/api/historical-data/BTCUSDT?timeframe=15M&limit=3")).json()
        assert (old["symbol"], len(old["data"])) == ("BTC/USDT:USDT", 3)
        assert len((await client.get("/api/recent-signals?limit=7")).json()) == 7
        assert (await client.get("/api/available-symbols")).json()["stored"] == {"bybit": ["BTC/USDT:USDT"]}
        assert (await client.get("/api/system-health")).json()["ready"] is True
        assert (await client.get("/api/ml-performance")).json()["trend_pullback"]["ready"] is True


async def heard(served: Served, count: int) -> list[str]:
    """Listen until so many lines of events have come."""
    found: list[str] = []
    async for chunk in await served.hub.listen():
        found += [line for line in chunk.decode().splitlines() if line.startswith("event:")]
        if len(found) >= count:
            break
    return found


async def test_pages_hear_the_pulse_and_what_happens():
    served = Served()
    listening = asyncio.create_task(heard(served, 3))
    while not served.hub.pages:
        await asyncio.sleep(0)
    served.hub.told("trade", trade(1))
    served.hub.publish("work", {"number": 1})
    assert await listening == ["event: pulse", "event: trade", "event: work"]


async def test_a_page_that_does_not_keep_up_is_let_go_and_others_are_not_held_up():
    served = Served()
    slow = await served.hub.listen()
    await anext(slow)
    quick = await served.hub.listen()
    await anext(quick), await anext(quick)
    for i in range(stream.WAITING_MAX + 5):
        served.hub.publish("work", {"number": i})
        assert f'"number":{i}' in (await anext(quick)).decode()
    assert (served.hub.let_go, served.hub.pages) == (1, 1)
    with pytest.raises(StopAsyncIteration):
        while True:
            await anext(slow)


async def test_only_so_many_pages_listen():
    served = Served()
    held = [await served.hub.listen() for _ in range(stream.PAGES_MAX)]
    with pytest.raises(Unavailable, match="close one"):
        await served.hub.listen()
    async with served.client() as client:
        assert (await client.get("/api/v1/events")).status_code == 503
    assert held


async def test_a_chart_goes_back_as_far_as_bars_are_stored():
    async with Served().client() as client:
        asked = {"symbol": "btc", "timeframe": "15m"}
        assert (await client.get("/api/v1/chart/timeframes", params=asked)).json() == ["3m", "15m", "4h"]
        newest = (await client.get("/api/v1/chart/older", params={**asked, "before": 10**13, "count": 3})).json()[
            "bars"
        ]
        assert len(newest) == 3
        before = (await client.get("/api/v1/chart/older", params={**asked, "before": newest[0]["time"]})).json()["bars"]
        assert len(before) == 997
        assert before[-1]["time"] == newest[0]["time"] - 900_000
        begins = {**asked, "before": before[0]["time"]}
        assert (await client.get("/api/v1/chart/older", params=begins)).json() == {"bars": [], "marks": []}
        lines = (await client.get("/api/v1/chart/columns", params={**asked, "count": 3})).json()
        assert [one["times"] for one in lines] == [[bar["time"] for bar in newest]]
        for wrong in ({"symbol": "nothing"}, {"timeframe": "7x"}):
            refused = await client.get("/api/v1/chart/older", params={**asked, "before": 1, **wrong})
            assert refused.status_code == 404, wrong


async def test_every_metric_is_told_in_a_form_that_prometheus_reads():
    served = Served()
    summing = asyncio.create_task(served.exposed.keep_fresh())
    await asyncio.sleep(0)
    async with served.client() as client:
        text = (await client.get("/metrics")).text
    summing.cancel()
    families = {one.name: one for one in text_string_to_metric_families(text)}
    for measure in metrics.MEASURES:
        family = families[f"revenant_{measure.name}"]
        assert family.documentation == measure.about
        assert family.type == ("counter" if measure.counts else "gauge")
        assert {label for sample in family.samples for label in sample.labels} == set(measure.labels), measure.name
        assert family.samples, measure.name
    assert families["revenant_missing_bars"].samples[0].value == 1
    assert families["revenant_tier_waiting"].samples[0].labels == {"tier": "database"}


async def test_the_heart_beats_only_while_the_bot_can_trade():
    beats, reasons = [], ["not yet"]

    async def beat(request: web.Request) -> web.Response:
        beats.append(request.path)
        return web.Response(status=200 if len(beats) > 1 else 500)

    app = web.Application()
    app.router.add_get("/ping/secret", beat)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    looks = 0

    def why() -> list[str]:
        nonlocal looks
        looks += 1
        return reasons

    heart = Heartbeat(f"http://127.0.0.1:{port}/ping/secret", 0.01, why)
    beating = asyncio.create_task(heart.run())
    async with asyncio.timeout(20):
        while looks < 5:
            await asyncio.sleep(0.005)
        assert beats == []
        reasons.clear()
        while heart.heard < 2:
            await asyncio.sleep(0.005)
    beating.cancel()
    await runner.cleanup()
    # the first was refused and did not count
    assert len(beats) >= 3


async def test_the_server_stops_at_once_though_pages_listen(tmp_path):
    served = Served()
    server = Server(("127.0.0.1", 0), tmp_path / "note.json")
    port = await server.start(served.app, served.hub.close)
    note = json.loads((tmp_path / "note.json").read_text())
    assert note["port"] == port
    assert (tmp_path / "note.json").stat().st_mode & 0o077 == 0
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        async with client.stream("GET", "/api/v1/events") as answer:
            chunks = answer.aiter_bytes()
            await anext(chunks)
            async with asyncio.timeout(10):
                await server.stop()
        with pytest.raises(httpx.TransportError):
            await client.get("/healthz")
    assert not (tmp_path / "note.json").exists()


def test_vendored_parts_are_what_their_packages_have():
    for line in (PAGE / "vendor" / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split()
        assert hashlib.sha256((PAGE / "vendor" / name).read_bytes()).hexdigest() == digest


def test_the_page_loads_nothing_from_anywhere_else():
    for path in PAGE.rglob("*.*"):
        if path.parent.name != "vendor" and path.suffix in {".html", ".js", ".css", ".svg"}:
            text = path.read_text().replace('href="https://www.tradingview.com/"', "").replace("http://www.w3.org/", "")
            assert "http://" not in text, path
            assert "https://" not in text, path


SERVED = Served()
SERVED.desk.held_phantoms = SERVED.desk.held_phantoms[:5]
SCHEMA = schemathesis.openapi.from_asgi("/api/v1/openapi.json", SERVED.app, headers={"Host": "localhost"}).exclude(
    path_regex="/events|/session"
)


@SCHEMA.parametrize()
@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
def test_nothing_that_the_description_allows_breaks_the_api(case):
    headers = {"Authorization": f"Bearer {TOKEN}", "Host": "localhost"}
    # a method that a path does not know is refused by the framework in its own way
    excluded = [unsupported_method, allow_header_conformance]
    assert case.call_and_validate(headers=headers, excluded_checks=excluded).status_code < 500

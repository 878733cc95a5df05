"""freqtrade's API as FreqUI and other programs meet it: who may what, the shapes, and what is refused in words."""

from __future__ import annotations

import base64
from decimal import Decimal
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from pydantic import ValidationError

from dashboard.access import ONLY_LOOKS
from dashboard.freqtrade.app import build
from dashboard.freqtrade.numbers import beginning, number_of
from dashboard.freqtrade.tokens import Tokens, Visitor
from dashboard.server import Server
from domain.portion import Portion
from page_section import Dashboard
from tests.desk import POSITION, SYMBOLS, trade
from tests.page_desk import NOW_MS, PASSWORD, TOKEN, Served

VIEWER = "the password of who looks"
FREQUI, STRANGER = "http://localhost:3000", "https://example.org"
OPEN = number_of(POSITION["trade_id"])
ENDED = number_of(trade(4).trade_id)


def basic(secret: str, name: str = "frequi") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()}


def served(**more: Any) -> Served:
    return Served(password=PASSWORD, viewer=VIEWER, origins=(FREQUI,), **more)


async def signed_in(client: httpx.AsyncClient, secret: str = PASSWORD) -> dict[str, str]:
    answer = await client.post("/api/v1/token/login", headers=basic(secret))
    assert answer.status_code == 200, answer.text
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


TRADE = {
    "trade_id", "pair", "base_currency", "quote_currency", "is_open", "is_short", "exchange", "amount", "amount_requested",
    "stake_amount", "max_stake_amount", "strategy", "enter_tag", "timeframe", "fee_open", "fee_open_cost",
    "fee_open_currency", "fee_close", "fee_close_cost", "fee_close_currency", "open_date", "open_timestamp",
    "open_fill_date", "open_fill_timestamp", "open_rate", "open_rate_requested", "open_trade_value", "close_date",
    "close_timestamp", "close_rate", "close_rate_requested", "close_profit", "close_profit_pct", "close_profit_abs",
    "profit_ratio", "profit_pct", "profit_abs", "profit_fiat", "realized_profit", "realized_profit_ratio",
    "exit_reason", "exit_order_status", "stop_loss_abs", "stop_loss_ratio", "stop_loss_pct", "stoploss_last_update",
    "stoploss_last_update_timestamp", "initial_stop_loss_abs", "initial_stop_loss_ratio", "initial_stop_loss_pct",
    "min_rate", "max_rate", "has_open_orders", "orders", "leverage", "interest_rate", "liquidation_price",
    "funding_fees", "trading_mode", "amount_precision", "price_precision", "precision_mode",
}  # fmt: skip
OPEN_TRADE = TRADE | {
    "stoploss_current_dist", "stoploss_current_dist_pct", "stoploss_current_dist_ratio", "stoploss_entry_dist",
    "stoploss_entry_dist_ratio", "current_rate", "total_profit_abs", "total_profit_fiat", "total_profit_ratio",
}  # fmt: skip
PROFIT = {
    f"profit_{which}_{name}" for which in ("closed", "all")
    for name in ("coin", "percent_mean", "ratio_mean", "percent_sum", "ratio_sum", "percent", "ratio", "fiat")
} | {
    "trade_count", "closed_trade_count", "first_trade_date", "first_trade_humanized", "first_trade_timestamp",
    "latest_trade_date", "latest_trade_humanized", "latest_trade_timestamp", "avg_duration", "best_pair", "best_rate",
    "best_pair_profit_ratio", "winning_trades", "losing_trades", "profit_factor", "winrate", "expectancy",
    "expectancy_ratio", "max_drawdown", "max_drawdown_abs", "max_drawdown_start", "max_drawdown_start_timestamp",
    "max_drawdown_end", "max_drawdown_end_timestamp", "trading_volume", "bot_start_timestamp", "bot_start_date",
}  # fmt: skip
CANDLES = {
    "strategy", "pair", "timeframe", "timeframe_ms", "columns", "all_columns", "data", "length", "buy_signals",
    "sell_signals", "enter_long_signals", "exit_long_signals", "enter_short_signals", "exit_short_signals",
    "last_analyzed", "last_analyzed_ts", "data_start_ts", "data_start", "data_stop", "data_stop_ts",
}  # fmt: skip
GROUP = {"profit_ratio", "profit_pct", "profit_abs", "count"}
SHAPES: dict[str, set[str]] = {
    "version": {"version"}, "count": {"current", "max", "total_stake"}, "profit": PROFIT,
    "profit_all": {"all", "long", "short"}, "status": OPEN_TRADE, f"trade/{OPEN}": OPEN_TRADE, f"trade/{ENDED}": TRADE,
    "trades": {"trades", "trades_count", "offset", "total_trades"}, "performance": GROUP | {"pair", "profit"},
    "entries": GROUP | {"enter_tag"}, "exits": GROUP | {"exit_reason"}, "mix_tags": GROUP | {"mix_tag"},
    "stats": {"exit_reasons", "durations"},
    **{name: {"data", "fiat_display_currency", "stake_currency"} for name in ("daily", "weekly", "monthly")},
    "balance": {"currencies", "total", "total_bot", "symbol", "value", "value_bot", "stake", "note", "starting_capital",
                "starting_capital_ratio", "starting_capital_pct", "starting_capital_fiat",
                "starting_capital_fiat_ratio", "starting_capital_fiat_pct"},
    "whitelist": {"whitelist", "length", "method"},
    "blacklist": {"blacklist", "blacklist_expanded", "errors", "length", "method"},
    "locks": {"lock_count", "locks"}, "logs": {"log_count", "logs"}, "strategies": {"strategies"},
    "strategy/scalp": {"strategy", "code", "timeframe"}, "pairlists/available": {"pairlists"},
    "available_pairs": {"length", "pairs", "pair_interval"}, "plot_config": {"main_plot", "subplots"},
    "pair_candles?pair=BTC&timeframe=15m": CANDLES, "pair_history?pair=BTC&timeframe=15m&timerange=20261101-": CANDLES,
    "sysinfo": {"cpu_pct", "ram_pct"},
    "health": {"last_process", "last_process_ts", "bot_start", "bot_start_ts", "bot_startup", "bot_startup_ts"},
    "show_config": {"version", "api_version", "dry_run", "trading_mode", "short_allowed", "stake_currency",
                    "stake_amount", "stake_currency_decimals", "max_open_trades", "minimal_roi", "stoploss",
                    "stoploss_on_exchange", "unfilledtimeout", "order_types", "timeframe", "timeframe_ms",
                    "timeframe_min", "exchange", "strategy", "force_entry_enable", "exit_pricing", "entry_pricing",
                    "bot_name", "state", "runmode", "position_adjustment_enable", "max_entry_position_adjustment"},
    "trades/open/custom-data": {"trade_id", "custom_data"}, f"trades/{ENDED}/custom-data": {"trade_id", "custom_data"},
}  # fmt: skip


@pytest.mark.parametrize("path", SHAPES)
async def test_every_answer_has_what_freqtrade_has_in_it(path):
    async with served().client(**basic(VIEWER)) as client:
        answer = await client.get(f"/api/v1/{path}")
    assert answer.status_code == 200, answer.text
    found = answer.json()
    for one in found if isinstance(found, list) else [found]:
        assert SHAPES[path] - set(one) == set()


@pytest.mark.parametrize("path", ["status", "profit", "trades", "balance", "logs", "version"])
async def test_a_path_of_both_answers_each_in_its_own_way_by_how_somebody_signs_in(path):
    async with served().client() as client:
        theirs = await client.get(f"/api/v1/{path}", headers=basic(PASSWORD))
        signed = await client.get(f"/api/v1/{path}", headers=await signed_in(client))
        ours = await client.get(f"/api/v1/{path}", headers={"Authorization": f"Bearer {PASSWORD}"})
        assert set(theirs.json()) == set(signed.json()) if isinstance(theirs.json(), dict) else theirs.json()
    assert theirs.status_code == signed.status_code == 200
    assert ours.status_code == (404 if path in {"profit", "balance"} else 200)
    if ours.status_code == 200:
        assert type(ours.json()) is not type(theirs.json()) or set(ours.json()) != set(theirs.json())


@pytest.mark.parametrize("secret", [PASSWORD, TOKEN])
async def test_whoever_may_act_does_and_it_is_in_the_audit_before(secret):
    held = served()
    async with held.client() as client:
        bearer = await signed_in(client, secret)
        for path, body, done in [
            ("start", None, ("switch", "running")), ("stop", None, ("switch", "stopped")),
            ("stopbuy", None, ("switch", "paused")), ("stopentry", None, ("switch", "paused")),
            ("pause", None, ("switch", "paused")), ("reload_config", None, ("reload", "settings")),
            ("blacklist", {"blacklist": ["ETH/USDT"]}, ("ban", SYMBOLS[1])),
            ("forceexit", {"tradeid": "all"}, ("force_exit", "all")),
            ("forcesell", {"tradeid": str(OPEN), "ordertype": "market"}, ("force_exit", beginning(OPEN))),
        ]:  # fmt: skip
            noted = len(held.deeds)
            held.desk.positions[0]["id"] = beginning(OPEN)
            answer = await client.post(f"/api/v1/{path}", json=body, headers=bearer)
            assert answer.status_code == 200, (path, answer.text)
            assert held.desk.done[-1] == done
            # kept before it was done
            assert [one["done_before"] for one in held.deeds[noted:]] == [held.desk.done[:-1]]
            assert held.deeds[-1]["by"] == "program"


async def test_a_part_of_a_trade_is_closed_by_its_amount():
    held = served()
    held.desk.positions[0]["id"] = beginning(OPEN)
    async with held.client(**basic(PASSWORD)) as client:
        for amount in (0.004, 0.012, 5):
            answer = await client.post("/api/v1/forceexit", json={"tradeid": OPEN, "amount": amount})
            assert answer.status_code == 200, answer.text
    part = ("reduce", beginning(OPEN), Portion(qty=Decimal("0.004")))
    assert held.desk.done == [part, *[("force_exit", beginning(OPEN))] * 2]


@pytest.mark.parametrize("sign", ["basic", "token"])
async def test_who_may_only_look_has_nothing_done(sign):
    held = served()
    async with held.client() as client:
        who = basic(VIEWER) if sign == "basic" else await signed_in(client, VIEWER)
        noted = list(held.deeds)
        for path in ("start", "stop", "forceexit", "forceenter", "reload_config", "blacklist", "locks", "locks/delete"):
            answer = await client.post(f"/api/v1/{path}", json={"tradeid": "all", "pair": "BTC"}, headers=who)
            assert (answer.status_code, answer.json()["error"]) == (403, ONLY_LOOKS), path
        for path in ("blacklist", "locks/1", f"trades/{ENDED}", f"trades/{OPEN}/open-order"):
            assert (await client.delete(f"/api/v1/{path}", headers=who)).status_code == 403
        assert (await client.get("/api/v1/strategy/scalp", headers=who)).json()["code"] == ""
    assert (held.desk.done, held.deeds) == ([], noted)


async def test_without_a_secret_or_with_a_cookie_nobody_gets_in():
    held = served()
    async with held.client() as client:
        assert (await client.get("/api/v1/ping")).json() == {"status": "pong"}
        signed = await client.post("/api/v1/session", json={"secret": PASSWORD})
        assert signed.status_code == 200
        assert client.cookies
        for who in ({}, {"Authorization": "Bearer"}, {"Authorization": "Basic"}, basic("wrong"), basic(""),
                    {"Authorization": "Basic !!!"}, {"Authorization": "Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.x"}):  # fmt: skip
            answer = await client.post("/api/v1/stop", headers=who)
            assert answer.status_code in {401, 404}, who
            answer = await client.post("/api/v1/token/login", headers=who)
            assert answer.status_code == 401
            # a browser that is asked for a password sends it along with what other sites ask for
            assert "basic" not in answer.headers["www-authenticate"].lower()
    assert held.desk.done == []


async def test_guesses_are_counted_together_with_those_at_the_page():
    held = served()
    async with held.client() as client:
        for i in range(5):
            assert (await client.get("/api/v1/count", headers=basic(f"guess {i}"))).status_code == 401
        assert (await client.get("/api/v1/count", headers=basic("guess 6"))).status_code == 429
        assert (await client.post("/api/v1/session", json={"secret": "guess 7"})).status_code == 429
        assert (await client.get("/api/v1/count", headers=basic(PASSWORD))).status_code == 200


async def test_a_long_token_gets_short_ones_and_neither_passes_for_the_other():
    async with served().client() as client:
        both = (await client.post("/api/v1/token/login", headers=basic(PASSWORD))).json()
        long, short = ({"Authorization": f"Bearer {both[f'{kind}_token']}"} for kind in ("refresh", "access"))
        fresh = (await client.post("/api/v1/token/refresh", headers=long)).json()
        again = {"Authorization": f"Bearer {fresh['access_token']}"}
        assert (await client.get("/api/v1/count", headers=again)).status_code == 200
        assert (await client.get("/api/v1/count", headers=long)).status_code == 401
        assert (await client.post("/api/v1/token/refresh", headers=short)).status_code == 401


def test_tokens_end_and_nobody_else_makes_them():
    now = [1_000.0]
    ours, visitor = Tokens(lambda: now[0]), Visitor("someone", acts=True)
    short, long = ours.issue(visitor, "access"), ours.issue(visitor, "refresh")
    assert (ours.visitor(short, "access"), ours.visitor(long, "refresh")) == (visitor, visitor)
    head, body, signature = short.split(".")
    for other in ("", ".", short[:-2], f"{head}.{body}x.{signature}", f"{head}..{signature}", f"{head}.{body}.",
                  Tokens(lambda: now[0]).issue(visitor, "access"), "é.ü.ß", "x" * 5_000):  # fmt: skip
        assert ours.visitor(other, "access") is None
    now[0] += 901
    assert ours.visitor(short, "access") is None
    now[0] += 30 * 86_400
    assert ours.visitor(long, "refresh") is None


async def test_other_sites_read_and_act_only_when_they_are_listed():
    held = served()
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    async with held.client() as client:
        let = await client.options("/api/v1/stop", headers={"Origin": FREQUI, **asked})
        assert (let.status_code, let.headers["access-control-allow-origin"]) == (200, FREQUI)
        barred = await client.options("/api/v1/stop", headers={"Origin": STRANGER, **asked})
        assert (barred.status_code, "access-control-allow-origin" in barred.headers) == (400, False)
        bearer = await signed_in(client)
        for origin, code in ((FREQUI, 200), ("http://localhost", 200), (STRANGER, 403), ("null", 403)):
            answer = await client.post("/api/v1/stopbuy", headers={**bearer, "Origin": origin})
            assert answer.status_code == code, origin
            assert answer.headers.get("access-control-allow-origin") == (FREQUI if origin == FREQUI else None)
        # our own API takes cookies: no other site reads it
        ours = await client.get("/api/v1/status", headers={"Authorization": f"Bearer {PASSWORD}", "Origin": FREQUI})
        assert (ours.status_code, "access-control-allow-origin" in ours.headers) == (200, False)


async def test_with_no_origin_listed_no_other_site_reads_anything():
    async with Served(password=PASSWORD).client(**basic(PASSWORD), Origin=FREQUI) as client:
        assert "access-control-allow-origin" not in (await client.get("/api/v1/count")).headers
        assert (await client.post("/api/v1/stop")).status_code == 403


async def test_what_cannot_be_done_is_said_and_not_done():
    held = served()
    async with held.client(**basic(PASSWORD)) as client:
        for path, body, code, said in [
            ("forceenter", {"pair": "BTC/USDT:USDT", "side": "long"}, 409, "only strategies open"),
            ("forcebuy", {"pair": "BTC/USDT:USDT", "price": 5}, 409, "only strategies open"),
            ("forceexit", {"tradeid": "all", "amount": 0.001}, 409, "of one trade"),
            ("forceexit", {"tradeid": 7, "amount": 0.001}, 404, "no open trade"),
            ("forceexit", {"tradeid": OPEN, "amount": 0}, 422, "amount"),
            ("forceexit", {"tradeid": OPEN, "ordertype": "limit"}, 409, "at the market"),
            ("forceexit", {"tradeid": 7}, 404, "no open trade has the number 7"),
            ("forceexit", {"tradeid": "BTC"}, 404, "no open trade has the number 'BTC'"),
            ("forceexit", {"tradeid": "9" * 30}, 404, "no open trade has the number"),
            ("forceexit", {}, 422, "tradeid"), ("locks", [{"pair": "BTC"}], 409, "protections lock by themselves"),
        ]:  # fmt: skip
            answer = await client.post(f"/api/v1/{path}", json=body)
            assert (answer.status_code, said in answer.json()["error"]) == (code, True), answer.text
            assert answer.json()["detail"] == answer.json()["error"]
        for path, code, said in [
            (f"trades/{ENDED}", 409, "never deleted"), ("trades/7", 404, "Trade not found."),
            (f"trades/{OPEN}/open-order", 409, "no open order"), ("locks/7", 404, "no lock 7"),
        ]:  # fmt: skip
            answer = await client.delete(f"/api/v1/{path}")
            assert (answer.status_code, said in answer.json()["error"]) == (code, True), answer.text
    assert [one for one in held.desk.done if one[1] != beginning(7)] == []


async def test_without_the_audit_only_what_lowers_the_risk_is_done():
    held = served()
    held.full = "the disk is full"
    async with held.client(**basic(PASSWORD)) as client:
        assert (await client.post("/api/v1/start")).status_code == 503
        assert (await client.delete("/api/v1/blacklist?pairs_to_delete=BTC")).status_code == 503
        assert held.desk.done == []
        assert "the disk is full" in (await client.post("/api/v1/stop")).json()["status"]
    assert held.desk.done == [("switch", "stopped")]


async def test_figures_are_those_of_the_trades():
    held = served()
    async with held.client(**basic(VIEWER)) as client:
        told = (await client.get("/api/v1/profit_all")).json()
        money = held.desk.pulse()
        made = sum(float(one.pnl_usd) for one in held.desk.held)
        start = float(money["equity"]) - float(money["open_pnl"]) - made
        every = told["all"]
        assert every["profit_closed_coin"] == pytest.approx(made)
        assert every["profit_all_coin"] == pytest.approx(made + 9.59)
        assert every["profit_closed_ratio"] == pytest.approx(made / start)
        assert (every["winning_trades"], every["losing_trades"]) == (20, 10)
        assert every["profit_factor"] == pytest.approx(20 * 12.5 / (10 * 8))
        assert told["long"]["closed_trade_count"] + told["short"]["closed_trade_count"] == 30
        assert told["long"]["profit_closed_ratio"] + told["short"]["profit_closed_ratio"] == pytest.approx(made / start)
        daily = (await client.get("/api/v1/daily?timescale=3")).json()["data"]
        assert [one["trade_count"] for one in daily] == [one.trades for one in await held.desk.results("day", 3)]
        assert daily[1]["starting_balance"] == pytest.approx(daily[0]["starting_balance"] - daily[1]["abs_profit"])


async def test_trades_come_in_pages_and_keep_their_numbers():
    async with served().client(**basic(VIEWER)) as client:
        pages = [(await client.get(f"/api/v1/trades?limit=20&offset={at}")).json() for at in (0, 20)]
        held = [one for page in pages for one in page["trades"]]
        assert ([page["trades_count"] for page in pages], pages[0]["total_trades"]) == ([20, 10], 30)
        assert len({one["trade_id"] for one in held}) == 30
        assert [one["close_timestamp"] for one in held] == sorted(one["close_timestamp"] for one in held)
        one = (await client.get(f"/api/v1/trade/{held[3]['trade_id']}")).json()
        assert {name: one[name] for name in held[3]} == held[3]
        newest = (await client.get("/api/v1/trades?limit=1&order_by_id=false")).json()["trades"]
        assert newest == held[-1:]


def test_a_number_names_its_trade_again():
    for one in (POSITION["trade_id"], trade(3).trade_id, "ffffffff-ffff-5fff-8000-000000000000"):
        assert one.startswith(beginning(number_of(one)))
        assert number_of(one) < 2**53


async def test_candles_have_the_columns_that_are_asked_for_and_those_that_a_chart_needs():
    async with served().client(**basic(VIEWER)) as client:
        body = {"pair": SYMBOLS[0], "timeframe": "15m", "limit": 30, "columns": []}
        told = (await client.post("/api/v1/pair_candles", json=body)).json()
        rows = [dict(zip(told["columns"], row, strict=True)) for row in told["data"]]
        assert told["length"] == len(rows) == 30
        assert {"date", "open", "high", "low", "close", "volume", "enter_long", "enter_short", "__date_ts"} <= set(
            rows[0]
        )
        assert "band" in told["all_columns"]
        assert "band" not in rows[0]
        assert rows[-1]["__date_ts"] == told["data_stop_ts"] == NOW_MS - 900_000
        assert sum(row["enter_long"] for row in rows) == told["enter_long_signals"] > 0
        assert all((row["_enter_long_signal_close"] is not None) == bool(row["enter_long"]) for row in rows)
        whole = (await client.get("/api/v1/pair_candles", params={"pair": "btc", "timeframe": "15m"})).json()
        assert "band" in whole["columns"]
        for wrong in ({"pair": "NOPE"}, {"timeframe": "7m"}, {"timeframe": "x"}):
            answer = await client.post("/api/v1/pair_candles", json={**body, **wrong})
            assert answer.status_code == 404, answer.text
        params = {"pair": "BTC", "timeframe": "15m", "timerange": "yesterday"}
        assert (await client.get("/api/v1/pair_history", params=params)).status_code == 422


async def test_a_web_socket_is_refused_without_a_line_in_the_log(caplog):
    server = Server(("127.0.0.1", 0), None)
    port = await server.start(served().app, lambda: None)
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "eA==",
        "Sec-WebSocket-Version": "13",
    }
    async with httpx.AsyncClient(headers=upgrade) as client:
        answer = await client.get(f"http://127.0.0.1:{port}/api/v1/message/ws?token=x")
    await server.stop()
    assert (answer.status_code, caplog.records) == (404, [])


async def test_a_page_without_a_bot_tells_what_is_stored_and_does_nothing():
    held = served()
    held.desk.running = False
    async with held.client(**basic(PASSWORD)) as client:
        assert (await client.get("/api/v1/trades")).json()["total_trades"] == 30
        for path, body in (("start", None), ("stop", None), ("forceexit", {"tradeid": "all"}), ("reload_config", None)):
            answer = await client.post(f"/api/v1/{path}", json=body)
            assert (answer.status_code, "no bot runs" in answer.json()["error"]) == (409, True)
    assert held.desk.done == []


ODD = served()
SCHEMA = schemathesis.openapi.from_dict(build(ODD.services, Tokens(), ()).openapi())


@SCHEMA.parametrize()
@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
def test_nothing_that_is_asked_breaks_the_api(case):
    answer = case.call(base_url="http://localhost", headers=basic(PASSWORD), app=ODD.app)
    assert answer.status_code < 500
    answer.json()


@pytest.mark.parametrize(
    "wrong",
    ["*", "localhost:3000", "http://localhost:3000/", "null", "https://me:x@ui.example", "ftp://ui.example", ""],
)
def test_what_is_no_origin_is_refused(wrong):
    with pytest.raises(ValidationError, match="is no origin"):
        Dashboard(cors_origins=(wrong,))
    assert Dashboard().cors_origins == ()

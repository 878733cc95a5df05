"""The whole program on the practice exchange, as its user runs it."""

from __future__ import annotations

import json
import os
import signal
from decimal import Decimal

import pytest

from tests.bot import Bot, control, holes, until

STEPS = {"3m": 180_000, "15m": 900_000}


def stored_times(bot: Bot) -> dict[tuple[str, str], list[int]]:
    query = (
        "SELECT s.symbol, s.timeframe, o.open_time FROM ohlcv_synthetic o JOIN series s ON s.id = o.series_id"
        " ORDER BY s.symbol, s.timeframe, o.open_time"
    )
    found: dict[tuple[str, str], list[int]] = {}
    with bot.database() as db:
        for symbol, timeframe, time in db.execute(query):
            found.setdefault((symbol, timeframe), []).append(time)
    return found


def stopped(bot: Bot) -> dict[str, int]:
    """Stop the bot, and compare its records with the exchange's: each position closed by then is one trade row with the
    same fills, and nothing else is. What the exchange does after the bot has left is found at the next start.
    """
    until_time = bot.status()["market_time"]
    assert bot.stop() == 0
    executions = {row["id"]: row for row in bot.exchange_rows("executions") if row["kind"] == "Trade"}
    with bot.database() as db:
        fills = [row[0] for row in db.execute("SELECT exec_id FROM trade_fills WHERE cause <> 'funding'")]
        trades = db.execute("SELECT count(*), count(DISTINCT trade_id) FROM trades").fetchone()
    net: dict[str, float] = {}
    open_fills: dict[str, list[str]] = {}
    closed: set[str] = set()
    closed_later: set[str] = set()
    for row in executions.values():
        signed = float(row["qty"]) * (1 if row["side"] == "Buy" else -1)
        net[row["symbol"]] = net.get(row["symbol"], 0.0) + signed
        late = row["time"] > until_time
        open_fills.setdefault(row["symbol"], []).append(row["id"])
        if abs(net[row["symbol"]]) < 1e-9:
            (closed_later if late else closed).update(open_fills.pop(row["symbol"]))
    assert len(fills) == len(set(fills))
    assert trades[0] == trades[1]
    assert set(fills) <= closed | closed_later
    check_money(bot)
    return {"missing": len(closed - set(fills)), "trades": trades[0], "fills": len(fills)}


def check_money(bot: Bot) -> None:
    """Each trade's net profit is what the exchange's own executions add up to, fees and funding included."""
    cash: dict[str, Decimal] = {}
    net: dict[str, Decimal] = {}
    profits = {}
    for row in bot.exchange_rows("executions"):
        symbol, fee = row["symbol"], Decimal(row["fee"])
        signed = Decimal(row["qty"]) * (1 if row["side"] == "Buy" else -1) if row["kind"] == "Trade" else Decimal(0)
        net[symbol] = net.get(symbol, Decimal(0)) + signed
        cash[symbol] = cash.get(symbol, Decimal(0)) - signed * Decimal(row["price"]) - fee
        if row["kind"] == "Trade" and not net[symbol]:
            profits[row["id"]] = cash.pop(symbol)
    with bot.database() as db:
        query = "SELECT t.pnl_usd, f.exec_id FROM trades t JOIN trade_fills f USING (trade_id) WHERE f.closing"
        held = [(Decimal(pnl), profits[last]) for pnl, last in db.execute(query) if last in profits]
        count = db.execute("SELECT count(*) FROM trades").fetchone()[0]
    assert len(held) == count
    assert [pair for pair in held if abs(pair[0] - pair[1]) > Decimal("1e-8")] == []


def test_candles_flow_and_trades_open_and_close(make_bot):
    """On the embedded default the bot trades by itself and leaves true records."""
    bot = make_bot()
    bot.start()
    bot.wait_ready()

    status = bot.wait_for("fifteen closed trades", lambda s: s["closed"] >= 15)
    figures = stopped(bot)

    assert status["mode"] == "SYNTHETIC"
    assert figures["missing"] == 0
    assert figures["trades"] >= 15
    for (_, timeframe), times in stored_times(bot).items():
        assert holes(times, STEPS[timeframe]) == 0
    assert all(line["mode"] == "SYNTHETIC" for line in bot.lines())


def test_kill_9_and_again_without_a_lost_or_doubled_record(make_bot):
    """Killed at any moment, the bot comes back, fetches what is missing, and manages what it held."""
    bot = make_bot()
    bot.start()
    bot.wait_ready()
    bot.wait_for("an open position", lambda s: s["open"] >= 1)
    for closed in (1, 3):
        bot.kill9()
        bot.start()
        status = bot.wait_ready()
        assert status["candles_loaded"] > 10 * status["candles_fetched"] or status["candles_fetched"] < 2_000
        bot.wait_for("trades to close", lambda s, n=closed: s["closed"] >= n)
    bot.wait_for("the book and the exchange to agree", lambda s: s["unmatched_fills"] == 0)
    assert stopped(bot)["missing"] == 0
    for (_, timeframe), times in stored_times(bot).items():
        assert holes(times, STEPS[timeframe]) == 0


def test_ready_tells_alive_from_able_to_trade(make_bot):
    """/healthz says that the loop runs; /readyz says why the bot cannot trade."""
    bot = make_bot()
    bot.start()
    bot.wait_ready()

    assert bot.get("/healthz") == (200, {"alive": True})
    assert bot.get("/readyz") == (200, {"ready": True, "reasons": [], "notes": []})
    bot.tell_exchange(refuse=True, drop=True)
    code, body = until(lambda: (found := bot.get("/readyz")) and found[0] == 503 and found, "the bot to notice")

    assert code == 503
    assert "feed is not connected" in body["reasons"]


def test_one_silent_symbol_closes_that_symbol_and_not_the_bot(make_bot):
    """Its topics are dead though it is traded: it is named, the others go on, and no socket is cut for it."""
    bot = make_bot(REVENANT__FEED__STALE_S="4")
    bot.start()
    bot.wait_ready()
    begun = bot.status()["feed"]["connects"]
    bot.tell_exchange(silence=["kline.3.ETHUSDT", "kline.15.ETHUSDT"])
    named = "no entries in ETH/USDT:USDT: the feed is silent there"
    code, body = until(lambda: (found := bot.get("/readyz")) and found[1]["notes"] and found, "it to be named")

    assert (code, body) == (200, {"ready": True, "reasons": [], "notes": [named]})
    bars = bot.status()["bars"]
    seen = bot.wait_for("the others to go on", lambda s: s["bars"] > bars + 100 and s["feed"]["resubscribed"] > 0)
    assert (seen["ready"], seen["notes"], seen["feed"]["connects"]) == (True, [named], begun)
    assert {name.partition(" ")[0] for name in seen["stale"]} == {"ETH/USDT:USDT"}
    shown = json.loads(bot.manage("status", "--json").stdout)
    assert shown["notes"] == [named]
    bot.tell_exchange(reset=True)
    until(lambda: bot.get("/readyz") == (200, {"ready": True, "reasons": [], "notes": []}), "it to be heard again")


def test_the_practice_exchange_outlives_the_bot_and_is_found_again(make_bot):
    """Killing the bot does not kill the witness; stopping the bot in good order does."""
    bot = make_bot()
    bot.start()
    bot.wait_ready()
    pid = bot.exchange_note()["pid"]
    bot.kill9()

    os.kill(pid, 0)
    bot.start()
    bot.wait_ready()
    assert bot.exchange_note()["pid"] == pid
    assert bot.stop() == 0
    until(lambda: not (bot.practice_folder() / "endpoint.json").exists(), "the exchange to leave")


def test_a_killed_practice_exchange_is_started_again_on_its_state(make_bot):
    """The witness itself may die: it comes back with its orders and moves on over the time it was down."""
    bot = make_bot()
    bot.start()
    bot.wait_ready()
    bot.wait_for("a taken signal", lambda s: s["opened"] >= 1)
    before = len(bot.exchange_rows("executions"))
    os.kill(bot.exchange_note()["pid"], signal.SIGKILL)

    bot.wait_for("trades to go on", lambda s: s["closed"] >= 2 and len(bot.exchange_rows("executions")) > before)
    assert stopped(bot)["missing"] == 0


def test_the_practice_exchange_restarts_itself_where_the_bot_expects_it(make_bot):
    """Told to restart, it comes back with its state at the same address, and trading goes on."""
    bot = make_bot()
    bot.start()
    bot.wait_ready()
    note = bot.exchange_note()
    control(note, "stop?restart=1")
    bot.wait_for("trades after the restart", lambda s: s["closed"] >= 1 and s["ready"])
    again = bot.exchange_note()
    assert (again["port"], again["pid"]) == (note["port"], note["pid"])
    assert stopped(bot)["missing"] == 0


def test_a_second_bot_on_the_same_folder_is_refused_and_disturbs_nothing(make_bot):
    bot = make_bot()
    bot.start()
    bot.wait_ready()
    note = (bot.practice_folder() / "endpoint.json").read_text()
    second = Bot(bot.folder)
    second.environment = bot.environment
    health = (bot.data / "dashboard.json").read_text()
    second.start()
    assert second.process.wait(timeout=180) == 2
    (bot.data / "dashboard.json").write_text(health)
    assert "another bot is running" in bot.log()
    assert (bot.practice_folder() / "endpoint.json").read_text() == note
    bars = bot.status()["bars"]
    bot.wait_for("the first bot to go on", lambda s: s["bars"] > bars + 50)
    assert bot.stop() == 0


def test_operator_commands_answer_in_json(make_bot):
    """status, stats, db-stats, trades list, show-config and doctor work beside a running bot."""
    bot = make_bot()
    bot.start()
    bot.wait_ready()
    bot.wait_for("a closed trade", lambda s: s["closed"] >= 1)

    status = json.loads(bot.manage("status", "--json").stdout)
    stats = json.loads(bot.manage("stats", "--json").stdout)
    db_stats = json.loads(bot.manage("db-stats", "--json").stdout)
    trades = json.loads(bot.manage("trades", "list", "--json").stdout)
    config = json.loads(bot.manage("show-config", "--json").stdout)
    doctor = json.loads(bot.manage("doctor", "--json").stdout)
    assert status["running"]
    assert status["feed"]["frames"] > status["frames"]["received"] > 0
    assert status["feed"]["malformed"] == status["frames"]["invalid"] == 0
    assert stats["total_trades"] >= 1
    assert {"symbols", "total_candles", "db_size_mb", "database_type"} <= set(db_stats)
    shown = bot.manage("status").stdout
    assert all(len(line) <= 100 for line in shown.splitlines())
    assert shown.startswith("SYNTHETIC")
    assert trades[0]["mode"] == "synthetic"
    assert config["risk"]["percent"] == "0.5"
    assert {"database", "data folder", "free space", "redis"} <= {row["name"] for row in doctor}
    assert bot.stop() == 0
    assert bot.manage("status", "--json").returncode == 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"DATA_SOURCE": "nonsense"}, "source: 'nonsense'"),
        ({"DATABASE_URL": "mysql://a:secretword@b/c"}, "mysql:// is not known"),
        ({"DATABASE_URL": "postgres://a:secretword@"}, "DATABASE_URL"),
        ({"REVENANT__RISK__PERCENT": "eleven"}, "risk.percent: 'eleven'"),
        ({"REVENANT__RISK__PERCENTT": "1"}, "did you mean percent?"),
        ({"REVENANT__TRADING__MODE": "live"}, "does not go with source synthetic"),
        ({"REVENANT__TRADING__SYMBOLS": '["NOPE/USDT:USDT"]'}, "'NOPE/USDT:USDT' matches no symbol"),
        ({"REVENANT__TRADING__BLACKLIST": '["ETH", "BTCC"]'}, "trading.blacklist: 'BTCC' matches no symbol"),
        ({"REVENANT__DATA_DIR": "/proc/nowhere"}, "data_dir"),
        ({"DATA_SOURCE": "mock"}, "sandbox.replay"),
    ],
)
def test_what_cannot_work_is_one_clear_line_and_exit_code_2(make_bot, settings, said):
    """A wrong configuration ends the start with the key, the value and the way out, and shows no secret."""
    bot = make_bot(**settings)
    bot.start()
    assert bot.process.wait(timeout=180) == 2

    assert said in bot.log()
    assert "Traceback" not in bot.log()
    assert "secretword" not in bot.log()


def test_a_disk_that_is_not_there_yet_ends_the_start_with_a_code_that_is_started_again(make_bot, tmp_path):
    """Exit code 2 is for good: systemd would leave the bot down though the disk be mounted a second later."""
    bot = make_bot()
    bot.data.symlink_to(tmp_path / "mounted-later")
    bot.start()
    assert bot.process.wait(timeout=180) == 75
    assert "is its disk mounted?" in bot.log()
    assert "Traceback" not in bot.log()
    assert not (tmp_path / "mounted-later").exists()
    (tmp_path / "mounted-later").mkdir()
    bot.start()
    bot.wait_ready()
    assert bot.stop() == 0


@pytest.mark.parametrize(
    ("argument", "code", "said"),
    [
        ("--help", 0, "takes no arguments"),
        ("--version", 0, "revenant 0."),
        ("--dry-run", 2, "--dry-run"),
        ("stop", 2, "arguments: stop"),
    ],
)
def test_whoever_asks_for_help_or_something_else_has_not_started_to_trade(make_bot, argument, code, said):
    bot = make_bot()
    bot.start(argument)
    assert bot.process.wait(timeout=180) == code
    assert said in bot.log()
    assert not bot.data.exists()

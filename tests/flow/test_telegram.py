"""The whole bot with a chat: what is asked, what is told, what is done, and what outages and kills leave of it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.bot import ROOT, until
from tests.desk import FakeDesk
from tests.telegram_server import CHAT, OWNER, TOKEN, telegram

NAMED_FREELY = {"tiers", "refused", "touched"}
"""Figures by tier, gate and touch: whatever there is."""


@pytest.fixture
def server():
    with telegram() as held:
        yield held


def settings(server, **more: str) -> dict[str, str]:
    return {
        "TELEGRAM_BOT_TOKEN": TOKEN, "TELEGRAM_CHAT_ID": str(CHAT), "REVENANT__TELEGRAM__BASE_URL": server.address,
        "REVENANT__TELEGRAM__GROUP_S": "0.05", **more,
    }  # fmt: skip


def invented(fake, real, path=""):
    """Yield what a fake tells otherwise than the bot does: names that there are not, and values of another type."""
    for name, value in fake.items():
        place = f"{path}{name}"
        if name not in real:
            yield place
        elif type(value) is not type(real[name]) and not {type(value), type(real[name])} <= {int, float}:
            yield f"{place} is {type(real[name]).__name__}"
        elif isinstance(value, dict) and name not in NAMED_FREELY:
            yield from invented(value, real[name], f"{place}.")
        elif isinstance(value, list) and value and real[name] and isinstance(value[0], dict):
            yield from invented(value[0], real[name][0], f"{place}.")


def saying(text):
    return lambda one: text in one["plain"]


def test_reports_controls_and_notices_of_a_real_run_and_what_a_kill_leaves(make_bot, server):
    bot = make_bot(**settings(server))
    bot.start()
    server.wait("Revenant has started for the first time", "the greeting", 120)
    for sign, what in (("💡", "a signal"), ("🟢 SYNTHETIC Entered", "an entry"), ("SYNTHETIC Closed", "an exit")):
        server.wait(sign, what, 120)
    # the fake that the chat's other tests ask tells nothing that a bot does not
    status = bot.wait_for("a position", lambda s: s["positions"], 120)
    assert list(invented(json.loads(json.dumps(FakeDesk().status(), default=str)), status)) == []
    # the same figures as the command's
    stored = json.loads(bot.manage("db-stats", "--json").stdout)
    told = server.ask("/db_stats", saying("Storage"), 60)["plain"]
    assert all(one["timeframe"] in told for one in stored["candles"])
    assert "journal" in told
    for line, wanted in (("/health", "loop p99"), ("/ml_stats", "lessons"), ("/phantom_stats", "followed"), ("/coverage", "there"),
                         ("/logs 5", "info"), ("/show_config telegram", "**********"), ("/profit", "net profit")):  # fmt: skip
        assert wanted in server.ask(line, saying(wanted), 60)["plain"]
    symbol = bot.status()["positions"][0]["symbol"] if bot.status()["positions"] else "BTC"
    for line in (f"/chart {symbol}", "/equity"):
        assert server.ask(line, lambda one: one["photo"], 120)["photo"].startswith(b"\x89PNG")
    # risk, blacklist and switch, changed by word
    server.ask("/risk 0.25", "0.25%", 60)
    server.ask("/blacklist btc", "No new entries in BTC/USDT:USDT", 60)
    server.ask("/stop", "Stopped", 60)
    server.wait("Trading is stopped", "the switch's notice", 60)
    bot.wait_for("the switch", lambda s: s["switch"] == "stopped")
    bot.kill9()
    server.forget()
    bot.start()
    assert "stopped" in server.wait("Revenant is back", "the greeting", 120)["plain"]
    server.ask("/risk", saying("0.25% ="), 60)
    server.ask("/blacklist", saying("BTC/USDT:USDT"), 60)
    question = server.ask("/start", "Confirm within", 60)
    server.press(
        next(key["callback_data"] for key in question["buttons"] if "Yes" in key["text"]), question["message_id"]
    )
    bot.wait_for("entries", lambda s: s["switch"] == "running")
    server.ask("/panic", "Stopped.", 60)
    bot.wait_for("everything closed", lambda s: s["switch"] == "stopped" and s["open"] == 0 and s["pending"] == 0)
    assert bot.stop() == 0
    server.wait("💤", "the goodbye", 10)
    audit = [json.loads(line) for line in (bot.data / "telegram-audit.jsonl").read_text().splitlines()]
    commands = [(one["command"], one["outcome"]) for one in audit]
    for wanted in (
        ("/stop", "done"),
        ("/start", "asked to confirm"),
        ("/start", "confirmed"),
        ("/start", "done"),
        ("/panic", "done"),
    ):
        assert wanted in commands
    assert {one["user"] for one in audit} == {OWNER}
    everything = bot.log() + "".join(path.read_text(errors="replace") for path in bot.data.glob("*.json*"))
    assert TOKEN not in everything
    assert TOKEN.partition(":")[2] not in everything


def test_the_configuration_is_reloaded_and_what_cannot_be_waits(make_bot, server, tmp_path):
    config = tmp_path / "mine.yaml"
    plain = (ROOT / "config.yaml").read_text()
    config.write_text(plain)
    bot = make_bot(**settings(server, REVENANT_CONFIG=str(config)))
    bot.start()
    bot.wait_ready()
    config.write_text(plain.replace("percent: 0.5  ", "percent: 0.75 ").replace("max_open_trades: 8", "max_open_trades: 5")
                      .replace("top: 20", "top: 15").replace("notices: {}", "notices: {signal: off}"))  # fmt: skip
    question = server.ask("/reload_config", lambda one: "Confirm within" in one["plain"], 60)
    for part in (
        "risk.percent: 0.5 → 0.75",
        "risk.max_open_trades: 8 → 5",
        "telegram.notices",
        "From the next start: trading.top",
    ):
        assert part in question["plain"], question["plain"]
    server.press(
        next(key["callback_data"] for key in question["buttons"] if "Yes" in key["text"]), question["message_id"]
    )
    server.wait("In force now", "the reload", 60)
    told = server.ask("/risk", lambda one: "at most" in one["plain"], 60)["plain"]
    assert "0.75% =" in told
    assert "5 at most" in told
    config.write_text(plain.replace("percent: 0.5  ", "percent: 50 "))
    assert "risk.percent" in server.ask("/reload_config", lambda one: "⚠️" in one["plain"], 60)["plain"]


def test_trading_goes_on_without_a_chat_with_a_wrong_token_and_while_telegram_is_away(make_bot, server):
    silent = make_bot("silent")
    silent.start()
    silent.wait_ready()
    assert any("TELEGRAM_BOT_TOKEN is not set" in line["event"] for line in silent.lines())
    silent.kill9()
    wrong = make_bot("wrong", **settings(server, TELEGRAM_BOT_TOKEN="123456:not-the-token-that-it-should-be-00"))
    server.down = True
    wrong.start()
    wrong.wait_ready()
    assert wrong.status()["telegram"]["state"] == "connecting"
    server.down = False
    wrong.wait_for("the refusal", lambda s: s["telegram"]["state"] == "refused")
    wrong.wait_for("trading", lambda s: s["ready"] and s["bars"] > 50)
    assert "not-the-token" not in wrong.log()
    doctor = wrong.manage("doctor")
    assert "refuses the token" in doctor.stdout
    assert "not-the-token" not in doctor.stdout + doctor.stderr
    assert wrong.stop() == 0


def test_the_daemon_loads_no_matplotlib_and_drawing_needs_no_screen(tmp_path):
    picture = {"type": "curve", "title": "x", "points": [[1_790_000_000_000, 1.0], [1_790_003_600_000, -2.0]]}
    done = subprocess.run(
        [sys.executable, "-m", "dashboard.drawing"],
        input=json.dumps(picture).encode(),
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    assert done.stdout.startswith(b"\x89PNG")
    empty = {"type": "chart", "title": "x", "step_ms": 60_000, "bars": [], "marks": []}
    done = subprocess.run(
        [sys.executable, "-m", "dashboard.drawing"],
        input=json.dumps(empty).encode(),
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    assert done.stdout.startswith(b"\x89PNG")


def test_a_long_outage_of_telegram_loses_nothing_that_matters(make_bot, server):
    bot = make_bot(**settings(server))
    bot.start()
    server.wait("Revenant has started", "the greeting", 120)
    server.down = True
    before = bot.wait_for("closed trades", lambda s: s["closed"] >= 2 and s["telegram"]["notices_waiting"] > 3)
    server.forget()
    server.down = False
    until(lambda: sum("Closed" in one for one in server.texts()) >= 1, "the exits", 120)
    bot.wait_for("nothing to wait", lambda s: s["telegram"]["notices_waiting"] <= 2, 120)
    told = "\n".join(server.texts())
    assert told.count(" Closed ") >= before["closed"] - 2
    positions = [told.find("Entered"), told.find(" Closed ")]
    assert all(place >= 0 for place in positions)

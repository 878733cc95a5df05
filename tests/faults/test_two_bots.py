"""Two whole bots on one account: with one database the newest sends, without one they notice each other."""

from __future__ import annotations

import json
import shutil
import signal

import pytest

from persistence.keyvalue import Redis
from persistence.state import RedisState
from tests.bot import Bot, exchange_alone, until

NOTICED = "another instance sends orders to this account: no entries here"


@pytest.fixture
def alone(tmp_path):
    """An exchange of its own, and the settings of an armed bot without a database to share."""
    with exchange_alone(tmp_path) as settings:
        yield settings | {
            "REVENANT__TRADING__MODE": "live", "REVENANT__ML__UNTRAINED": "rule", "LIVE_CONFIRM": "1000001", "BYBIT_API_KEY": "practice-key",
            "BYBIT_API_SECRET": "practice-secret", "REVENANT__LOG_LEVEL": "debug",
        }  # fmt: skip


@pytest.fixture
def account(alone, own_postgres):
    """The same with a database."""
    return alone | {"DATABASE_URL": own_postgres.dsn("postgres")}


def test_the_newest_takes_over_at_once_and_a_paused_one_sends_nothing_more(account, own_postgres, tmp_path):
    old, new = Bot(tmp_path / "old", **account), Bot(tmp_path / "new", **account)
    try:
        old.start()
        old.wait_ready()
        old.wait_for("an open position", lambda s: s["open"] >= 1)
        old.process.send_signal(signal.SIGSTOP)
        new.start()
        status = new.wait_ready()
        assert status["lease"]["state"] == "held"
        # a third folder, a copy of the first, must not take the right away by a mere look
        copy = Bot(tmp_path / "aside", **account)
        shutil.copytree(old.data, copy.data, ignore=shutil.ignore_patterns("dashboard.json", "bot.sock"))
        aside = copy.manage("trades", "reconcile")
        assert (aside.returncode, "alive elsewhere" in aside.stderr) == (2, True), aside.stderr
        # what the older one had opened is the newer one's now, stops and all
        assert status["adopted"] >= 1 or status["rebuilt"] >= 1
        old.process.send_signal(signal.SIGCONT)
        said = old.wait_for("the older one to notice", lambda s: s["lease"]["state"] == "lost")
        assert any("another instance has taken over" in reason for reason in said["reasons"])
        placed = sum(line["event"] == "order accepted" for line in old.lines())
        new.wait_for("trades of the newer one", lambda s: s["closed"] >= 2)
        assert sum(line["event"] == "order accepted" for line in old.lines()) == placed > 0
        assert old.stop() == 0
        assert new.stop() == 0
        count, names = own_postgres.sql("SELECT count(*), count(DISTINCT trade_id) FROM trades")[0]
        assert count == names > 0
        doubled = own_postgres.sql("SELECT exec_id FROM trade_fills GROUP BY exec_id HAVING count(*) > 1")
        assert doubled == []
        # a successor is no second sender, nor is a predecessor
        assert noticed(old) == noticed(new) == 0
    finally:
        old.close()
        new.close()


def noticed(bot):
    return sum(line["event"] == NOTICED for line in bot.lines())


def test_two_bots_without_a_common_database_notice_each_other(alone, tmp_path):
    """The fence cannot see the other one: entries that were not sent here tell of it, once."""
    first, second = Bot(tmp_path / "first", **alone), Bot(tmp_path / "second", **alone)
    try:
        first.start()
        first.wait_ready()
        first.wait_for("an open position", lambda s: s["open"] >= 1 and s["second_sender"]["watching"])
        assert first.manage("pause").returncode == 0
        second.start()
        second.wait_ready()
        seen = first.wait_for("the other one to be noticed", lambda s: s["second_sender"]["reason"])
        assert seen["second_sender"]["reason"] in seen["reasons"]
        assert first.get("/readyz")[0] == 503
        # what it has goes on, and the other one has met no entry of it
        first.wait_for("positions to be closed", lambda s: s["closed"] >= seen["closed"] + 2)
        there = second.wait_for("more trades", lambda s: s["closed"] >= 4)
        assert (there["second_sender"]["reason"], there["ready"]) == ("", True), there["reasons"]
        assert (noticed(first), noticed(second)) == (1, 0)
        # the operator lets it enter beside the other one: then both do, and one of them meets the other's next entry
        assert first.manage("start").returncode == 0
        until(lambda: noticed(first) + noticed(second) >= 2, "one of them to notice the other")
        bots = (first, second)
        until(
            lambda: any((one.status() or {"refused": {}})["refused"].get("second_sender") for one in bots), "the gate"
        )
        assert [one.stop() for one in bots] == [0, 0]
    finally:
        first.close()
        second.close()


def test_bots_with_names_share_a_database_and_a_redis(own_postgres, own_redis, tmp_path):
    """Found by ten paper bots: the second one silenced the first."""
    shared = {"DATABASE_URL": own_postgres.dsn("postgres"), "REDIS_URL": own_redis.url}
    bots = [Bot(tmp_path / name, **shared, REVENANT__TRADING__ACCOUNT=name) for name in ("alice", "bob")]
    try:
        for bot in bots:
            bot.start()
        for bot in bots:
            bot.wait_ready()
        ended = {bot: bot.wait_for("trades", lambda s: s["closed"] >= 2) for bot in bots}
        assert {status["lease"]["state"] for status in ended.values()} == {"held"}
        assert [bot.manage("trades", "verify").returncode for bot in bots] == [0, 0]
        redis = Redis(own_redis.url)
        spaces = [RedisState(redis, f"account:{name}") for name in ("alice", "bob")]
        until(lambda: all("phantom:completed" in space.keys("phantom:") for space in spaces), "the phantoms of both")
        assert RedisState(redis).keys("phantom:") == []
        redis.close()

        def counted() -> list[dict[str, str]] | None:
            rows = json.loads(bots[0].manage("fleet", "--json").stdout)
            assert [row["state"] for row in rows] == ["runs", "runs"]
            return rows if all(int(row["trades"]) >= 2 for row in rows) else None

        rows = until(counted, "the trades of both to be counted")
        assert [bot.stop() for bot in bots] == [0, 0]
        accounts = own_postgres.sql("SELECT account, count(*), count(DISTINCT trade_id) FROM trades GROUP BY account")
        assert {row[0] for row in accounts} == {row["account"] for row in rows}
        assert all(count == distinct for _, count, distinct in accounts)
        told = bots[1].manage("fleet")
        assert (told.returncode, told.stdout.count("stopped")) == (0, 2), told.stdout
    finally:
        for bot in bots:
            bot.close()


def test_nothing_that_earlier_lives_left_behind_is_taken_for_another_instance(alone, tmp_path):
    """Killed at any moment, its journal lost, everything closed by a command without it: it is alone all the same."""

    def forgets(bot):
        for path in (bot.data / "journal").rglob("*.jsonl"):
            path.unlink()

    def panics(bot):
        assert bot.manage("panic", "--seconds", "60").returncode == 0
        assert bot.manage("start").returncode == 0

    bot = Bot(tmp_path / "bot", **alone)
    try:
        for between in (lambda _: None, forgets, panics, lambda _: None):
            bot.start()
            bot.wait_ready()
            bot.wait_for(
                "trades while it looks for others",
                lambda s: s["second_sender"]["watching"] and s["open"] and s["closed"],
            )
            bot.kill9()
            between(bot)
        assert noticed(bot) == 0
    finally:
        bot.close()

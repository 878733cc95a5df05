"""Two whole bots on one account and one database, as during a rolling deployment: the newest sends, the other stands by."""

from __future__ import annotations

import shutil
import signal

import pytest

from tests.bot import Bot, exchange_alone


@pytest.fixture
def account(tmp_path, own_postgres):
    """An exchange of its own, the database, and the settings of an armed bot."""
    with exchange_alone(tmp_path) as settings:
        yield settings | {
            "REVENANT__TRADING__MODE": "live", "REVENANT__ML__UNTRAINED": "rule", "LIVE_CONFIRM": "1000001", "BYBIT_API_KEY": "practice-key",
            "BYBIT_API_SECRET": "practice-secret", "DATABASE_URL": own_postgres.dsn("postgres"), "REVENANT__LOG_LEVEL": "debug",
        }  # fmt: skip


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
    finally:
        old.close()
        new.close()

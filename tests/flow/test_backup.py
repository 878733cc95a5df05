"""A bot is backed up while it trades, lost whole, and goes on from the backup elsewhere."""

from __future__ import annotations

import json
import shutil


def test_a_lost_bot_goes_on_from_its_backup(make_bot, tmp_path):
    bot = make_bot()
    bot.start()
    bot.wait_ready()
    bot.wait_for("a closed trade", lambda status: status["closed"] >= 1)
    before = {row["trade_id"] for row in json.loads(bot.manage("trades", "list", "--json", "-n", "1000").stdout)}
    done = bot.manage("backup", "create", "--to", str(tmp_path / "safe"), "--json")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert made["left_out"] == [], "what a bot writes is known to its backups"
    bot.kill9()
    key = (bot.data / "backup.key").read_text()
    shutil.rmtree(bot.data)

    other = make_bot("other")
    stranger = other.manage("backup", "restore", made["path"])
    assert stranger.returncode == 2
    assert "BACKUP_KEY" in stranger.stderr
    other.data.mkdir(exist_ok=True)
    (other.data / "backup.key").write_text(key)
    restored = other.manage("backup", "restore", made["path"], "--json")
    assert restored.returncode == 0, restored.stderr
    again = other.manage("backup", "restore", made["path"])
    assert again.returncode == 2
    assert "restore into an empty folder" in again.stderr
    other.start()
    other.wait_ready()
    kept = {row["trade_id"] for row in json.loads(other.manage("trades", "list", "--json", "-n", "1000").stdout)}
    assert before <= kept
    other.wait_for("the market to go on", lambda status: status["bars"] >= 50)
    assert json.loads(other.manage("trades", "verify", "--json", within=120).stdout)["clean"]

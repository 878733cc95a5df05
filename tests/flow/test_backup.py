"""A bot is backed up while it trades, lost whole, and goes on from the backup elsewhere."""

from __future__ import annotations

import itertools
import json
import shutil

from domain.candle import Series
from domain.source import Source
from tests.commands import Commands
from tests.venues import walk

NUMBERS = itertools.count(1)


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


def test_candles_in_a_partitioned_table_are_backed_up_and_put_back(postgres, postgres_url, tmp_path):
    """By the commands alone, on PostgreSQL: what quality finds before and after is the same."""
    for name in ("data", "other"):
        (tmp_path / name).mkdir()
    commands = Commands(tmp_path / "data", postgres_url, "http://127.0.0.1:9")
    assert commands.run("migrate")[0] == 0
    commands.store().save(Source.BINANCE, Series("BTC/USDT", "1h"), walk(1_000, 0, 3_600_000))
    name = postgres_url.rpartition("/")[2]
    for statement in (
        "ALTER TABLE ohlcv_binance RENAME TO whole",
        "CREATE TABLE ohlcv_binance (LIKE whole INCLUDING ALL) PARTITION BY RANGE (open_time)",
        "CREATE TABLE ohlcv_binance_1 PARTITION OF ohlcv_binance FOR VALUES FROM (0) TO (1800000000)",
        "CREATE TABLE ohlcv_binance_2 PARTITION OF ohlcv_binance FOR VALUES FROM (1800000000) TO (9000000000000)",
        "INSERT INTO ohlcv_binance SELECT * FROM whole", "DROP TABLE whole CASCADE",
    ):  # fmt: skip
        postgres.sql(statement, name)
    (before,) = commands.json("data", "quality", "-s", "binance")
    assert before["actual"] == 1_000
    made = commands.json("backup", "create", "--to", str(tmp_path / "safe"))
    told = commands.json("backup", "verify", made["path"])
    assert (told["whole"], told["rows"]) == (True, made["rows"])
    assert made["rows"] >= 1_001

    other = f"put_back_{next(NUMBERS)}"
    postgres.sql(f"CREATE DATABASE {other}")
    fresh = Commands(tmp_path / "other", postgres.dsn(other), "http://127.0.0.1:9")
    shutil.copy(tmp_path / "data" / "backup.key", tmp_path / "other")
    assert fresh.json("backup", "restore", made["path"])["rows"] == made["rows"]
    assert fresh.json("data", "quality", "-s", "binance") == [before]

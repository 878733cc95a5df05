"""Database schemas older and newer than the program, rights taken away, and secrets that must show nowhere."""

from __future__ import annotations

import os

import alembic.op
import pytest
import sqlalchemy as sa

from domain.errors import ConfigError, Unavailable
from domain.records import Level, finished
from persistence import migration
from persistence.database import Database
from tests.bot import Bot
from tests.torture import writer


def test_an_older_schema_is_brought_up_to_date_without_losing_a_row(postgres_url):
    database = Database(postgres_url)
    with database._engine.connect() as connection:
        migration.upgrade(connection, "0001")
        connection.execute(sa.text("INSERT INTO series (source, symbol, timeframe) VALUES ('synthetic', 'A', '3m')"))
        connection.commit()
    with database.transaction() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM series")) == 1
        connection.execute(sa.text("SELECT epoch FROM leases"))
    assert database.version() == database.head()
    database.close()


def test_a_migration_that_dies_half_way_leaves_nothing_behind(database_url, monkeypatch):
    """Found by failing system calls: a first start killed while it made its tables could never start again."""
    real, left = alembic.op.create_table, [3]

    def dies(*arguments, **options):
        left[0] -= 1
        if not left[0]:
            raise Unavailable("killed")
        return real(*arguments, **options)

    database = Database(database_url)
    with monkeypatch.context() as patch:
        patch.setattr("alembic.op.create_table", dies)
        with pytest.raises(Unavailable, match="killed"):
            database.migrate()
    assert database.version() is None
    assert database.migrate() == database.head()
    database.close()


def test_a_newer_schema_is_refused_with_what_to_do(postgres_url):
    Database(postgres_url).migrate()
    database = Database(postgres_url)
    with database._engine.connect() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
        connection.commit()
    with pytest.raises(ConfigError, match="update the program"):
        database.check()
    database.close()


def test_with_its_rights_taken_away_the_bot_parks_trades_and_they_settle_later(postgres, postgres_url, tmp_path):
    name = postgres_url.rpartition("/")[2]
    Database(postgres_url).migrate()
    postgres.sql(f"DROP ROLE IF EXISTS poor_{name}")
    postgres.sql(f"CREATE ROLE poor_{name} LOGIN")
    grants = f"SELECT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO poor_{name}"
    postgres.sql(f"GRANT {grants}", name)
    poor = postgres_url.replace("revenant@", f"poor_{name}@")
    database, journal, tracker = writer.tracker(tmp_path, poor)
    assert tracker.add_trade(writer.trade(1)) is Level.JOURNALED
    tracker.settle()
    assert "permission denied" in tracker.parked["t1"]
    assert tracker.tiers()["database"]["parked"] == 1
    assert tracker.get_statistics().total_trades == 1
    journal.close()
    database.close()

    postgres.sql(f"GRANT INSERT ON ALL TABLES IN SCHEMA public TO poor_{name}", name)
    database, journal, tracker = writer.tracker(tmp_path, poor)
    tracker.restore(finished(journal.replay()))
    assert tracker.settle() == 0
    journal.close()
    database.close()


CANARIES = {
    "BYBIT_API_KEY": "canary-key-7391", "BYBIT_API_SECRET": "canary-secret-7391",
    "DATABASE_URL": "postgresql://me:canary-database-7391@127.0.0.1:1/none",
    "REDIS_URL": "redis://:canary-redis-7391@127.0.0.1:1/0",
}  # fmt: skip


def test_no_secret_shows_anywhere(tmp_path):
    """Everything that a bot says, writes or answers is searched, with its servers dead so that errors abound."""
    bot = Bot(tmp_path, **CANARIES)
    try:
        bot.start()
        bot.wait_for("trades", lambda s: s["closed"] >= 1)
        said = [str(bot.get(path)) for path in ("/api/v1/status", "/api/v1/config", "/metrics", "/readyz", "/healthz")]
        for words in (["doctor"], ["show-config"], ["db-stats"], ["stats"], ["trades", "verify"], ["status"]):
            done = bot.manage(*words)
            said += [done.stdout, done.stderr]
        bot.stop()
        said.append(bot.log())
        for folder, _, names in os.walk(bot.data):
            said += [open(os.path.join(folder, name), "rb").read().decode(errors="replace") for name in names]
        assert [text[max(0, text.find("canary") - 80) :][:200] for text in said if "canary" in text] == []
    finally:
        bot.close()

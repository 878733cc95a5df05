"""PgBouncer before the database, as many hosts have it: a session is ours for one transaction, or not even refused."""

from __future__ import annotations

import threading

import psycopg2
import pytest
import sqlalchemy as sa

from domain.candle import Bars
from domain.errors import ConfigError, Unavailable
from domain.source import Source
from persistence.candles import PostgresCandleStorage
from persistence.checkup import check_database
from persistence.database import Database
from persistence.postgres import LIMITS, lasting
from tests import servers
from tests.bot import Bot

BTC = "BTC/USDT:USDT"
ASKED = "SELECT " + ", ".join(f"current_setting('{name}')" for name in LIMITS)
TWICE = range(4)
"""Often enough to meet each session of the pool."""


def bars(start: int, count: int, price: float = 10.0) -> Bars:
    return Bars.of((180_000 * (start + i), price, price + 1, price - 1, price, 1.0, 1.0) for i in range(count))


@pytest.fixture
def before():
    """What starts a pooler before a server."""
    started = []

    def start(server: servers.Postgres, mode: str, ignored: str = "") -> servers.Pgbouncer:
        try:
            pooler = servers.Pgbouncer(server, mode, ignored)
        except servers.NotFound as error:
            pytest.skip(str(error))
        started.append(pooler)
        pooler.start()
        return pooler

    yield start
    for one in started:
        one.close()


@pytest.fixture(params=["transaction", "transaction, options ignored", "session", "session, options ignored"])
def address(request, before, postgres, postgres_url):
    """The address of an empty database behind a pooler, in each of the ways that hosts have it."""
    mode, _, ignored = request.param.partition(", ")
    return before(postgres, mode, ignored.partition(" ")[0]).dsn(postgres_url.rpartition("/")[2])


def test_each_transaction_has_its_limits_and_a_stranger_none_of_them(address):
    database = Database(address)
    database.check()
    for _ in TWICE:
        with database.transaction() as connection:
            assert tuple(connection.exec_driver_sql(ASKED).one()) == tuple(LIMITS.values())
            assert not lasting(connection)
        with database.transaction(60) as connection:
            assert connection.exec_driver_sql("SHOW statement_timeout").scalar() == "1min"
    assert "behind a pooler" in check_database(database)[0].detail
    database.close()
    stranger = psycopg2.connect(address)
    stranger.autocommit = True
    with stranger.cursor() as cursor:
        for _ in TWICE:
            cursor.execute("SHOW statement_timeout")
            assert cursor.fetchone() == ("0",)
    stranger.close()


def test_straight_to_the_server_nothing_has_to_be_said_twice(postgres_url):
    database = Database(f"{postgres_url}?options=-c%20search_path%3Dpublic")
    said = []
    database.check()
    sa.event.listen(database._engine, "before_cursor_execute", lambda *told: said.append(told[2]))
    with database.transaction() as connection:
        assert tuple(connection.exec_driver_sql(ASKED).one()) == tuple(LIMITS.values())
        assert connection.exec_driver_sql("SHOW search_path").scalar() == "public"
        assert lasting(connection)
    assert said == [ASKED, "SHOW search_path"]
    assert "pooler" not in check_database(database)[0].detail
    database.close()


def test_bots_that_start_at_once_migrate_in_turn_and_leave_no_lock(address, postgres, postgres_url):
    bots = [Database(address) for _ in range(2)]
    ends = []
    threads = [threading.Thread(target=lambda one=one: ends.append(one.migrate())) for one in bots]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert ends == [Database.head()] * 2
    assert postgres.sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [(0,)]
    # the lock is free for whoever comes next without the pooler
    bots.append(Database(postgres_url))
    assert bots[-1].migrate() == Database.head()
    for one in bots:
        one.close()


def test_bars_are_merged_whichever_session_a_transaction_meets(address, postgres, postgres_url):
    database = Database(address)
    storage = PostgresCandleStorage(database, Source.SYNTHETIC)
    for n in TWICE:
        storage.save_candles_3m(BTC, bars(n * 100, 300, 10.0 + n))
    assert len(storage.load_candles(BTC, 10_000, timeframe="3m")) == 600
    left = "SELECT count(*) FROM pg_class WHERE relpersistence = 't'"
    assert postgres.sql(left, postgres_url.rpartition("/")[2]) == [(0,)]
    database.close()


def test_a_server_that_hangs_behind_a_pooler_that_answers_is_away(before, own_postgres):
    """The pooler lets everybody in, and would keep a question for ever."""
    address = before(own_postgres, "transaction").dsn("postgres")
    Database(address).check()
    own_postgres.freeze()
    with pytest.raises(Unavailable):
        Database(address).check()
    own_postgres.thaw()
    Database(address).check()


def test_a_database_that_is_not_there_is_a_configuration_error_behind_a_pooler_too(before, postgres):
    with pytest.raises(ConfigError, match="no_such"):
        Database(before(postgres, "transaction").dsn("no_such")).check()


def test_a_bot_trades_through_a_pooler_and_nothing_is_missing(before, postgres, postgres_url, tmp_path):
    name = postgres_url.rpartition("/")[2]
    bot = Bot(tmp_path, DATABASE_URL=before(postgres, "transaction").dsn(name))
    try:
        bot.start()
        bot.wait_ready()
        bot.wait_for("trades", lambda s: s["closed"] >= 3)
        backup = bot.manage("backup", "create")
        assert backup.returncode == 0, backup.stderr
        assert bot.manage("stop").returncode == 0
        assert bot.manage("forceexit", "all").returncode == 0
        bot.wait_for("everything settled", lambda s: not s["open"] and not s["tiers"]["database"]["waiting"])
        verified = bot.manage("trades", "verify")
        assert verified.returncode == 0, verified.stdout
        assert bot.stop() == 0
        assert postgres.sql("SELECT count(*) FROM trades", name)[0][0] >= 3
        assert bot.manage("trades", "list").returncode == 0
    finally:
        bot.close()

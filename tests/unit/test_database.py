"""Database addresses in every spelling, and errors in our own terms."""

import asyncio
import sqlite3
import subprocess
import sys
import threading

import psycopg2
import pytest
import sqlalchemy as sa

from bootstrap.assembly import _check_database
from domain.candle import Series
from domain.errors import ConfigError, Rejected, Unavailable
from domain.ids import Identity
from domain.source import Source
from persistence.candles import PostgresCandleStorage
from persistence.database import Database, parse_url
from persistence.history import CandleHistory
from persistence.latches import Latches
from persistence.lease import Lease
from persistence.ledger import DatabaseRefuge
from persistence.registry import Registry
from persistence.state import TableState
from persistence.trade_table import TradeTable
from tests.servers import free_port

WHO = Identity("test", "synthetic", "1")


@pytest.mark.parametrize(
    "scheme", ["postgres", "postgresql", "postgresql+psycopg2", "postgresql+psycopg", "postgresql+asyncpg"]
)
def test_every_spelling_of_postgresql_is_understood(scheme):
    url = parse_url(f"{scheme}://me:pass%40word@host:5433/name?sslmode=require")
    assert url.drivername == "postgresql+psycopg2"
    assert (url.password, url.port, url.database) == ("pass@word", 5433, "name")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host",
        "mysql://a:hidden@b/c",
        "postgres://a:hidden@",
        "postgres://a:hidden@host:port/d",
        "sqlite://",
        "postgresql:///",
        "://x",
    ],
)
def test_addresses_that_cannot_work_are_refused_without_showing_the_password(text):
    with pytest.raises(ConfigError) as error:
        parse_url(text)
    assert "hidden" not in str(error.value)
    assert "DATABASE_URL" in str(error.value)


def test_what_a_host_appends_for_another_library_is_left_out_and_what_nobody_knows_is_named():
    assert "pgbouncer" not in str(parse_url("postgres://a:hidden@host:6543/d?pgbouncer=true&sslmode=require"))
    with pytest.raises(ConfigError, match="connection_limit") as error:
        parse_url("postgres://a:hidden@host/d?connection_limit=secret")
    assert "hidden" not in str(error.value)
    assert "secret" not in str(error.value)


def test_nobody_there_is_unavailable():
    with pytest.raises(Unavailable):
        Database(f"postgresql://a@127.0.0.1:{free_port()}/d").check()


def test_a_server_that_refuses_us_is_a_configuration_error(postgres):
    for url in (postgres.dsn("no_such_database"), postgres.dsn("postgres").replace("revenant@", "stranger@")):
        with pytest.raises(ConfigError, match="refused us"):
            Database(url).check()


def test_a_database_that_has_let_us_in_before_is_only_away_when_it_refuses_us(postgres, postgres_url):
    name = postgres_url.rpartition("/")[2]
    database = Database(postgres_url)
    database.check()
    postgres.sql(f"DROP DATABASE {name} WITH (FORCE)")
    for _ in range(3):
        with pytest.raises(Unavailable), database.transaction() as connection:
            connection.exec_driver_sql("SELECT 1")
    postgres.sql(f"CREATE DATABASE {name}")
    with database.transaction() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM trades").scalar() == 0
    database.close()


def test_tables_that_somebody_has_taken_away_are_made_anew(database_url):
    """Found by emptying the database under a running bot: what it wrote then was given up for good."""
    database, other = Database(database_url), Database(database_url)
    database.check()
    with other.transaction() as connection:
        if other.is_postgres:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        else:
            there = sa.inspect(connection)
            for name in [
                *(f"VIEW {one}" for one in there.get_view_names()),
                *(f"TABLE {one}" for one in there.get_table_names()),
            ]:
                connection.exec_driver_sql(f"DROP {name}")
    count = "SELECT count(*) FROM trades"
    with pytest.raises(Unavailable, match="trades"), database.transaction() as connection:
        connection.exec_driver_sql(count)
    with database.transaction() as connection:
        assert connection.exec_driver_sql(count).scalar() == 0
    # what has never been there is a mistake of ours, and told again and again
    for _ in range(2):
        with pytest.raises(Unavailable, match="nobody_made_it"), database.transaction() as connection:
            connection.exec_driver_sql("SELECT * FROM nobody_made_it")
    database.close()
    other.close()


@pytest.mark.parametrize("said", [
    "the database system is starting up", "the database system is shutting down", "sorry, too many clients already",
    "the database system is not yet accepting connections DETAIL: Consistent recovery state has not been yet reached.",
    "the database system is in recovery mode", "remaining connection slots are reserved for roles with SUPERUSER",
    "terminating connection due to administrator command",
])  # fmt: skip
def test_a_server_that_starts_stops_or_is_full_is_only_away(said):
    told = psycopg2.OperationalError(f'connection to server at "127.0.0.1", port 5432 failed: FATAL:  {said}')
    database = Database("postgresql://me@host/name")
    assert isinstance(database._in_our_terms(told, operational=True), Unavailable)


def test_a_refused_statement_is_rejected(database_url):
    database = Database(database_url)
    with pytest.raises(Rejected), database.transaction() as connection:
        connection.exec_driver_sql("INSERT INTO trades (trade_id) VALUES (NULL)")
    database.close()


def test_a_failed_transaction_leaves_nothing_and_the_next_one_works(database_url):
    database = Database(database_url)
    with pytest.raises(ZeroDivisionError), database.transaction() as connection:
        connection.exec_driver_sql("INSERT INTO series (source, symbol, timeframe) VALUES ('a', 'b', 'c')")
        raise ZeroDivisionError
    with database.transaction() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM series").scalar() == 0
    database.close()


def test_migrating_twice_changes_nothing_and_models_match_the_schema(database_url):
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    from persistence import migration
    from persistence.schema import metadata

    scripts = ScriptDirectory(str(migration.SCRIPTS))
    assert [one.revision for one in scripts.walk_revisions()] == migration.revisions()[::-1]

    database = Database(database_url)
    assert database.version() is None
    assert database.migrate() == database.migrate() == database.version() == database.head()
    with database.transaction() as connection:
        kind = connection.dialect.name

        def here(held, _name, what, _reflected, _other) -> bool:
            only = (
                next((key.info.get("only", kind) for key in held.elements), kind)
                if what == "foreign_key_constraint"
                else kind
            )
            return only == kind

        context = MigrationContext.configure(connection, opts={"include_object": here})
        assert compare_metadata(context, metadata) == []
    database.close()


def test_a_newer_schema_than_the_program_knows_is_refused(database_url):
    database = Database(database_url)
    database.migrate()
    with database.transaction() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ConfigError, match="newer than this program"):
        Database(database_url).check()
    database.close()


def test_a_file_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="writable folder"):
        Database(f"sqlite:///{tmp_path / 'file' / 'db.sqlite'}")


def test_who_opens_a_database_once_more_does_not_take_its_locks_away(tmp_path):
    """POSIX drops a process's locks on a file when the process closes any of its handles: a file that nobody seems to
    hold is cleaned up by the next process that leaves it, and what we write from then on is lost.
    """
    url = f"sqlite:///{tmp_path / 'held.sqlite'}"
    held = Database(url)
    with held.transaction() as connection:
        connection.exec_driver_sql("INSERT INTO series (source, symbol, timeframe) VALUES ('a', 'b', 'c')")
    Database(url).close()
    leaving = f"""
import sqlite3
db = sqlite3.connect({str(tmp_path / "held.sqlite")!r})
print(db.execute("SELECT count(*) FROM series").fetchone()[0])
db.close()
"""
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", leaving], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "1"
    assert (tmp_path / "held.sqlite-wal").exists()
    with held.transaction() as connection:
        connection.exec_driver_sql("INSERT INTO series (source, symbol, timeframe) VALUES ('d', 'e', 'f')")
    held.close()
    with Database(url).transaction() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM series").scalar() == 2


async def test_a_bot_can_be_stopped_while_its_database_keeps_it_waiting():
    stopping, asked, free = asyncio.Event(), threading.Event(), threading.Event()

    class Frozen:
        def check(self):
            asked.set()
            free.wait(30)

    checking = asyncio.create_task(_check_database(Frozen(), stopping))
    await asyncio.to_thread(asked.wait, 10)
    assert not checking.done()
    stopping.set()
    async with asyncio.timeout(10):
        assert not await checking
    free.set()
    async with asyncio.timeout(10):
        assert await _check_database(Frozen(), asyncio.Event())


async def test_what_a_database_says_at_a_start_is_told_from_whichever_thread():
    class Refusing:
        def __init__(self, error):
            self.error = error

        def check(self):
            raise self.error

    assert await _check_database(Refusing(Unavailable("away")), asyncio.Event())
    with pytest.raises(ConfigError, match="no such column"):
        await _check_database(Refusing(Rejected("no such column")), asyncio.Event())


def test_who_only_reads_waits_for_nobody_that_holds_a_file(tmp_path):
    """Found by leaving a write open in a database browser: a start then took 43 s, and knew nothing of its models."""
    url = f"sqlite:///{tmp_path / 'held.sqlite'}"
    Database(url).check()
    held = sqlite3.connect(tmp_path / "held.sqlite", isolation_level=None)
    held.execute("BEGIN EXCLUSIVE")
    held.execute("INSERT INTO series (source, symbol, timeframe) VALUES ('a', 'b', 'c')")
    database = Database(url)
    # with the lock held for good, whoever waits for it fails
    assert database.version() == database.head()
    with database.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM series").scalar() == 0
    with pytest.raises(Unavailable, match="locked"), database.transaction() as connection:
        pass
    held.execute("COMMIT")
    with database.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM series").scalar() == 1
    with database.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM series")
    held.close()
    database.close()


@pytest.mark.parametrize("reads", [
    lambda main: PostgresCandleStorage(main, Source.TEST).load_frames({Series("BTC/USDT", "3m"): 5}),
    lambda main: CandleHistory(main).entries(), lambda main: Lease(main, WHO, "me").holder(),
    lambda main: Latches(main, WHO).load(), lambda main: TradeTable(main, WHO).load(), lambda main: main.size_mb(),
    lambda main: DatabaseRefuge(main, WHO).held(), lambda main: Registry(main, "test").standing("scalp"),
    lambda main: TableState(main, "x").keys("y"),
], ids=["candles", "history", "lease", "latches", "trades", "size", "refuge", "registry", "state"])  # fmt: skip
def test_what_a_start_reads_is_read_while_somebody_holds_the_file(tmp_path, reads):
    main = Database(f"sqlite:///{tmp_path / 'held.sqlite'}")
    main.check()
    before = repr(reads(main))
    held = sqlite3.connect(tmp_path / "held.sqlite", isolation_level=None)
    held.execute("BEGIN EXCLUSIVE")
    assert repr(reads(main)) == before
    held.close()
    main.close()

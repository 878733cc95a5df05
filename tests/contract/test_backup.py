"""A backup is whole or says that it is not, and what is put back is what there was, on both databases."""

from __future__ import annotations

import itertools
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from domain.errors import BadData, ConfigError
from domain.source import Source
from persistence import backup, schema
from persistence.candles import PostgresCandleStorage
from persistence.database import Database
from tests.venues import walk

TABLES = [table for table in schema.metadata.sorted_tables if table.name != "leases"]
NUMBERS = itertools.count(1)
NOW = datetime(2026, 11, 1, 12, 30, 15, 250_000, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path):
    """A data folder with some of everything."""
    held = tmp_path / "data"
    for name, text in {
        "journal/a/0001.jsonl": "one\ntwo\n", "journal/a/archive/0000.jsonl": "nought\n", "model.key": "secret",
        "owner-synthetic-synthetic.json": '"1"', "bot.lock": "123", "dashboard.json": "{}", "budgets/x.rate": "1",
        "backups/old.txt": "older", "page-audit.jsonl": "{}\n",
    }.items():  # fmt: skip
        path = held / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return held


def fill(database: Database) -> None:
    storage = PostgresCandleStorage(database, Source.BYBIT)
    storage.save_candles("BTC/USDT:USDT", walk(500, 0, 900_000), timeframe="15m")
    with database.transaction() as connection:
        value = {"space": "s", "key": "k", "field": "f,\n", "place": 1, "value": b'\x00v,\n"quoted"', "expires_at": NOW}
        connection.execute(sa.insert(schema.state), value)


def rows(database: Database) -> dict[str, list[tuple]]:
    with database.transaction() as connection:
        present = set(sa.inspect(connection).get_table_names())
        return {
            table.name: sorted((tuple(row) for row in connection.execute(sa.select(table))), key=repr)
            for table in TABLES
            if table.name in present
        }


def empty(database: Database, tmp_path, postgres) -> Database:
    if not database.is_postgres:
        return Database(f"sqlite:///{tmp_path / f'restored-{next(NUMBERS)}.sqlite'}")
    name = f"restored_{next(NUMBERS)}"
    postgres.sql(f"CREATE DATABASE {name}")
    return Database(postgres.dsn(name))


def test_what_is_put_back_is_what_there_was(database_url, folder, tmp_path, request):
    database = Database(database_url)
    fill(database)
    made = backup.create(database, folder, tmp_path / "backups")
    made_path = _path(made)
    assert backup.verify(made_path)["files"] == made["files"]
    assert made_path.stat().st_mode & 0o077 == 0
    postgres = request.getfixturevalue("postgres") if database.is_postgres else None
    fresh, target = empty(database, tmp_path, postgres), tmp_path / "restored"
    backup.restore(made_path, fresh, target)
    assert rows(fresh) == rows(database)
    kept = {str(path.relative_to(target)): path.read_text() for path in target.rglob("*") if path.is_file()}
    assert kept == {
        "journal/a/0001.jsonl": "one\ntwo\n", "journal/a/archive/0000.jsonl": "nought\n", "model.key": "secret",
        "owner-synthetic-synthetic.json": '"1"', "page-audit.jsonl": "{}\n",
    }  # fmt: skip
    # numbers go on where they were
    PostgresCandleStorage(fresh, Source.BYBIT).save_candles("ETH/USDT:USDT", walk(10, 0, 900_000), timeframe="15m")
    for one in (database, fresh):
        one.close()


def _path(made: dict[str, Any]) -> Path:
    return Path(made["path"])


def test_a_backup_that_was_changed_or_cut_short_says_so(tmp_path, folder):
    database = Database(f"sqlite:///{tmp_path / 'main.sqlite'}")
    fill(database)
    whole = _path(backup.create(database, folder, tmp_path / "backups"))
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(BadData, match=r"cannot be read as a backup|cut short"):
        backup.verify(cut)
    changed = tmp_path / "changed.tar.gz"
    with tarfile.open(whole) as held, tarfile.open(changed, "w:gz") as out:
        for member in held:
            body = held.extractfile(member)
            if member.name == "data/model.key":
                (tmp_path / "other").write_text("forged")
                out.add(tmp_path / "other", member.name)
            else:
                out.addfile(member, body)
    with pytest.raises(BadData, match=r"data/model\.key"):
        backup.verify(changed)
    with pytest.raises(BadData, match=r"data/model\.key"):
        backup.restore(changed, Database(f"sqlite:///{tmp_path / 'new.sqlite'}"), tmp_path / "restored")
    assert not (tmp_path / "new.sqlite").exists()


def test_names_that_lead_elsewhere_do_not_belong_into_a_backup(tmp_path):
    evil = tmp_path / "evil.tar.gz"
    (tmp_path / "x").write_text("x")
    with tarfile.open(evil, "w:gz") as out:
        out.add(tmp_path / "x", "data/../../x")
    with pytest.raises(BadData, match="does not belong"):
        backup.verify(evil)


def test_nothing_is_restored_over_what_is_there(database_url, tmp_path, folder, request):
    database = Database(database_url)
    fill(database)
    whole = _path(backup.create(database, folder, tmp_path / "backups"))
    before = rows(database)
    with pytest.raises(ConfigError, match="restore into an empty folder"):
        backup.restore(whole, database, folder)
    with pytest.raises(ConfigError, match=r"not empty|there already"):
        backup.restore(whole, database, tmp_path / "elsewhere")
    assert rows(database) == before
    other = Database(
        f"sqlite:///{tmp_path / 'other.sqlite'}" if database.is_postgres else request.getfixturevalue("postgres_url")
    )
    with pytest.raises(ConfigError, match="the backup is of"):
        backup.restore(whole, other, tmp_path / "elsewhere")


def test_what_is_written_meanwhile_does_not_tear_it(tmp_path, folder):
    """Each file is copied as long as it was when it was begun, each SQLite file as of one moment."""
    database = Database(f"sqlite:///{tmp_path / 'main.sqlite'}")
    fill(database)
    journal = folder / "journal/a/0001.jsonl"

    def written(name: str, _done: int, _of: int) -> None:
        with journal.open("a") as held:
            held.write(f"written while {name} was copied\n")

    made = backup.create(database, folder, tmp_path / "backups", written)
    backup.verify(_path(made))
    restored = tmp_path / "restored"
    backup.restore(_path(made), Database(f"sqlite:///{tmp_path / 'new.sqlite'}"), restored)
    assert journal.read_text().startswith((restored / "journal/a/0001.jsonl").read_text())


def test_only_the_newest_are_kept(tmp_path):
    for day in range(1, 6):
        (tmp_path / f"revenant-2026010{day}T043000.tar.gz").write_text("")
    (tmp_path / "notes.txt").write_text("mine")
    assert len(backup.prune(tmp_path, 2)) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "notes.txt", "revenant-20260104T043000.tar.gz", "revenant-20260105T043000.tar.gz"
    ]  # fmt: skip

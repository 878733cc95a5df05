"""A backup is whole or says that it is not, and what is put back is what there was, on both databases."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import itertools
import json
import sqlite3
import tarfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import BadData, ConfigError
from domain.source import Source
from persistence import backup, backup_file, schema
from persistence.candles import PostgresCandleStorage
from persistence.database import Database
from tests.venues import walk

TABLES = [table for table in schema.metadata.sorted_tables if table.name != "leases"]
NUMBERS = itertools.count(1)
KEY = b"k" * 32
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
    made = backup.create(database, folder, tmp_path / "backups", KEY)
    made_path = _path(made)
    assert backup.verify(made_path, KEY)["files"] == made["files"]
    assert made_path.stat().st_mode & 0o077 == 0
    postgres = request.getfixturevalue("postgres") if database.is_postgres else None
    fresh, target = empty(database, tmp_path, postgres), tmp_path / "restored"
    backup.restore(made_path, fresh, target, KEY)
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


def test_strategies_that_people_brought_are_in_it_and_come_back_over_nothing_that_is_there(tmp_path, folder):
    database, brought = Database(f"sqlite:///{tmp_path / 'main.sqlite'}"), tmp_path / "user" / "strategies"
    fill(database)
    brought.mkdir(parents=True)
    for name in ("mine.py", "_shared.py", "test_mine.py", "other.py"):
        (brought / name).write_text(f"# {name}\n")
    (brought / "notes.txt").write_text("not the program's\n")
    path = _path(backup.create(database, folder, tmp_path / "backups", KEY, None, brought))
    there = tmp_path / "there"
    there.mkdir()
    (there / "other.py").write_text("# changed since\n")
    fresh = Database(f"sqlite:///{tmp_path / 'new.sqlite'}")
    made = backup.restore(path, fresh, tmp_path / "restored", KEY, None, there)
    assert made["strategies_left"] == ["other.py"]
    assert {one.name: one.read_text() for one in there.iterdir()} == {
        "mine.py": "# mine.py\n", "_shared.py": "# _shared.py\n", "test_mine.py": "# test_mine.py\n",
        "other.py": "# changed since\n",
    }  # fmt: skip
    assert not list((tmp_path / "restored").rglob("*.py"))
    # they are programs: one that anybody may have made brings none
    again = Database(f"sqlite:///{tmp_path / 'again.sqlite'}")
    made = backup.restore(path, again, tmp_path / "unsealed", None, None, tmp_path / "nowhere")
    assert sorted(made["strategies_left"]) == ["_shared.py", "mine.py", "other.py", "test_mine.py"]
    assert not (tmp_path / "nowhere").exists()
    for one in (database, fresh, again):
        one.close()


PARTS = {
    # a table whose rows lie in others: PostgreSQL's own partitions, and children, as TimescaleDB keeps its chunks
    "partitions": """
        ALTER TABLE ohlcv_bybit RENAME TO whole;
        CREATE TABLE ohlcv_bybit (LIKE whole INCLUDING ALL) PARTITION BY RANGE (open_time);
        CREATE TABLE ohlcv_bybit_1 PARTITION OF ohlcv_bybit FOR VALUES FROM (0) TO (90000000);
        CREATE TABLE ohlcv_bybit_2 PARTITION OF ohlcv_bybit DEFAULT;
        INSERT INTO ohlcv_bybit SELECT * FROM whole;
        DROP TABLE whole CASCADE""",
    "children": """
        CREATE TABLE chunk_1 (CHECK (open_time < 90000000)) INHERITS (ohlcv_bybit);
        CREATE TABLE chunk_2 (CHECK (open_time >= 90000000)) INHERITS (ohlcv_bybit);
        INSERT INTO chunk_1 SELECT * FROM ONLY ohlcv_bybit WHERE open_time < 90000000;
        INSERT INTO chunk_2 SELECT * FROM ONLY ohlcv_bybit WHERE open_time >= 90000000;
        DELETE FROM ONLY ohlcv_bybit""",
    "a column more": "ALTER TABLE ohlcv_bybit ADD COLUMN noted_by_somebody TEXT DEFAULT 'a,\n\"b\"'",
}


@pytest.mark.parametrize("kind", PARTS)
def test_rows_that_lie_in_parts_of_a_table_are_kept(postgres_url, postgres, folder, tmp_path, kind):
    """Copied by its name such a table gave no row, or none at all was copied, and the backup was called proven."""
    database = Database(postgres_url)
    fill(database)
    with database.transaction() as connection:
        for statement in PARTS[kind].split(";"):
            connection.exec_driver_sql(statement)
    before = rows(database)
    assert len(before["ohlcv_bybit"]) == 500
    made = backup.create(database, folder, tmp_path / "backups", KEY)
    assert made["rows"]["ohlcv_bybit"] == 500
    assert {name: count for name, count in made["rows"].items() if name != "leases"} == {
        name: len(held) for name, held in before.items()
    }
    assert backup.verify(_path(made), KEY)["rows"] == made["rows"]
    fresh = empty(database, tmp_path, postgres)
    backup.restore(_path(made), fresh, tmp_path / "restored", KEY)
    assert rows(fresh) == before
    for one in (database, fresh):
        one.close()


def test_a_backup_with_fewer_rows_than_it_tells_is_not_whole(database_url, folder, tmp_path, request):
    """Its bytes are those that its manifest names, so only counting shows it; what was restored is taken back."""
    database = Database(database_url)
    fill(database)
    made = backup.create(database, folder, tmp_path / "backups", KEY)
    assert made["rows"]["ohlcv_bybit"] == 500
    with tarfile.open(_path(made)) as held:
        members = {one.name: held.extractfile(one).read() for one in held if one.name != "manifest.json"}
    told = made["rows"] | {"ohlcv_bybit": 501}
    lying = craft(tmp_path / "lying.tar.gz", members, database.kind, made["version"], rows=told)
    fresh = empty(database, tmp_path, request.getfixturevalue("postgres") if database.is_postgres else None)
    if database.is_postgres:
        with pytest.raises(BadData, match="ohlcv_bybit 500 of 501"):
            backup.verify(lying, None)
    with pytest.raises(BadData, match="ohlcv_bybit 500 of 501"):
        backup.restore(lying, fresh, tmp_path / "restored", None)
    # one of an earlier version tells no rows, and is put back as it ever was
    old = craft(tmp_path / "old.tar.gz", members, database.kind, made["version"])
    assert "rows" not in backup.verify(old, None)
    backup.restore(old, fresh, tmp_path / "restored-old", None)
    assert rows(fresh) == rows(database)
    for one in (database, fresh):
        one.close()


@given(st.lists(st.lists(st.text(max_size=6), min_size=2, max_size=3), max_size=20), st.integers(1, 9))
def test_records_are_counted_whatever_is_in_them_and_however_they_are_cut(table, size):
    held = io.StringIO(newline="")
    csv.writer(held, lineterminator="\n").writerows(table)
    body, counted = held.getvalue().encode("utf-8", "surrogatepass"), backup_file.Records()
    assert b"".join(counted.passed(body[at : at + size]) for at in range(0, len(body), size)) == body
    assert counted.count == len(table)


def _path(made: dict[str, Any]) -> Path:
    return Path(made["path"])


def test_a_backup_that_was_changed_or_cut_short_says_so(tmp_path, folder):
    database = Database(f"sqlite:///{tmp_path / 'main.sqlite'}")
    fill(database)
    whole = _path(backup.create(database, folder, tmp_path / "backups", KEY))
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(BadData, match=r"cannot be read as a backup|cut short"):
        backup.verify(cut, KEY)
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
        backup.verify(changed, KEY)
    with pytest.raises(BadData, match=r"data/model\.key"):
        backup.restore(changed, Database(f"sqlite:///{tmp_path / 'new.sqlite'}"), tmp_path / "restored", KEY)
    assert not (tmp_path / "new.sqlite").exists()


def craft(
    path: Path, members: dict[str, bytes], kind: str = "SQLite", version: str = "", seal: str = "",
    rows: dict[str, int] | None = None,
) -> Path:  # fmt: skip
    """Write a backup that is whole, as somebody else could."""
    files = {name: {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()} for name, body in members.items()}
    manifest = {"format": 1, "made_at": NOW.isoformat(), "kind": kind, "version": version, "files": files}
    if seal:
        manifest["seal"] = seal
    if rows is not None:
        manifest["rows"] = rows
    with tarfile.open(path, "w:gz") as out:
        for name, body in {**members, "manifest.json": json.dumps(manifest).encode()}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(body)
            out.addfile(entry, io.BytesIO(body))
    return path


def sqlite_file(path: Path, *statements: str, ours: bool = True) -> bytes:
    """Return an SQLite file with the program's tables, and with what statements did to it."""
    if ours:
        database = Database(f"sqlite:///{path}")
        database.migrate()
        database.close()
    with closing(sqlite3.connect(path)) as held:
        for one in ("PRAGMA journal_mode=DELETE", *statements):
            held.execute(one)
        held.commit()
    return path.read_bytes()


def test_a_backup_is_believed_only_by_whom_made_it(tmp_path, folder):
    database = Database(f"sqlite:///{tmp_path / 'main.sqlite'}")
    fill(database)
    whole = _path(backup.create(database, folder, tmp_path / "backups", KEY))
    with tarfile.open(whole) as held:
        members = {one.name: held.extractfile(one).read() for one in held if one.name != "manifest.json"}
    version = backup.verify(whole, KEY)["version"]
    unsealed = craft(tmp_path / "unsealed.tar.gz", members, version=version)
    sealed_again = craft(tmp_path / "again.tar.gz", members, version=version, seal="0" * 64)
    for path, key, why in ((whole, b"x" * 32, "another key"), (unsealed, KEY, "no seal"), (sealed_again, KEY, "another key")):  # fmt: skip
        fresh = Database(f"sqlite:///{tmp_path / 'new.sqlite'}")
        with pytest.raises(BadData, match=rf"{why}[\s\S]*--unsealed"):
            backup.verify(path, key)
        with pytest.raises(BadData, match=why):
            backup.restore(path, fresh, tmp_path / "restored", key)
        assert not list((tmp_path / "restored").iterdir())
    # those of earlier versions, when asked for
    for path in (whole, unsealed):
        backup.verify(path, None)
    backup.restore(unsealed, Database(f"sqlite:///{tmp_path / 'new.sqlite'}"), tmp_path / "restored", None)
    assert (tmp_path / "restored/model.key").read_text() == "secret"


def test_the_key_is_in_no_backup(tmp_path, folder):
    (folder / "backup.key").write_bytes(KEY)
    (folder / "notes.txt").write_text("mine")
    database = Database(f"sqlite:///{tmp_path / 'main.sqlite'}")
    fill(database)
    made = backup.create(database, folder, tmp_path / "backups", KEY)
    with tarfile.open(made["path"]) as held:
        assert not [name for name in held.getnames() if "backup.key" in name or "notes" in name]
    assert made["left_out"] == ["notes.txt"]


@pytest.mark.parametrize(
    "name",
    [
        "data/../../x", "/etc/x", "data//etc/x", "data/authorized_keys", "data/journal/../x.jsonl", "data/journal/a/x.py",
        "data/.profile", "data/backup.key", "data/celerybeat-schedule", "data/journal/a/0001.jsonl/x", "data/model.key\n",
        "database/../../x", "database/x.csv", "database/trades.csv.sh", "elsewhere", "data/past/.ssh/x.npz",
    ],
)  # fmt: skip
def test_names_that_the_program_never_writes_do_not_belong_into_a_backup(tmp_path, name):
    outside = {path for path in tmp_path.rglob("*")}
    evil = craft(tmp_path / "evil.tar.gz", {"database/main.sqlite": b"", name: b"x"})
    with pytest.raises(BadData, match="does not belong"):
        backup.verify(evil, None)
    with pytest.raises(BadData, match="does not belong"):
        backup.restore(evil, Database(f"sqlite:///{tmp_path / 'new.sqlite'}"), tmp_path / "folder", None)
    assert {path for path in tmp_path.rglob("*")} - outside == {evil, tmp_path / "folder"}


def test_an_absolute_name_behind_a_part_of_ours_writes_nothing(tmp_path):
    target = tmp_path / "authorized_keys"
    evil = craft(tmp_path / "evil.tar.gz", {f"data/{target}": b"pwned"})
    with pytest.raises(BadData, match="does not belong"):
        backup.restore(evil, Database(f"sqlite:///{tmp_path / 'new.sqlite'}"), tmp_path / "folder", None)
    assert not target.exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_only_plain_files_belong_into_a_backup(tmp_path, kind):
    evil = tmp_path / "evil.tar.gz"
    with tarfile.open(evil, "w:gz") as out:
        entry = tarfile.TarInfo("data/model.key")
        entry.type, entry.linkname = kind, "/etc/passwd"
        out.addfile(entry)
    with pytest.raises(BadData, match="does not belong"):
        backup.verify(evil, None)


def test_the_same_name_twice_and_what_follows_the_manifest_do_not_belong(tmp_path):
    for names in (["data/model.key", "data/model.key"], ["manifest.json", "data/model.key"]):
        evil = tmp_path / "evil.tar.gz"
        with tarfile.open(evil, "w:gz") as out:
            for name in names:
                body = b"x" if name != "manifest.json" else json.dumps(
                    {"format": 1, "made_at": "", "kind": "SQLite", "version": "", "files": {}}
                ).encode()  # fmt: skip
                entry = tarfile.TarInfo(name)
                entry.size = len(body)
                out.addfile(entry, io.BytesIO(body))
        with pytest.raises(BadData, match="does not belong"):
            backup.verify(evil, None)


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch, kind):
    """Neither a body nor a header of any size is taken into memory or onto the disk."""
    monkeypatch.setattr(backup_file, "UNPACKED_LEAST", 8 << 20)
    entry = tarfile.TarInfo("data/model.key")
    entry.type, entry.size = kind, 1 << 33
    bomb = tmp_path / "bomb.tar.gz"
    with gzip.open(bomb, "wb", 1) as out:
        out.write(entry.tobuf(tarfile.GNU_FORMAT))
        for _ in range(64):
            out.write(bytes(1 << 20))
    with pytest.raises(BadData, match=r"far more than|does not belong"):
        backup.verify(bomb, None)
    with pytest.raises(BadData, match=r"far more than|does not belong|do not fit"):
        backup.restore(bomb, Database(f"sqlite:///{tmp_path / 'new.sqlite'}"), tmp_path / "folder", None)
    assert not list((tmp_path / "folder").iterdir())


@pytest.mark.parametrize(
    "name", ["database/main.sqlite", "data/state.sqlite", "data/practice-synthetic/exchange.sqlite"]
)
@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER gone AFTER INSERT ON {table} BEGIN DELETE FROM {table}; END",
        "CREATE VIEW strange AS SELECT * FROM {table}",
    ],
)
def test_a_database_with_what_acts_by_itself_is_refused(tmp_path, name, statement):
    ours = "exchange" not in name
    table = "trades" if ours else "orders"
    made = ["CREATE TABLE orders (id TEXT)"] if not ours else []
    evil = sqlite_file(tmp_path / "evil.sqlite", *made, statement.format(table=table), ours=ours)
    main = sqlite_file(tmp_path / "good.sqlite")
    crafted = craft(tmp_path / "evil.tar.gz", {"database/main.sqlite": main, name: evil})
    with pytest.raises(BadData, match="not one that this program makes"):
        backup.restore(crafted, Database(f"sqlite:///{tmp_path / 'new.sqlite'}"), tmp_path / "folder", None)
    assert not list((tmp_path / "folder").iterdir())


@pytest.mark.parametrize(
    "statement",
    ["CREATE TABLE x (a)", "ALTER TABLE trades ADD COLUMN x TEXT", "ALTER TABLE trades ADD COLUMN x AS (1) VIRTUAL",
     "UPDATE alembic_version SET version_num = '../x'"],
)  # fmt: skip
def test_tables_and_columns_that_are_not_the_programs_are_refused(tmp_path, statement):
    crafted = craft(tmp_path / "evil.tar.gz", {"database/main.sqlite": sqlite_file(tmp_path / "e.sqlite", statement)})
    with pytest.raises(BadData, match=r"not one that this program makes|is not known"):
        backup.restore(crafted, Database(f"sqlite:///{tmp_path / 'new.sqlite'}"), tmp_path / "folder", None)
    assert not (tmp_path / "new.sqlite").exists()


def test_a_column_of_a_crafted_table_runs_nothing(tmp_path, postgres_url, postgres):
    """PostgreSQL would have run a program, named in the first line, on the database's host."""
    proof = tmp_path / "proof"
    evil = f"trade_id\") FROM PROGRAM 'id > {proof}' --\n".encode()
    crafted = craft(tmp_path / "evil.tar.gz", {"database/trades.csv": evil}, kind="PostgreSQL", version=Database.head())
    database = Database(postgres_url)
    with pytest.raises(BadData, match="is no column of trades"):
        backup.restore(crafted, database, tmp_path / "folder", None)
    assert not proof.exists()
    assert database.version() is None
    database.close()


def test_nothing_is_restored_over_what_is_there(database_url, tmp_path, folder, request):
    database = Database(database_url)
    fill(database)
    whole = _path(backup.create(database, folder, tmp_path / "backups", KEY))
    before = rows(database)
    with pytest.raises(ConfigError, match="restore into an empty folder"):
        backup.restore(whole, database, folder, KEY)
    with pytest.raises(ConfigError, match=r"not empty|there already"):
        backup.restore(whole, database, tmp_path / "elsewhere", KEY)
    assert rows(database) == before
    other = Database(
        f"sqlite:///{tmp_path / 'other.sqlite'}" if database.is_postgres else request.getfixturevalue("postgres_url")
    )
    with pytest.raises(ConfigError, match="the backup is of"):
        backup.restore(whole, other, tmp_path / "elsewhere", KEY)


def test_what_is_written_meanwhile_does_not_tear_it(tmp_path, folder):
    """Each file is copied as long as it was when it was begun, each SQLite file as of one moment."""
    database = Database(f"sqlite:///{tmp_path / 'main.sqlite'}")
    fill(database)
    journal = folder / "journal/a/0001.jsonl"

    def written(name: str, _done: int, _of: int) -> None:
        with journal.open("a") as held:
            held.write(f"written while {name} was copied\n")

    made = backup.create(database, folder, tmp_path / "backups", KEY, written)
    backup.verify(_path(made), KEY)
    restored = tmp_path / "restored"
    backup.restore(_path(made), Database(f"sqlite:///{tmp_path / 'new.sqlite'}"), restored, KEY)
    assert journal.read_text().startswith((restored / "journal/a/0001.jsonl").read_text())


def test_only_the_newest_are_kept(tmp_path):
    for day in range(1, 6):
        (tmp_path / f"revenant-2026010{day}T043000.tar.gz").write_text("")
    (tmp_path / "notes.txt").write_text("mine")
    assert len(backup.prune(tmp_path, 2)) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "notes.txt", "revenant-20260104T043000.tar.gz", "revenant-20260105T043000.tar.gz"
    ]  # fmt: skip

"""Copies of everything that a bot rests on, in one file: made while it runs, proven, put back."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import tarfile
import tempfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from domain.errors import BadData, ConfigError
from persistence import backup_file, schema
from persistence.backup_file import CHUNK, FORMAT, KEY_FILE, MANIFEST, STRATEGIES, Entry, Manifest, compare_rows
from persistence.foreign_sqlite import check_passive, check_schema
from persistence.migration import upgrade

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from persistence.database import Database

    Progress = Callable[[str, int, int], object]

LONG_S = 3_600.0
SUFFIX = ".tar.gz"
HEADER_MAX = 64 * 1024
LEFT = frozenset({"bot.lock", "dashboard.json", "endpoint.json", "celerybeat-schedule", KEY_FILE})
LEFT_FOLDERS = ("budgets", "export", "backups", "cache")
"""What is another life's, or can be made anew; and the key, since whoever has it can make backups that are believed."""


PASSING = ("-wal", "-shm", ".new")
"""Ends of names of what is part of another file, or about to become one."""


def create(
    database: Database, folder: Path, target: Path, key: bytes, progress: Progress | None = None,
    strategies: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Copy a database and a data folder into a new file in ``target``, sealed with a key of 32 bytes or more.

    The database goes first and the journal after it: whatever the copied database has, the copied journal has too, so
    that a start on the copy finds nothing missing. ``strategies`` is the folder of those that people brought. Returns
    its manifest, with the file's path, and as ``left_out`` the
    files of the folder that are not the program's.

    Raises:
        Unavailable: while the database is away.
        BadData: when a table gave fewer rows than it has.
    """
    target.mkdir(parents=True, exist_ok=True)
    made = datetime.now(UTC)
    path = target / f"revenant-{made:%Y%m%dT%H%M%S}{SUFFIX}"
    left_out: list[str] = []
    rows: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix=".making-", dir=target) as making:
        stage, files = Path(making), dict[str, Entry]()
        sources = [
            *_dumped(database, stage, rows),
            *_files(folder, database, left_out, strategies),
            *_brought(strategies),
        ]
        draft = stage / "draft"
        with tarfile.open(draft, "w:gz", compresslevel=3) as archive:
            for number, (name, source) in enumerate(sources):
                if progress is not None:
                    progress(name, number, len(sources))
                copy = source if source.is_relative_to(stage) else _copied(source, stage / "copy")
                if copy is not None:
                    files[name] = Entry(copy.stat().st_size, _digest(copy))
                    archive.add(copy, name)
            manifest = Manifest(
                FORMAT, made.isoformat(timespec="seconds"), database.kind, database.version() or "", files, rows=rows
            ).sealed(key)
            note = stage / MANIFEST
            note.write_text(json.dumps(manifest.as_row(), indent=1))
            archive.add(note, MANIFEST)
        with draft.open("rb") as whole:
            os.fsync(whole.fileno())
        draft.chmod(0o600)
        draft.rename(path)
    return {**manifest.as_row(), "path": str(path), "bytes": path.stat().st_size, "left_out": left_out}


def verify(path: Path, key: bytes | None) -> dict[str, Any]:
    """Read every byte of a backup; return its manifest. Without a key it may have been sealed by anybody, or nobody.

    Raises:
        BadData: naming what is missing, superfluous or changed, or that it was not sealed with the key.
    """
    manifest = backup_file.contents(path)
    if key is not None:
        manifest.check_seal(key, path)
    return manifest.as_row()


def restore(
    path: Path, database: Database, folder: Path, key: bytes | None, progress: Progress | None = None,
    strategies: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Put a backup back into an empty folder and an empty database; return its manifest.

    Without a key it may have been sealed by anybody; whoever made it, nothing but the program's files, tables and
    columns comes out of it. Strategies are programs: they come out of a sealed one only, into their folder
    ``strategies``, and over no file that is there; ``strategies_left`` of what is returned names those that did not.

    Raises:
        BadData: when the backup is not whole, not sealed with the key, or holds what is not the program's.
        ConfigError: when folder or database hold something, or the database is of another kind.
    """
    _refuse_full(database, folder)
    left: list[str] = []
    with tempfile.TemporaryDirectory(prefix=".restoring-", dir=folder) as restoring:
        stage = Path(restoring)
        manifest = backup_file.contents(path, stage)
        if key is not None:
            manifest.check_seal(key, path)
        if manifest.kind != database.kind:
            raise ConfigError(f"DATABASE_URL: the backup is of {manifest.kind[:40]}, and this is {database.kind}")
        _check_databases(path, manifest, stage)
        for number, name in enumerate(manifest.files):
            if progress is not None:
                progress(name, number, len(manifest.files))
            part, _, inner = name.partition("/")
            if part == "data":
                target = folder / inner
                target.parent.mkdir(parents=True, exist_ok=True)
                (stage / name).rename(target)
                target.chmod(0o600)
            elif part == STRATEGIES and not _put_back(stage / name, strategies if key is not None else None):
                left.append(inner)
        _loaded(database, stage / "database", manifest)
    return {**manifest.as_row(), **({"strategies_left": left} if left else {})}


def _put_back(made: Path, strategies: Path | None) -> bool:
    """Put a strategy into its folder, unless there is none to put it into, or another one of its name is there."""
    if strategies is None:
        return False
    strategies.mkdir(parents=True, exist_ok=True)
    target = strategies / made.name
    if target.exists():
        return target.read_bytes() == made.read_bytes()
    target.write_bytes(made.read_bytes())
    return True


def _check_databases(path: Path, manifest: Manifest, stage: Path) -> None:
    main = "database/main.sqlite"
    if manifest.kind == "SQLite" and main not in manifest.files:
        raise BadData(f"{path}: it holds no database")
    for name in manifest.files:
        if name.endswith("/exchange.sqlite"):
            check_passive(stage / name)
        elif name.endswith(".sqlite"):
            check_schema(stage / name, stage)
        elif name.startswith("database/"):
            _columns(stage / name)


def _columns(path: Path) -> list[str]:
    """Return the columns of a table's file. Raises BadData when one is not the table's."""
    with path.open("rb") as file:
        names = file.readline(HEADER_MAX).decode(errors="replace").strip().split(",")
    known = {column.name for column in schema.metadata.tables[path.stem].columns}
    strange = [name for name in names if name not in known or names.count(name) > 1]
    if strange:
        raise BadData(f"{path.name}: {strange[0][:80]!r} is no column of {path.stem}")
    return names


def prune(target: Path, keep: int) -> list[Path]:
    """Delete all but the newest backups of a folder; return those that are gone."""
    backups = sorted(target.glob(f"revenant-*{SUFFIX}"))
    gone = backups[: max(0, len(backups) - keep)]
    for path in gone:
        path.unlink()
    return gone


def _dumped(database: Database, stage: Path, rows: dict[str, int]) -> Iterator[tuple[str, Path]]:
    """Yield the database's files, and note the rows of each table."""
    if not database.is_postgres:
        copy = _sqlite_copy(Path(str(database.url.database)), stage / "main.sqlite")
        rows |= _sqlite_rows(copy)
        yield "database/main.sqlite", copy
        return
    with database.transaction(LONG_S) as connection:
        # all tables as of one moment, whatever is written meanwhile
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        cursor: Any = connection.connection.cursor()
        inspector = sa.inspect(connection)
        present = set(inspector.get_table_names())
        for table in schema.metadata.sorted_tables:
            if table.name in present:
                path, there = stage / f"{table.name}.csv", {one["name"] for one in inspector.get_columns(table.name)}
                names = ", ".join(f'"{column.name}"' for column in table.columns if column.name in there)
                with path.open("wb") as out:
                    # by query: copied by its name, a table whose rows lie in parts (partitions, chunks) gives none
                    query = f'SELECT {names} FROM "{table.name}"'  # noqa: S608  our own names
                    cursor.copy_expert(f"COPY ({query}) TO STDOUT (FORMAT csv, HEADER)", out)
                copied, rows[table.name] = cursor.rowcount, _postgres_rows(cursor, table.name)
                compare_rows(str(database), {table.name: rows[table.name]}, {table.name: copied})
                yield f"database/{table.name}.csv", path


def _postgres_rows(cursor: Any, table: str) -> int:
    cursor.execute(f'SELECT count(*) FROM "{table}"')  # noqa: S608  our own names
    return int(cursor.fetchone()[0])


def _sqlite_rows(path: Path) -> dict[str, int]:
    """Return how many rows each of the program's tables has in a file."""
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
        there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        return {
            table.name: connection.execute(f'SELECT count(*) FROM "{table.name}"').fetchone()[0]  # noqa: S608  our own names
            for table in schema.metadata.sorted_tables if table.name in there
        }  # fmt: skip


def _brought(strategies: Path | None) -> Iterator[tuple[str, Path]]:
    files = sorted(strategies.glob("*.py")) if strategies is not None and strategies.is_dir() else []
    yield from (
        (name, path) for path in files if backup_file.written(name := f"{STRATEGIES}/{path.name}") and path.is_file()
    )


def _files(
    folder: Path, database: Database, left_out: list[str], strategies: Path | None
) -> Iterator[tuple[str, Path]]:  # fmt: skip
    main = None if database.is_postgres else Path(str(database.url.database)).resolve()
    # segments move from the journal into its archive, never back: the archive is read after it; and an exchange always
    # knows more than its bot, the practice one too
    paths = sorted(folder.rglob("*"), key=lambda path: (_practice(path, folder), "archive" in path.parts, path))
    for path in paths:
        inner = path.relative_to(folder)
        left = inner.parts[0].startswith(LEFT_FOLDERS) or inner.parts[0].startswith(".") or path.name in LEFT
        left = left or (strategies is not None and path.is_relative_to(strategies))
        if path.is_file() and not left and path.resolve() != main and not path.name.endswith(PASSING):
            if backup_file.written(f"data/{inner}"):
                yield f"data/{inner}", path
            else:
                left_out.append(str(inner))


def _copied(source: Path, target: Path) -> Path | None:
    """Return a copy of a file that may be written to meanwhile, None when it is gone."""
    if source.suffix == ".sqlite":
        return _sqlite_copy(source, target)
    try:
        with source.open("rb") as file, target.open("wb") as out:
            left = os.fstat(file.fileno()).st_size
            while left and (chunk := file.read(min(CHUNK, left))):
                out.write(chunk)
                left -= len(chunk)
    except FileNotFoundError:
        return None
    return target


def _sqlite_copy(source: Path, target: Path) -> Path:
    target.unlink(missing_ok=True)
    address = f"{source.resolve().as_uri()}?mode=rw"
    with closing(sqlite3.connect(address, uri=True)) as original, closing(sqlite3.connect(target)) as copy:
        original.backup(copy, pages=1_000)
    return target


def _refuse_full(database: Database, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    main = None if database.is_postgres else Path(str(database.url.database)).resolve()
    there = [
        path.name for path in folder.iterdir() if path.name not in {"bot.lock", KEY_FILE} and path.resolve() != main
    ]
    if there:
        raise ConfigError(f"data_dir: {folder} holds {', '.join(sorted(there)[:5])}; restore into an empty folder")
    if not database.is_postgres:
        if main is not None and main.exists():
            raise ConfigError(f"database file {main}: is there already; move it away first")
    elif database.version() is not None:
        raise ConfigError(f"DATABASE_URL: {database} is not empty; restore into a new database")


def _loaded(database: Database, parts: Path, manifest: Manifest) -> None:
    if not database.is_postgres:
        if manifest.rows:
            compare_rows(str(database), manifest.rows, _sqlite_rows(parts / "main.sqlite"))
        (parts / "main.sqlite").rename(Path(str(database.url.database)))
    else:
        database.prepare(lambda connection: _filled(connection, parts, manifest))
    database.migrate()


def _filled(connection: sa.Connection, parts: Path, manifest: Manifest) -> None:
    """Fill a new database, and count what is in it: nothing of it stays when something is missing."""
    upgrade(connection, manifest.version)
    cursor: Any = connection.connection.cursor()
    for table in schema.metadata.sorted_tables:
        path = parts / f"{table.name}.csv"
        if not path.exists():
            continue
        names = ", ".join(f'"{name}"' for name in _columns(path))
        with path.open("rb") as file:
            cursor.copy_expert(f'COPY "{table.name}" ({names}) FROM STDIN (FORMAT csv, HEADER)', file)
        for column in table.columns:
            if column.autoincrement is True:
                newest = f"SELECT max({column.name}) FROM {table.name}"  # noqa: S608  our own names
                cursor.execute(f"SELECT setval(pg_get_serial_sequence('{table.name}', '{column.name}'), ({newest}))")
    if manifest.rows:
        there = sa.inspect(connection).get_table_names()
        known = [table.name for table in schema.metadata.sorted_tables if table.name in there]
        compare_rows("the restored database", manifest.rows, {name: _postgres_rows(cursor, name) for name in known})


def _practice(path: Path, folder: Path) -> bool:
    return path.relative_to(folder).parts[0].startswith("practice-")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

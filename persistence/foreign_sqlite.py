"""An SQLite file from elsewhere: it may hold what the program makes, and nothing that acts by itself."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from domain.errors import BadData
from persistence import migration
from persistence.database import Database

if TYPE_CHECKING:
    from pathlib import Path

    import sqlalchemy as sa

ACTING = ("view", "trigger")
OWN_TABLES = "sqlite_"
VERSION_MAX = 40


def check_schema(path: Path, scratch: Path) -> None:
    """Compare a database of the bot with one that the program makes, in ``scratch``, of the same version.

    Raises:
        BadData: when a table, column, view or trigger is not the program's, or the file is damaged.
    """
    with closing(_opened(path)) as connection:
        objects, version = _objects(connection, path), _version(connection, path)
        if version is None:
            if objects:
                raise BadData(f"{path.name}: it says no version of its tables, so they are not this program's")
            return
        made = _model(version, scratch / f"model-{version}.sqlite")
        for (kind, name), shape in objects.items():
            if made.get((kind, name)) is None or not shape <= made[kind, name]:
                raise BadData(f"{path.name}: {kind} {name[:80]!r} is not one that this program makes")


def check_passive(path: Path) -> None:
    """Raise BadData when an SQLite file is damaged, or holds something that acts by itself."""
    with closing(_opened(path)) as connection:
        acting = [name for kind, name in _objects(connection, path) if kind in ACTING]
        if acting:
            raise BadData(f"{path.name}: {acting[0][:80]!r} is not one that this program makes")


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
    for pragma in ("trusted_schema=OFF", "cell_size_check=ON"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _objects(held: sqlite3.Connection, path: Path) -> dict[tuple[str, str], frozenset[str]]:
    """Return what a file holds: of tables their columns, of what acts its whole text."""
    try:
        verdict = str(held.execute("PRAGMA quick_check(1)").fetchone()[0])
        if verdict != "ok":
            raise BadData(f"{path.name}: damaged: {verdict[:200]}")
        shapes = {}
        for kind, name, text in held.execute("SELECT type, name, sql FROM sqlite_master").fetchall():
            if kind == "table":
                # virtual tables and generated columns run code of their own
                rows = held.execute("SELECT name, hidden FROM pragma_table_xinfo(?)", (name,)).fetchall()
                plain = str(text).lstrip().upper().startswith("CREATE TABLE")
                shape = frozenset(column if not hidden and plain else f"{column} made" for column, hidden in rows)
            else:
                shape = frozenset([str(text)] if kind in ACTING else [])
            if not str(name).startswith(OWN_TABLES):
                shapes[str(kind), str(name)] = shape
    except sqlite3.Error as error:
        raise BadData(f"{path.name}: cannot be read as a database: {error}") from error
    return shapes


def _version(held: sqlite3.Connection, path: Path) -> str | None:
    try:
        rows = held.execute("SELECT version_num FROM alembic_version").fetchmany(2)
    except sqlite3.Error:
        return None
    version = str(rows[0][0]) if len(rows) == 1 else ""
    if version not in migration.revisions():
        raise BadData(f"{path.name}: its schema {version[:VERSION_MAX]!r} is not known; is this program older than it?")
    return version


def _model(version: str, path: Path) -> dict[tuple[str, str], frozenset[str]]:
    if not path.exists():
        model = Database(f"sqlite:///{path}")
        try:
            model.prepare(lambda connection: _upgraded(connection, version))
        finally:
            model.close()
    with closing(sqlite3.connect(path)) as held:
        return _objects(held, path)


def _upgraded(connection: sa.Connection, version: str) -> None:
    migration.upgrade(connection, version)

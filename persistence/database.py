"""Connections to PostgreSQL or SQLite: every spelling of a URL, deadlines, and errors in our own terms."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg2
import sqlalchemy as sa
import structlog
from psycopg2.extensions import make_dsn
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from domain.errors import ConfigError, Rejected, Unavailable
from persistence import migration
from persistence.files import refused
from persistence.postgres import CALL_S, POOL_SIZE, Connections

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

log = structlog.get_logger(__name__)

MIGRATION_S = 120.0
FILLING_S = 7_200.0
MIGRATION_LOCK = 7_368_641_701
"""PostgreSQL advisory lock that keeps two starting bots from migrating at once."""

MIGRATING = threading.Lock()
"""Two databases of one process may not migrate at once: alembic keeps what it is working on in its module."""

ELSEWHERE = "give a writable folder with data_dir or DATABASE_URL"

NOT_OURS = ("pgbouncer",)
"""What hosts append to addresses of their poolers for one library, and no other understands."""

READING = "revenant_reading"
POSTGRES_PORT = 5432

VERSIONS = sa.table("alembic_version", sa.column("version_num"))

_OPERATIONAL = (psycopg2.OperationalError, psycopg2.InterfaceError)

_REFUSALS = (
    "authentication failed",
    "does not exist",
    "pg_hba.conf",
    "permission denied",
    "not permitted to log in",
    "password supplied",
    "no such database",
    "no such user",
)
"""What a server or pooler says to those that it will never let in; it says much else while it starts, stops or is full.
"""

_UNREACHED = re.compile(
    r"(connection to server .*? failed|could not translate host name .*?): "
    r"(?P<why>.*?)( Is the server| connection to|$)"
)
"""What the driver says when there was no connection, with the reason."""

_LACKS = ("42P01", "42703", "3F000")
_LACKS_SQLITE = ("no such table", "no such column")
"""What a database says that lacks a table, a column or all of them."""


def parse_url(text: str) -> sa.URL:
    """Return a database address with its driver filled in; understands postgres:// and postgresql:// too.

    Raises:
        ConfigError: when it is malformed or of another kind; the text never shows the password.
    """
    fixed = re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql+psycopg2://", text.strip())
    try:
        url = make_url(fixed)
        port = url.port
    except (ArgumentError, ValueError) as error:
        raise ConfigError(
            "DATABASE_URL: cannot be read; write postgresql://user:password@host:5432/name or sqlite:///path"
        ) from error
    if url.drivername == "postgresql+psycopg2":
        if not url.database or not (url.host or url.query.get("host")) or port == 0:
            raise ConfigError(f"DATABASE_URL: {url.render_as_string()} lacks host or database name")
        return _understood(url.difference_update_query(NOT_OURS))
    if url.drivername == "sqlite" and url.database:
        return url
    raise ConfigError(f"DATABASE_URL: {url.drivername}:// is not known; allowed are postgresql:// and sqlite:///path")


def _understood(url: sa.URL) -> sa.URL:
    try:
        # the names alone: a value may be secret
        make_dsn(**dict.fromkeys(url.query, ""))
    except psycopg2.ProgrammingError as error:
        raise ConfigError(f"DATABASE_URL: {str(error).strip()}: leave it out") from error
    return url


class Database:
    """One database; safe to call from several threads, each call bounded in time.

    Once it has been as it should be, nothing that it says later is final: a login that is refused and a table that is
    not there are Unavailable then. Somebody is putting another database in its place, and tables are made anew.

    Attributes:
        remade: how often they were.
    """

    def __init__(self, url: str) -> None:
        self.url = parse_url(url)
        self.is_postgres = self.url.get_backend_name() == "postgresql"
        self.kind = "PostgreSQL" if self.is_postgres else "SQLite"
        self._current = False
        self._was_current = False
        self.remade = 0
        self._lock = threading.Lock()
        self._connections = Connections(self.url) if self.is_postgres else None
        self._engine = self._connections.engine if self._connections else self._file()

    def __str__(self) -> str:
        return self.url.render_as_string(hide_password=True)

    @property
    def address(self) -> str:
        """The whole address, password and all, for a process of ours that runs elsewhere in the file system."""
        url = self.url
        if not self.is_postgres and url.database != ":memory:":
            url = url.set(database=str(Path(str(url.database)).resolve()))
        return url.render_as_string(hide_password=False)

    @property
    def pooled(self) -> bool:
        """Whether a pooler stands before the database, as far as the newest connection can tell."""
        return self._connections is not None and self._connections.pooled

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def check(self) -> None:
        """Connect once, and bring the schema up to date.

        Raises:
            ConfigError: when the server answered and refused us, so that trying again is useless.
            Unavailable: when there was no answer.
        """
        with self.transaction():
            pass

    @contextlib.contextmanager
    def transaction(self, deadline_s: float = CALL_S) -> Iterator[sa.Connection]:
        """Give a connection inside a transaction; committed at the end, rolled back on any error.

        Raises:
            Unavailable: no answer within the deadline, connection lost, disk full.
            Rejected: the database refused the statement.
            ConfigError: the database refuses us altogether.
        """
        with self._session(deadline_s, reading=False) as connection:
            yield connection

    @contextlib.contextmanager
    def reading(self, deadline_s: float = CALL_S) -> Iterator[sa.Connection]:
        """Give a connection for reading only: on SQLite whoever writes meanwhile, or hangs in it, is not waited for.

        Raises as ``transaction`` does.
        """
        with self._session(deadline_s, reading=True) as connection:
            yield connection

    @contextlib.contextmanager
    def _session(self, deadline_s: float, *, reading: bool) -> Iterator[sa.Connection]:
        self._bring_up_to_date()
        with (
            self._translated(),
            self._engine.connect() as connection,
            self._deadline(connection, deadline_s),
            connection.execution_options(**{READING: reading}).begin(),
        ):
            if deadline_s > CALL_S:
                self._extend(connection, deadline_s)
            yield connection

    def migrate(self) -> str:
        """Bring the schema to the newest version and return its name; safe while others do the same."""
        with (
            MIGRATING,
            self._translated(),
            self._engine.connect() as connection,
            self._deadline(connection, MIGRATION_S),
        ):
            self._extend(connection, MIGRATION_S)
            if self.is_postgres:
                # ends with the transaction: one of the session would stay behind in a pooler
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
            migration.upgrade(connection)
            connection.commit()
        self._current = self._was_current = True
        return self.head()

    def prepare(self, fill: Callable[[sa.Connection], None]) -> None:
        """Have an empty database filled in one transaction, no schema being made before. Raises as transaction."""
        with self._translated(), self._engine.connect() as connection, self._deadline(connection, FILLING_S):
            self._extend(connection, FILLING_S)
            fill(connection)
            connection.commit()

    @staticmethod
    def head() -> str:
        """Return the newest schema version that this code knows."""
        return migration.revisions()[-1]

    def version(self) -> str | None:
        """Return the schema version in the database, None when it is empty."""
        with self._translated(), self._engine.connect() as connection, self._deadline(connection, CALL_S):
            connection.execution_options(**{READING: True})
            if not sa.inspect(connection).has_table(VERSIONS.name):
                return None
            version: str | None = connection.scalar(sa.select(VERSIONS.c.version_num))
            return version

    def size_mb(self) -> float:
        """Return the size of the database in megabytes."""
        with self.reading() as connection:
            if self.is_postgres:
                size = connection.scalar(sa.text("SELECT pg_database_size(current_database())"))
            else:
                pages = connection.scalar(sa.text("PRAGMA page_count"))
                size = int(pages or 0) * int(connection.scalar(sa.text("PRAGMA page_size")) or 0)
        return round(int(size or 0) / 1e6, 3)

    def _bring_up_to_date(self) -> None:
        if self._current:
            return
        with self._lock:
            if self._current:
                return
            version = self.version()
            if version is not None and version not in migration.revisions():
                raise ConfigError(f"{self}: schema version {version} is newer than this program; update the program")
            if version != self.head():
                self._make_anew(version) if self._was_current else self.migrate()
            self._current = self._was_current = True

    def _make_anew(self, found: str | None) -> None:
        log.warning("the database is another one now: its tables are made anew", found=found or "nothing")
        try:
            self.migrate()
        except Rejected as error:
            # half of another one: whoever puts it in place may not be done
            raise Unavailable(str(error)) from error
        self.remade += 1

    def _file(self) -> sa.Engine:
        path = Path(str(self.url.database))
        if str(path) != ":memory:":
            _writable(path)
        engine = sa.create_engine(self.url, pool_size=POOL_SIZE, connect_args={"timeout": CALL_S})
        sa.event.listen(engine, "connect", _prepare_sqlite)
        # the driver is told not to begin transactions, so that this decides when one starts
        sa.event.listen(engine, "begin", _begin_sqlite)
        return engine

    def _extend(self, connection: sa.Connection, seconds: float) -> None:
        """Let statements of this transaction take so long."""
        if self.is_postgres:
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = {int(seconds * 1000)}")

    def _deadline(self, connection: sa.Connection, seconds: float) -> contextlib.AbstractContextManager[None]:
        return self._connections.within(seconds, connection) if self._connections else contextlib.nullcontext()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise self._in_our_terms(error.orig, operational=_is_operational(error)) from error
        except psycopg2.Error as error:
            # COPY goes to the driver itself
            raise self._in_our_terms(error, operational=isinstance(error, _OPERATIONAL)) from error
        except sa.exc.TimeoutError as error:
            raise Unavailable(f"{self}: no free connection") from error

    def _in_our_terms(self, error: BaseException | None, *, operational: bool) -> ConfigError | Rejected | Unavailable:
        code = getattr(error, "pgcode", None) or ""
        text = " ".join(str(error).split())
        refused = "FATAL:" in text and not code and any(mark in text for mark in _REFUSALS)
        lacks = code in _LACKS or any(mark in text for mark in _LACKS_SQLITE)
        if self._was_current and (refused or lacks):
            # the next transaction looks what there is
            self._current = False
            return Unavailable(self._away(text))
        if refused:
            return ConfigError(f"DATABASE_URL: {self} refused us: {text.partition('FATAL:')[2].strip()}")
        permanent = code[:2] in {"22", "23", "28", "42"} if code else not operational
        if permanent:
            return Rejected(f"{self}: {text[:300]}")
        return Unavailable(self._away(text))

    def _away(self, text: str) -> str:
        match = _UNREACHED.search(text)
        if match is None or "FATAL:" in text:
            return f"{self}: {text[:300]}"
        host = self.url.host or self.url.query.get("host")
        return f"cannot reach {host}:{self.url.port or POSTGRES_PORT} (DATABASE_URL): {match['why'][:200]}"


def _is_operational(error: DBAPIError) -> bool:
    return isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError) or error.connection_invalidated


def _prepare_sqlite(connection: object, _: object) -> None:
    connection.isolation_level = None  # type: ignore[attr-defined]
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000"):
        connection.execute(f"PRAGMA {pragma}")  # type: ignore[attr-defined]


def _begin_sqlite(connection: sa.Connection) -> None:
    # who reads first and writes then, could no longer once somebody else has written meanwhile
    reading = connection.get_execution_options().get(READING)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _writable(path: Path) -> None:
    # the file itself must not be opened to find out: closing it again takes away the locks that this process holds on
    # it (POSIX), and the next process to leave believes itself the last and removes the log that we are writing to
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refused(f"database file {path}", path.parent, error, ELSEWHERE) from error
    if path.is_dir():
        raise ConfigError(f"database file {path}: is a directory; {ELSEWHERE}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        denied = PermissionError(errno.EACCES, "cannot be written")
        raise refused(f"database file {path}", path, denied, ELSEWHERE)

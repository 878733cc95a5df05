"""Connections to PostgreSQL, straight or through a pooler that lends a session for one transaction only."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING, Any

import psycopg2
import sqlalchemy as sa
from sqlalchemy.exc import NoSuchModuleError

from domain.errors import ConfigError
from persistence.deadlines import Deadlines

if TYPE_CHECKING:
    from collections.abc import Iterator

CONNECT_S = 3
CALL_S = 5.0
POOL_SIZE = 2

LIMITS = {"statement_timeout": f"{CALL_S:.0f}s", "lock_timeout": "2s", "timezone": "UTC"}
"""What has to hold in every transaction, as the server itself would tell it."""

_OPTIONS = " ".join(f"-c {name}={value}" for name, value in LIMITS.items())
_FOR_ONE_TRANSACTION = "; ".join(f"SET LOCAL {name} = '{value}'" for name, value in LIMITS.items())
_IN_FORCE = "SELECT " + ", ".join(f"current_setting('{name}')" for name in LIMITS)

_OPTIONS_REFUSED = ("unsupported startup parameter", "command-line options")
"""What PgBouncer (and Neon, Supabase, Heroku, which run it) and RDS Proxy say to options in the start-up message."""

_LASTING, _OPENING = "lasting", "opening"


def lasting(connection: sa.Connection) -> bool:
    """Say whether a session is ours for longer than one transaction.

    A pooler may hand each transaction to another session of the server. What outlasts a transaction (settings,
    temporary tables, session locks) then meets strangers, and is not there for us: it may be used only where this is
    true.
    """
    return bool(connection.info.get(_LASTING))


class Connections:
    """Makes connections and bounds what is done on them in time.

    Attributes:
        pooled: whether the newest one leads to a pooler, as far as that can be told.
    """

    def __init__(self, url: sa.URL) -> None:
        self._deadlines: Deadlines[object] = Deadlines(_cut)
        self._refused = self.pooled = False
        given = url.query.get("options", "")
        self._given = given if isinstance(given, str) else " ".join(given)
        arguments = {"connect_timeout": CONNECT_S, "application_name": "revenant"}
        try:
            # asking for the numbers of a type that is not used would cost every new connection a round trip
            self.engine = sa.create_engine(
                url.difference_update_query(("options",)), pool_size=POOL_SIZE, max_overflow=2, pool_pre_ping=False,
                pool_timeout=CALL_S, connect_args=arguments, use_native_hstore=False,
            )  # fmt: skip
        except NoSuchModuleError as error:
            raise ConfigError(f"DATABASE_URL: {error}") from error
        sa.event.listen(self.engine, "do_connect", self._connect)
        sa.event.listen(self.engine, "connect", _opened)
        sa.event.listen(self.engine, "begin", _set_limits)

    @contextlib.contextmanager
    def within(self, seconds: float, connection: sa.Connection) -> Iterator[None]:
        """Cut a connection unless the block ends in time."""
        # libpq's own limits do not help against a server that hangs: only closing the socket under it does
        with self._deadlines.within(seconds, connection.connection.driver_connection):
            yield

    def _connect(self, _dialect: Any, record: Any, _arguments: Any, named: dict[str, Any]) -> Any:
        made = self._let_in(named)
        # a pooler lets us in while the server behind it hangs
        opening = contextlib.ExitStack()
        opening.enter_context(self._deadlines.within(CONNECT_S, made))
        record.info[_OPENING] = opening
        # and may have dropped our settings without a word
        self.pooled = self._refused or not _in_force(made)
        record.info[_LASTING] = not self.pooled
        return made

    def _let_in(self, named: dict[str, Any]) -> Any:
        """Connect with our settings in the start-up message, or without where a pooler refuses them."""
        if not self._refused:
            try:
                return psycopg2.connect(**named, options=f"{self._given} {_OPTIONS}".strip())
            except psycopg2.OperationalError as error:
                if not any(mark in str(error) for mark in _OPTIONS_REFUSED):
                    raise
                self._refused = True
        return psycopg2.connect(**named, options=self._given or None)


def _in_force(made: Any) -> bool:
    made.autocommit = True
    with made.cursor() as cursor:
        cursor.execute(_IN_FORCE)
        limits = cursor.fetchone()
    made.autocommit = False
    return tuple(limits) == tuple(LIMITS.values())


def _opened(_connection: Any, record: Any) -> None:
    record.info.pop(_OPENING).close()


def _set_limits(connection: sa.Connection) -> None:
    if not lasting(connection):
        connection.exec_driver_sql(_FOR_ONE_TRANSACTION)


def _cut(driver_connection: object) -> None:
    with contextlib.suppress(OSError, AttributeError, Exception):
        handle = socket.socket(fileno=os.dup(driver_connection.fileno()))  # type: ignore[attr-defined]
        try:
            handle.shutdown(socket.SHUT_RDWR)
        finally:
            handle.close()

"""A PostgreSQL of its own for whoever measures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg2

from domain.candle import COLUMNS
from persistence.database import Database
from tests.servers import Postgres

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.measured import Measured


def with_postgres(measure: Callable[[Database, Any], list[Measured]]) -> list[Measured]:
    """Measure with a fresh database, and a driver's bare connection to it."""
    server = Postgres()
    server.start()
    database = Database(server.dsn("postgres"))
    try:
        database.check()
        raw = psycopg2.connect(server.dsn("postgres"))
        try:
            return measure(database, raw)
        finally:
            raw.close()
    finally:
        database.close()
        server.close()


def bare_table(raw: Any) -> None:
    """Make, or empty, a table of bars with the same key and nothing else."""
    columns = ", ".join(f"{name} float8" for name in COLUMNS)
    with raw.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS bare")
        cursor.execute(
            f"CREATE TABLE bare (series_id int, open_time bigint, {columns}, PRIMARY KEY (series_id, open_time))"
        )
    raw.commit()

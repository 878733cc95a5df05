"""Which jobs ran when, and who runs one now: no job runs twice at once, on whatever machines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from domain.schedule import LOST, JobState
from persistence import schema

if TYPE_CHECKING:
    from domain.schedule import Job
    from persistence.database import Database

RUNNING = "RUNNING"
SAID_MAX = 1_000


def database_now(connection: sa.Connection) -> datetime:
    """Return the time by the database's clock: machines that share a database need not agree about it."""
    if connection.dialect.name != "postgresql":
        return datetime.now(UTC)
    now: datetime = connection.scalar(sa.text("SELECT clock_timestamp()"))
    return now.astimezone(UTC)


class JobBook:
    """One row per job and data source. Synchronous; raises Unavailable while the database is away."""

    def __init__(self, database: Database, owner: str) -> None:
        self._database, self._owner = database, owner

    def now(self) -> datetime:
        """Return the time by the database's clock, which decides what is due."""
        with self._database.reading() as connection:
            return database_now(connection)

    def states(self) -> dict[str, JobState]:
        """Return what is known of every job that has ever run; one that is past its time is LOST."""
        with self._database.reading() as connection:
            now = database_now(connection)
            rows = connection.execute(sa.select(schema.jobs)).mappings().all()
        return {row["name"]: _state(row, now) for row in rows}

    def claim(self, job: Job) -> bool:
        """Begin a job; False when somebody else runs it, and has not had it for too long."""
        with self._database.transaction() as connection:
            return begin(connection, job, self._owner)

    def finish(self, job: Job, status: str, said: str) -> None:
        """Keep how a job of ours ended: COMPLETED, PARTIAL, FAILED or SKIPPED."""
        with self._database.transaction() as connection:
            end(connection, job.name, self._owner, status, said)


def begin(connection: sa.Connection, job: Job, owner: str) -> bool:
    """Make a job the owner's for as long as it may take, unless somebody else runs it; return whether it is."""
    from sqlalchemy.dialects import postgresql, sqlite  # noqa: PLC0415  two dialects, one spelling

    now, table = database_now(connection), schema.jobs
    insert: Any = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    fresh = {"name": job.name, "status": "", "said": "", "failures": 0, "owner": ""}
    taken = {
        "started_at": now, "until": now + timedelta(seconds=job.limit_s), "ended_at": None, "status": RUNNING,
        "owner": owner, "said": "",
        # whoever had it was not heard of again
        "failures": sa.case((table.c.status == RUNNING, table.c.failures + 1), else_=table.c.failures),
    }  # fmt: skip
    free = sa.or_(table.c.status != RUNNING, table.c.until <= now)
    connection.execute(insert(table).on_conflict_do_nothing(), fresh)
    change = sa.update(table).where(table.c.name == job.name, free).values(taken)
    return connection.execute(change).rowcount == 1


def end(connection: sa.Connection, name: str, owner: str, status: str, said: str) -> bool:
    """Keep how an owner's job ended, unless it has ended or belongs to somebody else; return whether it was kept."""
    table = schema.jobs
    failures = table.c.failures + 1 if status in {"FAILED", LOST} else 0
    change = {"ended_at": database_now(connection), "status": status, "said": said[:SAID_MAX], "failures": failures}
    ours = (table.c.name == name, table.c.owner == owner, table.c.status == RUNNING)
    return connection.execute(sa.update(table).where(*ours).values(change)).rowcount == 1


def _state(row: Any, now: datetime) -> JobState:
    state = JobState(
        row["name"], row["started_at"], row["ended_at"], row["status"], row["said"], row["failures"],
        row["status"] == RUNNING and row["until"] > now,
    )  # fmt: skip
    if row["status"] != RUNNING or state.running:
        return state
    said = f"not done by {row['until']:%Y-%m-%d %H:%M} UTC; whoever did it ({row['owner']}) was not heard of again"
    return state._replace(status=LOST, said=said, failures=row["failures"] + 1)

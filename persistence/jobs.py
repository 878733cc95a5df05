"""Which jobs ran when, and who runs one now: no job runs twice at once, on whatever machines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from domain.schedule import JobState
from persistence import schema

if TYPE_CHECKING:
    from domain.schedule import Job
    from persistence.database import Database

RUNNING = "RUNNING"


class JobBook:
    """One row per job and data source. Synchronous; raises Unavailable while the database is away."""

    def __init__(self, database: Database, owner: str) -> None:
        self._database, self._owner = database, owner

    def states(self) -> dict[str, JobState]:
        """Return what is known of every job that has ever run."""
        with self._database.reading() as connection:
            rows = connection.execute(sa.select(schema.jobs)).mappings().all()
        now = datetime.now(UTC)
        return {
            row["name"]: JobState(
                row["name"], row["started_at"], row["ended_at"], row["status"], row["said"], row["failures"],
                row["status"] == RUNNING and row["until"] > now,
            )
            for row in rows
        }  # fmt: skip

    def claim(self, job: Job) -> bool:
        """Begin a job; False when somebody else runs it, and has not had it for too long."""
        now, table = datetime.now(UTC), schema.jobs
        fresh = {"name": job.name, "status": "", "said": "", "failures": 0, "owner": ""}
        taken = {
            "started_at": now, "until": now + timedelta(seconds=job.limit_s), "status": RUNNING, "owner": self._owner
        }  # fmt: skip
        free = sa.or_(table.c.status != RUNNING, table.c.until <= now)
        with self._database.transaction() as connection:
            connection.execute(self._insert(table).on_conflict_do_nothing(), fresh)
            change = sa.update(table).where(table.c.name == job.name, free).values(taken)
            return connection.execute(change).rowcount == 1

    def finish(self, job: Job, status: str, said: str) -> None:
        """Keep how a job of ours ended: COMPLETED, PARTIAL, FAILED or SKIPPED."""
        table = schema.jobs
        failures = table.c.failures + 1 if status == "FAILED" else 0
        change = {"ended_at": datetime.now(UTC), "status": status, "said": said[:1000], "failures": failures}
        with self._database.transaction() as connection:
            ours = (table.c.name == job.name, table.c.owner == self._owner)
            connection.execute(sa.update(table).where(*ours).values(change))

    def _insert(self, table: sa.Table) -> Any:
        from sqlalchemy.dialects import postgresql, sqlite  # noqa: PLC0415  two dialects, one spelling

        return (postgresql if self._database.is_postgres else sqlite).insert(table)

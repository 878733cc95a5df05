"""Jobs in parts: workers on any machine take one after the other, and what a dead one had is taken again.

The database alone knows what is left to do. Whatever hands tasks around may forget all of it: it only has to say that
there is something to be taken.
"""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import sqlalchemy as sa

from domain.job_parts import Part
from domain.schedule import LOST
from persistence import schema
from persistence.jobs import RUNNING, begin, database_now, end

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from domain.job_parts import PartOutcome
    from domain.schedule import Job
    from persistence.database import Database

LEASE_S = 90.0
"""A worker that has left no sign of life for so long has lost its part."""
ATTEMPTS_MAX = 6
PAUSE_S, PAUSE_MAX_S = 20.0, 320.0
"""Before another attempt, doubled each time: six of them outlast a source's rest and a server's restart."""
KEPT = timedelta(days=30)
SHOWN = 10
SAID_MAX = 300
WAITING = "WAITING"
DOWNLOAD = "download-"
"""What the names of downloads begin with; they are kept for a month after their end."""


class Taken(NamedTuple):
    """A part that a worker has taken: whose run it belongs to, and the number of the attempt."""

    job: str
    number: int
    run: str
    attempt: int
    part: Part


class Progress(NamedTuple):
    """How far a job is: its parts by status, bars done of those wanted in what is being done, and who does it."""

    parts: dict[str, int]
    done: int
    wanted: int
    records: int
    workers: dict[str, int]


class Ended(NamedTuple):
    """A job that has ended."""

    job: str
    status: str
    said: str


class Backlog(NamedTuple):
    """What waits for workers, in parts: those that one may take now and those taken; age in s of the oldest waiting."""

    waiting: int
    running: int
    oldest_s: float


class JobParts:
    """The parts of all jobs. Synchronous; raises Unavailable while the database is away.

    ``worker`` is what this process is called.
    """

    def __init__(self, database: Database, worker: str) -> None:
        self._database, self._worker = database, worker

    def begin(self, job: Job, run: str, parts: Sequence[Part]) -> bool:
        """Begin a job with all of its parts, unless somebody else runs it; return whether it is begun."""
        table = schema.job_parts
        with self._database.transaction() as connection:
            if not begin(connection, job, run):
                return False
            now = database_now(connection)
            connection.execute(sa.delete(table).where(table.c.job == job.name))
            rows = [
                {"job": job.name, "number": number, "run": run, "body": _encoded(part), "status": WAITING, "worker": "",
                 "said": "", "due_at": now, "until": None, "attempts": 0, "series": len(part.series), "failed": 0,
                 "records": 0, "done": 0, "wanted": 0}
                for number, part in enumerate(parts)
            ]  # fmt: skip
            connection.execute(sa.insert(table), rows)
        return True

    def take(self, job: str) -> Taken | None:
        """Take a part that nobody has, or whose worker has died; None when there is none to take now."""
        table = schema.job_parts
        with self._database.transaction() as connection:
            now = database_now(connection)
            # two columns name a part: the key of both dialects
            free = (
                sa.select(table.c.number).where(table.c.job == job, *_takeable(now)).order_by(table.c.number).limit(1)
                .with_for_update(skip_locked=True)
            )  # fmt: skip
            number = connection.scalar(free)
            if number is None:
                return None
            change = (
                sa.update(table).where(table.c.job == job, table.c.number == number, *_takeable(now))
                .values(status=RUNNING, worker=self._worker, until=now + timedelta(seconds=LEASE_S), done=0, wanted=0,
                        attempts=table.c.attempts + 1)
                .returning(table.c.run, table.c.attempts, table.c.body)
            )  # fmt: skip
            row = connection.execute(change).first()
        return Taken(job, number, row[0], row[1], msgspec.json.decode(row[2], type=Part)) if row else None

    def renew(self, taken: Taken, done: int, wanted: int) -> bool:
        """Leave a sign of life, with the bars done of those wanted; return whether the part is ours still."""
        with self._database.transaction() as connection:
            until = database_now(connection) + timedelta(seconds=LEASE_S)
            return self._change(connection, taken, until=until, done=done, wanted=wanted)

    def finish(self, taken: Taken, outcome: PartOutcome) -> None:
        """Keep how an attempt ended; what is left of the part is tried again later, a limited number of times."""
        table = schema.job_parts
        again = outcome.left is not None and taken.attempt < ATTEMPTS_MAX
        failed = outcome.failed + (len(outcome.left.series) if outcome.left is not None and not again else 0)
        # what failed for good in an earlier attempt is told in the end
        said = outcome.said[:SAID_MAX] or sa.case((table.c.failed > 0, table.c.said), else_="")
        change: dict[str, Any] = {
            "status": outcome.status, "until": None, "said": said, "failed": table.c.failed + failed,
            "records": table.c.records + outcome.records,
        }  # fmt: skip
        if outcome.left is not None:
            change |= {"body": _encoded(outcome.left)}
        with self._database.transaction() as connection:
            if again:
                pause = min(PAUSE_MAX_S, PAUSE_S * 2 ** (taken.attempt - 1)) * random.uniform(0.8, 1.2)  # noqa: S311  no secret
                change |= {"status": WAITING, "due_at": database_now(connection) + timedelta(seconds=pause)}
            self._change(connection, taken, **change)

    def close(self) -> list[Ended]:
        """End the jobs of which nothing is left to do, or whose time is over; return those that ended now."""
        jobs, table = schema.jobs, schema.job_parts
        found = []
        with self._database.transaction() as connection:
            now = database_now(connection)
            running = connection.execute(sa.select(jobs).where(jobs.c.status == RUNNING)).mappings().all()
            for job in running:
                mine = (table.c.job == job["name"], table.c.run == job["owner"])
                connection.execute(_given_up(mine, now))
                parts = connection.execute(sa.select(table).where(*mine).order_by(table.c.number)).mappings().all()
                ended = _ended(job, parts, now)
                if ended is not None and end(connection, ended.job, job["owner"], ended.status, ended.said):
                    left = table.c.status.in_((WAITING, RUNNING))
                    connection.execute(sa.update(table).where(*mine, left).values(status=LOST))
                    found.append(ended)
        return found

    def takeable(self) -> dict[str, int]:
        """Return how many parts of each job a worker may take now."""
        table = schema.job_parts
        with self._database.reading() as connection:
            query = sa.select(table.c.job, sa.func.count()).where(*_takeable(database_now(connection)))
            return {row[0]: row[1] for row in connection.execute(query.group_by(table.c.job))}

    def backlog(self) -> Backlog:
        """Return what waits for workers, and for how long."""
        table = schema.job_parts
        with self._database.reading() as connection:
            now = database_now(connection)
            free = sa.select(sa.func.count(), sa.func.min(table.c.due_at)).where(*_takeable(now))
            waiting, oldest = connection.execute(free).one()
            taken = sa.select(sa.func.count()).where(table.c.status == RUNNING, table.c.until > now)
            running = connection.scalar(taken) or 0
        return Backlog(waiting, running, (now - oldest).total_seconds() if oldest is not None else 0.0)

    def progress(self, job: str) -> Progress:
        """Return how far a job is."""
        table = schema.job_parts
        columns = (table.c.status, table.c.worker, table.c.done, table.c.wanted, table.c.records)
        with self._database.reading() as connection:
            rows = connection.execute(sa.select(*columns).where(table.c.job == job)).all()
        parts: dict[str, int] = {}
        workers: dict[str, int] = {}
        for status, worker, *_ in rows:
            parts[status] = parts.get(status, 0) + 1
            if status == RUNNING:
                workers[worker] = workers.get(worker, 0) + 1
        active = [row for row in rows if row.status == RUNNING]
        return Progress(
            parts, sum(row.done for row in active), sum(row.wanted for row in active),
            sum(row.records for row in rows), workers,
        )  # fmt: skip

    def forget(self) -> int:
        """Delete downloads that ended a month ago, with their parts; return how many."""
        jobs, table = schema.jobs, schema.job_parts
        with self._database.transaction() as connection:
            before = database_now(connection) - KEPT
            old = sa.select(jobs.c.name).where(jobs.c.name.startswith(DOWNLOAD), jobs.c.ended_at < before)
            names = list(connection.scalars(old))
            connection.execute(sa.delete(table).where(table.c.job.in_(names)))
            connection.execute(sa.delete(jobs).where(jobs.c.name.in_(names)))
        return len(names)

    def _change(self, connection: sa.Connection, taken: Taken, **values: Any) -> bool:
        table = schema.job_parts
        mine = (
            table.c.job == taken.job, table.c.number == taken.number, table.c.run == taken.run,
            table.c.worker == self._worker, table.c.attempts == taken.attempt, table.c.status == RUNNING,
        )  # fmt: skip
        return connection.execute(sa.update(table).where(*mine).values(**values)).rowcount == 1


def _encoded(part: Part) -> str:
    return msgspec.json.encode(part).decode()


def _takeable(now: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    jobs, table = schema.jobs, schema.job_parts
    lapsed = sa.and_(table.c.status == RUNNING, table.c.until <= now)
    free = sa.or_(sa.and_(table.c.status == WAITING, table.c.due_at <= now), lapsed)
    wanted = sa.exists().where(
        jobs.c.name == table.c.job, jobs.c.owner == table.c.run, jobs.c.status == RUNNING, jobs.c.until > now
    )
    return free, table.c.attempts < ATTEMPTS_MAX, wanted


def _given_up(mine: tuple[sa.ColumnElement[bool], ...], now: datetime) -> sa.Update:
    """End the parts of which each attempt has ended with its worker."""
    table = schema.job_parts
    dead = (*mine, table.c.status == RUNNING, table.c.until <= now, table.c.attempts >= ATTEMPTS_MAX)
    said = f"each of {ATTEMPTS_MAX} workers ended while it did this part"
    return sa.update(table).where(*dead).values(status="FAILED", said=said, failed=table.c.failed + table.c.series)


def _ended(job: Any, parts: Sequence[Any], now: datetime) -> Ended | None:
    """Return how a job ended, None while it goes on; one without parts is somebody's own process."""
    left = [part for part in parts if part["status"] in {WAITING, RUNNING}]
    if job["until"] <= now:
        minutes = (job["until"] - job["started_at"]).total_seconds() / 60
        said = f"not done within {minutes:.0f} minutes"
        if not parts:
            return Ended(job["name"], LOST, f"{said}; whoever did it ({job['owner']}) was not heard of again")
        reason = next((part["said"] for part in left if part["said"]), "")
        return Ended(job["name"], "FAILED" if reason else LOST, f"{said}: {_missing(left)}{reason and '; ' + reason}")
    if not parts or left:
        return None
    if not any(part["series"] for part in parts):
        return Ended(job["name"], parts[0]["status"], parts[0]["said"])
    series, failed = sum(part["series"] for part in parts), sum(part["failed"] for part in parts)
    said = f"{series} series, {failed} failed, {sum(part['records'] for part in parts)} records"
    reasons = "; ".join(part["said"] for part in parts if part["said"])
    status = "COMPLETED" if not failed else "PARTIAL" if failed < series else "FAILED"
    return Ended(job["name"], status, said + (f"; {reasons}" if reasons else ""))


def _missing(parts: Sequence[Any]) -> str:
    names = [name for part in parts for name in msgspec.json.decode(part["body"], type=Part).names]
    if not names:
        return "nobody did it"
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)} series are missing, {', '.join(names[:SHOWN])}{more}"

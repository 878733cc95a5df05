"""When regular jobs are due, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

MONDAY, SUNDAY = 0, 6
LOOK_BACK_DAYS = 32
LOST = "LOST"
"""How a job ended that was not done in its time, and of which nobody says why."""


class Job(NamedTuple):
    """A regular job.

    Attributes:
        name: what it is called.
        minute: minute of the hour.
        hours: hours of the day, empty for every hour.
        weekday: day of the week, Monday being 0; None for any.
        day: day of the month; None for any.
        priority: the more important goes first when several are due.
        network: whether it asks sources; a practice exchange has none to ask.
        limit_s: longest that it may run before somebody else may begin it anew.
        about: what it does, for people.
        judges: whether it says what in the stored candles somebody should look at.
    """

    name: str
    minute: int
    hours: tuple[int, ...]
    weekday: int | None
    day: int | None
    priority: int
    network: bool
    limit_s: int
    about: str
    judges: bool = False

    def last_due(self, now: datetime) -> datetime:
        """Return the newest moment, not after ``now``, at which it was due."""
        moment = now.astimezone(UTC).replace(minute=self.minute, second=0, microsecond=0)
        if moment > now:
            moment -= timedelta(hours=1)
        while not self._fits(moment):
            moment -= timedelta(hours=1)
        return moment

    def next_due(self, now: datetime) -> datetime:
        """Return the first moment after ``now`` at which it is due."""
        moment = now.astimezone(UTC).replace(minute=self.minute, second=0, microsecond=0)
        while moment <= now or not self._fits(moment):
            moment += timedelta(hours=1)
        return moment

    def _fits(self, moment: datetime) -> bool:
        return (
            (not self.hours or moment.hour in self.hours)
            and self.weekday in {None, moment.weekday()}
            and self.day in {None, moment.day}
        )


class Judged(NamedTuple):
    """What a job has found that somebody should look at, each as ``series: what``; nothing when all is well."""

    job: str
    alerts: tuple[str, ...]


class JobState(NamedTuple):
    """What is known of a job's runs; times are UTC, None for never."""

    name: str
    started_at: datetime | None = None
    ended_at: datetime | None = None
    status: str = ""
    said: str = ""
    failures: int = 0
    running: bool = False


def due(jobs: tuple[Job, ...], states: dict[str, JobState], since: datetime, now: datetime) -> list[Job]:
    """Return the jobs that are to be run now, the most important first.

    A job that was missed is run once, however often it was missed; one that has never run counts from ``since``.
    """
    found = []
    for job in jobs:
        state = states.get(job.name, JobState(job.name))
        begun = state.started_at or since
        if not state.running and job.last_due(now) > begun:
            found.append(job)
    return sorted(found, key=lambda job: -job.priority)

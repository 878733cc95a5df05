"""Jobs are due when the table says, once, and the more important first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from domain.errors import ConfigError, Rejected, Unavailable
from domain.schedule import JobState, due
from engine.schedule import Schedule
from history.jobs import JOBS, named

NOW = datetime(2026, 11, 21, 18, 30, tzinfo=UTC)  # a Saturday


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "last", "coming"),
    [
        ("collect", "2026-11-21 18:05", "2026-11-21 19:05"), ("update", "2026-11-21 02:00", "2026-11-22 02:00"),
        ("fill-gaps", "2026-11-21 03:00", "2026-11-22 03:00"), ("quality", "2026-11-21 18:00", "2026-11-22 00:00"),
        ("validate", "2026-11-15 03:00", "2026-11-22 03:00"), ("consolidate", "2026-11-01 04:00", "2026-12-01 04:00"),
        ("retention", "2026-11-01 04:00", "2026-12-01 04:00"),
    ],
)  # fmt: skip
def test_the_table_says_when(name, last, coming):
    job = named(name)
    assert job.last_due(NOW) == at(last)
    assert job.next_due(NOW) == at(coming)
    assert job.next_due(at(last) - timedelta(seconds=1)) == at(last)
    assert job.last_due(at(coming)) == at(coming)


def test_nothing_is_due_at_a_first_start_and_everything_at_its_time():
    assert due(JOBS, {}, NOW, NOW) == []
    assert [job.name for job in due(JOBS, {}, NOW, at("2026-12-01 04:30"))] == [
        "collect", "update", "fill-gaps", "validate", "consolidate", "quality", "retention"
    ]  # fmt: skip


def test_what_was_missed_for_days_is_done_once():
    states = {job.name: JobState(job.name, NOW - timedelta(days=40)) for job in JOBS}
    assert {job.name for job in due(JOBS, states, NOW, NOW)} == {job.name for job in JOBS}
    states = {job.name: JobState(job.name, NOW) for job in JOBS}
    assert due(JOBS, states, NOW, NOW) == []


def test_what_runs_elsewhere_is_not_begun():
    states = {"collect": JobState("collect", NOW - timedelta(hours=2), running=True)}
    assert "collect" not in {job.name for job in due(JOBS, states, NOW, NOW)}


class Direct:
    async def call(self, function):
        return function()


class Book:
    def __init__(self):
        self.held, self.away = {}, None

    def states(self):
        if self.away is not None:
            raise self.away
        return self.held


@pytest.mark.parametrize("error", [Unavailable("away"), Rejected("no such table"), ConfigError("refused us")])
async def test_the_schedule_does_each_once_and_a_failure_waits_for_the_next_time(error):
    """Found by dropping the database under a running bot: it left, because its jobs could not be looked up."""
    book, done, clock = Book(), [], [NOW]

    async def do(job):
        done.append(job.name)
        if job.name == "collect":
            raise error
        book.held[job.name] = JobState(job.name, clock[0])
        return "COMPLETED"

    schedule = Schedule(JOBS, book, Direct(), do, lambda: clock[0])
    await schedule.look()
    assert done == []
    clock[0] = at("2026-11-21 19:06")
    await schedule.look()
    await schedule.look()
    assert done == ["collect"]
    clock[0] = at("2026-11-22 00:06")
    book.away = error
    await schedule.look()
    assert done == ["collect"]
    book.away = None
    await schedule.look()
    await schedule.look()
    assert done == ["collect", "collect", "quality"]

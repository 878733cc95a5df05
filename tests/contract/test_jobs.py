"""No job runs twice at once, on whatever machines, and none is lost with the machine that ran it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from history.jobs import named
from persistence.database import Database
from persistence.jobs import JobBook

COLLECT = named("collect")


@pytest.fixture
def database(database_url):
    held = Database(database_url)
    held.migrate()
    yield held
    held.close()


def test_of_many_that_would_begin_a_job_one_does(database):
    won = []
    books = [JobBook(database, f"machine {n}") for n in range(6)]
    threads = [threading.Thread(target=lambda b=book: won.append(b.claim(COLLECT))) for book in books]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 5 + [True]


def test_a_job_can_begin_again_once_it_has_ended(database):
    book, other = JobBook(database, "one"), JobBook(database, "other")
    assert book.claim(COLLECT)
    assert other.states()["collect"].running
    assert not other.claim(COLLECT)
    book.finish(COLLECT, "FAILED", "no answer")
    state = other.states()["collect"]
    assert (state.status, state.said, state.failures, state.running) == ("FAILED", "no answer", 1, False)
    assert other.claim(COLLECT)
    other.finish(COLLECT, "COMPLETED", "")
    assert book.states()["collect"].failures == 0


def test_a_job_whose_machine_died_can_begin_again_after_its_limit(database):
    assert JobBook(database, "dead").claim(COLLECT)
    with database.transaction() as connection:
        connection.execute(
            sa.text("UPDATE jobs SET until = :past").bindparams(sa.bindparam("past", datetime(2020, 1, 1, tzinfo=UTC)))
        )
    survivor = JobBook(database, "alive")
    lost = survivor.states()["collect"]
    assert (lost.running, lost.status, lost.failures, "dead" in lost.said) == (False, "LOST", 1, True)
    assert survivor.claim(COLLECT)
    assert survivor.states()["collect"].failures == 1, "it counts as a failure until it is done"


def test_who_has_lost_a_job_cannot_end_it(database):
    late, now = JobBook(database, "late"), JobBook(database, "now")
    late.claim(COLLECT)
    with database.transaction() as connection:
        connection.execute(
            sa.text("UPDATE jobs SET until = :past").bindparams(sa.bindparam("past", datetime(2020, 1, 1, tzinfo=UTC)))
        )
    now.claim(COLLECT)
    late.finish(COLLECT, "FAILED", "too late")
    assert now.states()["collect"].running

"""Jobs in parts: each is done once, none is lost with its worker, and what is not done in time is told by name."""

from __future__ import annotations

import datetime as dt
import threading

import pytest
import sqlalchemy as sa

from domain.candle import Series
from domain.coverage import Span
from domain.job_parts import BARS_MAX, SERIES_MAX, Part, PartOutcome, cut
from domain.source import Source
from history.backfill import Backfilled
from history.chain import Filled
from history.jobs import named
from persistence import jobs as jobs_module
from persistence.database import Database
from persistence.job_parts import ATTEMPTS_MAX, JobParts
from persistence.jobs import JobBook
from workers.part_worker import outcome_of

COLLECT = named("collect")
PAST = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
NAMES = ("A/USDT:USDT", "B/USDT:USDT", "C/USDT:USDT")
DAY = 86_400_000


@pytest.fixture
def database(database_url):
    held = Database(database_url)
    held.migrate()
    yield held
    held.close()


def part(*names: str) -> Part:
    return Part("collect", (Source.BINANCE,), tuple((name, "15m", 0, DAY) for name in names or NAMES))


def begun(database, *parts: Part) -> JobParts:
    book = JobParts(database, "one")
    assert book.begin(COLLECT, "run", parts or [part()])
    return book


def passes(database, table: str, column: str) -> None:
    """Let a moment that the database keeps be long past."""
    with database.transaction() as connection:
        change = sa.text(f"UPDATE {table} SET {column} = :past").bindparams(sa.bindparam("past", PAST))
        connection.execute(change)


def state(database):
    return JobBook(database, "looker").states()["collect"]


def test_of_many_workers_each_gets_a_part_of_its_own(database):
    begun(database, *(part(f"{n}/USDT") for n in range(4)))
    taken = []
    workers = [JobParts(database, f"worker {n}") for n in range(6)]
    threads = [threading.Thread(target=lambda w=worker: taken.append(w.take("collect"))) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.number for one in taken if one) == [0, 1, 2, 3]


def test_a_job_ends_once_with_the_sums_of_its_parts(database):
    book = begun(database, part("A/USDT"), part("B/USDT", "C/USDT"))
    book.finish(book.take("collect"), PartOutcome("COMPLETED", records=7))
    assert book.close() == []
    book.finish(book.take("collect"), PartOutcome("PARTIAL", "C/USDT 15m: no such market", failed=1, records=4))
    assert book.take("collect") is None
    (ended,) = book.close()
    assert ended == ("collect", "PARTIAL", "3 series, 1 failed, 11 records; C/USDT 15m: no such market")
    assert book.close() == []
    assert (state(database).status, state(database).running) == ("PARTIAL", False)


def test_what_a_dead_worker_had_is_taken_again_and_its_late_word_does_not_count(database):
    book, other = begun(database), JobParts(database, "other")
    dead = book.take("collect")
    assert other.take("collect") is None
    passes(database, "job_parts", "until")
    again = other.take("collect")
    assert (again.number, again.attempt) == (dead.number, 2)
    assert not book.renew(dead, 1, 2)
    book.finish(dead, PartOutcome("FAILED", "too late"))
    assert other.renew(again, 1, 2)
    assert other.progress("collect")[:3] == ({"RUNNING": 1}, 1, 2)
    other.finish(again, PartOutcome("COMPLETED"))
    assert [one.status for one in other.close()] == ["COMPLETED"]


def test_what_nobody_answered_for_is_tried_again_later_and_only_that(database):
    book = begun(database)
    left = part("B/USDT:USDT")
    book.finish(book.take("collect"), PartOutcome("COMPLETED", "B/USDT:USDT 15m: binance is away", left, records=2))
    assert book.take("collect") is None, "it waits"
    assert (book.close(), state(database).running) == ([], True)
    passes(database, "job_parts", "due_at")
    again = book.take("collect")
    assert again.part == left
    book.finish(again, PartOutcome("COMPLETED", records=1))
    assert [one.said for one in book.close()] == ["3 series, 0 failed, 3 records"]


def test_attempts_end_with_the_reason(database):
    book = begun(database)
    for _ in range(ATTEMPTS_MAX):
        passes(database, "job_parts", "due_at")
        book.finish(book.take("collect"), PartOutcome("COMPLETED", "A/USDT:USDT 15m: away", part("A/USDT:USDT")))
    assert [(one.status, one.said) for one in book.close()] == [
        ("PARTIAL", "3 series, 1 failed, 0 records; A/USDT:USDT 15m: away")
    ]


def test_a_part_that_ends_each_worker_is_given_up(database):
    book = begun(database)
    for _ in range(ATTEMPTS_MAX):
        assert book.take("collect") is not None
        passes(database, "job_parts", "until")
    assert book.take("collect") is None
    (ended,) = book.close()
    assert (ended.status, f"each of {ATTEMPTS_MAX} workers ended" in ended.said) == ("FAILED", True)


@pytest.mark.parametrize(("said", "status"), [("", "LOST"), ("binance is away", "FAILED")])
def test_a_job_past_its_time_is_ended_with_what_is_missing(database, said, status):
    book = begun(database, part("A/USDT:USDT"), part("B/USDT:USDT", "C/USDT:USDT"))
    book.finish(book.take("collect"), PartOutcome("COMPLETED", records=1))
    if said:
        book.finish(book.take("collect"), PartOutcome("COMPLETED", said, part("C/USDT:USDT")))
    passes(database, "jobs", "until")
    assert state(database).status == "LOST", "said even before anybody has ended it"
    assert book.take("collect") is None
    (ended,) = book.close()
    assert ended.status == status
    assert "C/USDT:USDT 15m" in ended.said
    assert "A/USDT:USDT" not in ended.said
    assert said in ended.said
    assert (state(database).status, state(database).failures) == (status, 1)
    assert book.begin(COLLECT, "next", [part()])


def test_a_job_in_somebodys_own_process_is_lost_with_it(database):
    JobBook(database, "host:7").claim(COLLECT)
    assert JobParts(database, "looker").close() == []
    passes(database, "jobs", "until")
    (ended,) = JobParts(database, "looker").close()
    assert (ended.status, "host:7" in ended.said) == ("LOST", True)


def test_the_databases_clock_decides(postgres_url, monkeypatch):
    database = Database(postgres_url)
    database.migrate()
    assert JobBook(database, "one").claim(COLLECT)

    class Ahead(dt.datetime):
        @classmethod
        def now(cls, tz=None):
            return super().now(tz) + dt.timedelta(hours=5)

    monkeypatch.setattr(jobs_module, "datetime", Ahead)
    assert not JobBook(database, "a host whose clock is five hours ahead").claim(COLLECT)
    database.close()


def test_a_backlog_is_counted(database):
    book = begun(database, part("A/USDT"), part("B/USDT"))
    book.take("collect")
    waiting, running, oldest_s = book.backlog()
    assert (waiting, running) == (1, 1)
    assert oldest_s >= 0
    assert book.takeable() == {"collect": 1}


def test_parts_hold_so_many_series_and_so_many_bars():
    wanted = {Series(f"S{n:03}/USDT", "15m"): Span(0, DAY) for n in range(100)}
    parts = cut("update", [Source.BINANCE], wanted, DAY)
    assert [len(one.series) for one in parts] == [SERIES_MAX, SERIES_MAX, 100 - 2 * SERIES_MAX]
    assert {series: span for one in parts for series, span in one.wanted.items()} == wanted
    long = {Series(f"S{n}/USDT", "1m"): Span(0, 2**62) for n in range(3)}
    assert len(cut("update", [Source.BINANCE], long, BARS_MAX * 60_000)) == 3, "each more than a part should hold"
    assert len(cut("update", [Source.BINANCE], long, 1_000 * 60_000)) == 1


def test_what_did_not_answer_is_tried_again_and_what_refused_is_not():
    away, none, whole, gap = (Series(name, "15m") for name in ("AWAY/USDT", "NONE/USDT", "A/USDT", "GAP/USDT"))
    span = Span(0, DAY)
    done = Backfilled(
        [Filled(whole, span, used={"binance": 9}), Filled(gap, span, lacking=[span], errors=["503"])],
        {away: "the database is away", none: "no such market"}, {away},
    )  # fmt: skip
    asked = Part("update", (Source.BINANCE,), tuple((*one, *span) for one in (away, none, whole, gap)))
    outcome = outcome_of(asked, done)
    assert outcome.left.wanted == {away: span, gap: span}
    assert (outcome.failed, outcome.records, outcome.status) == (1, 9, "PARTIAL")
    assert "NONE/USDT 15m: no such market" in outcome.said
    assert "GAP/USDT 15m: 503" in outcome.said

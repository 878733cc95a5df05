"""The training process: takes a job on standard input, tells its progress and then its result on standard output."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from threadpoolctl import threadpool_limits

from domain.errors import BadData, RevenantError
from domain.training_run import FAILED
from ml import envelope, training
from ml.features import NAMES, SCHEMA
from ml.job import Job, Outcome, Step
from ml.scorer import Scorer
from persistence.database import Database
from persistence.lessons import LessonBook
from persistence.past_lessons import PastLessons

if TYPE_CHECKING:
    from domain.lesson import Lessons

NICE = 10


def train(job: Job, progress: training.Progress) -> Outcome:
    """Do a job.

    Raises:
        RevenantError: when the lessons cannot be read.
    """
    started, now_ms, terms = time.monotonic(), int(time.time() * 1000), job.terms
    database = Database(job.database)
    try:
        lessons = LessonBook(database, terms.source, NAMES, SCHEMA).load(terms.strategy, job.lessons_max)
    finally:
        database.close()
    lessons, unread = _with_past(lessons, job)
    current = None
    if job.current:
        try:
            model = envelope.unseal(job.current, job.key, strategy=terms.strategy, source=terms.source, now_ms=now_ms)
            current = Scorer(model)
        except BadData:
            current = None
    result = training.train(lessons, terms, now_ms, current, progress)
    if unread:
        result.report["past_unread"] = unread
    blob = envelope.seal(result.model, job.key) if result.model is not None else b""
    run_id = result.model.run_id if result.model is not None else ""
    return Outcome(result.verdict, result.reason, result.report, time.monotonic() - started, blob, run_id)


def _with_past(lessons: Lessons, job: Job) -> tuple[Lessons, str]:
    """Return lessons with those of the past before them, and why these could not be read if they could not."""
    if not job.past or not job.terms.past_weight:
        return lessons, ""
    try:
        past = PastLessons(Path(job.past), SCHEMA).load()
    except BadData as error:
        return lessons, str(error)
    return (lessons.after(past[-job.lessons_max :]) if past is not None else lessons), ""


def main() -> None:
    """Read a job, do it, tell the outcome; every line of output is one JSON message."""
    os.nice(NICE)
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    try:
        with threadpool_limits(1):
            outcome = train(job, lambda done, of, what: _tell(Step(done, of, what)))
    except RevenantError as error:
        outcome = Outcome(FAILED, str(error), {})
    _tell(outcome)


def _tell(message: Step | Outcome) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()

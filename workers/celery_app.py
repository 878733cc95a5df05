"""The table of regular jobs as Celery tasks: one per series, so that several machines share the work."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from celery import Celery, chord
from celery.schedules import crontab

from app import jobs
from bootstrap.history import History
from domain.candle import Series
from domain.coverage import Span
from domain.errors import ConfigError, RevenantError, Unavailable
from history.jobs import JOBS, named
from persistence.jobs import JobBook
from workers.shared_trial import work_off

if TYPE_CHECKING:
    from domain.schedule import Job
    from settings import Settings

RETRIES = 3
LOWEST = 9
WEEKDAYS = "1,2,3,4,5,6,0"


def make_app(settings: Settings) -> Celery:
    """Return the Celery program.

    Raises:
        ConfigError: without a Redis to hand tasks around, or for a source that has no history to fetch.
    """
    redis = settings.redis_address
    if not redis:
        raise ConfigError("REDIS_URL: Celery hands tasks around through Redis; give one, or let the bot do the jobs")
    app = Celery("revenant", broker=redis, backend=redis)
    app.conf.update(
        timezone="UTC", enable_utc=True, task_default_queue="revenant", task_acks_late=True,
        worker_prefetch_multiplier=1, task_reject_on_worker_lost=True, result_expires=86_400,
        broker_connection_retry_on_startup=True,
        # Redis knows no priorities; kombu makes a queue of each, and 0 is its most important
        broker_transport_options={"priority_steps": list(range(LOWEST + 1)), "queue_order_strategy": "priority"},
        beat_schedule_filename=str(settings.data_dir / "celerybeat-schedule"),
        beat_schedule={
            job.name: {
                "task": "revenant.job", "args": (job.name,), "schedule": _crontab(job),
                "options": {"priority": _priority(job), "expires": job.limit_s},
            }
            for job in JOBS
        },
    )  # fmt: skip
    _register(app, settings)
    return app


def _register(app: Celery, settings: Settings) -> None:
    @app.task(name="revenant.series", bind=True, max_retries=RETRIES)
    def series(task: Any, kind: str, symbol: str, timeframe: str, start: int, end: int) -> dict[str, Any]:
        """Fill one series; tried again, later and later, while nobody answers."""
        order = list(settings.history.chain)
        try:
            with History(settings) as history:
                done = asyncio.run(history.fill(order, {Series(symbol, timeframe): Span(start, end)}, kind))
        except Unavailable as error:
            raise task.retry(exc=error, countdown=2 ** (task.request.retries + 2)) from error
        return done.statistics

    @app.task(name="revenant.trial")
    def trial(sections: dict[str, Any], request: dict[str, Any], values: dict[str, str], bars: str) -> dict[str, Any]:
        """Try one combination of a sweep."""
        return work_off(settings, sections, request, values, bars)

    @app.task(name="revenant.finish")
    def finish(results: list[dict[str, Any]], name: str, owner: str) -> str:
        """Keep how a job ended, once all its series have been tried."""
        job = _job(name)
        failed = sum(one["failed"] for one in results)
        records = sum(one["total_records"] for one in results)
        status = "COMPLETED" if not failed else "PARTIAL" if failed < len(results) else "FAILED"
        said = f"{len(results)} series, {failed} failed, {records} records"
        with History(settings) as history:
            JobBook(history.database, owner).finish(job, status, said)
        return f"{status}: {said}"

    @app.task(name="revenant.job", bind=True)
    def job(task: Any, name: str) -> str:
        """Begin a job unless somebody is doing it: one task per series, and one that ends it."""
        found, owner = _job(name), f"celery:{task.request.id}"
        if not found.network or settings.source.practice:
            done = jobs.do(settings, found)
            return f"{done.status}: {done.said}"
        with History(settings) as history:
            book = JobBook(history.database, owner)
            if not book.claim(found):
                return "SKIPPED: somebody else is doing it"
            try:
                wanted, window = jobs.kept_series(history), jobs.window_of(found, jobs.now_ms())
                if not wanted:
                    book.finish(found, "SKIPPED", "no series is kept")
                    return "SKIPPED: no series is kept"
                each = [series.s(name, *one, *window).set(priority=_priority(found)) for one in wanted]
                chord(each)(finish.s(name, owner))
            except RevenantError as error:
                book.finish(found, "FAILED", str(error))
                raise
            return f"begun: {len(each)} series"


def _job(name: str) -> Job:
    found = named(name)
    if found is None:
        raise ConfigError(f"job {name}: there is none; there are {', '.join(job.name for job in JOBS)}")
    return found


def _priority(job: Job) -> int:
    return LOWEST - job.priority


def _crontab(job: Job) -> crontab:
    return crontab(
        minute=str(job.minute),
        hour=",".join(map(str, job.hours)) or "*",
        day_of_week="*" if job.weekday is None else WEEKDAYS.split(",")[job.weekday],
        day_of_month="*" if job.day is None else str(job.day),
    )

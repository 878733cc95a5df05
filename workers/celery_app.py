"""The table of regular jobs on Celery: parts of many series each, so that several machines share the work."""

from __future__ import annotations

import contextlib
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import structlog
from celery import Celery, signals
from kombu.exceptions import OperationalError

from app import jobs
from bootstrap import parts
from bootstrap.history import History
from domain.errors import ConfigError, RevenantError, Unavailable
from domain.job_parts import Part, cut
from domain.schedule import due
from history.jobs import JOBS, named
from persistence.cluster_state import LOWEST, QUEUE, QUEUES, ClusterState
from persistence.job_parts import JobParts
from persistence.jobs import JobBook
from workers.beat import TICK, OneBeat
from workers.part_worker import PartWorker
from workers.shared_trial import work_off

if TYPE_CHECKING:
    from domain.schedule import Job
    from settings import Settings

log = structlog.get_logger(__name__)

PART, BEGIN, TRIAL = "revenant.part", "revenant.job", "revenant.trial"
RETRIES, RETRY_MAX_S = 8, 60
"""While the database is away, a task is tried again for some minutes; after that, the next tick does it."""
VISIBILITY_S = 600
"""What a dead worker had is handed out again after so long; parts do not wait for it: the next tick takes them up."""
WIDTH = 32
"""Tasks of one job that wait at a time: each that is done sends the next."""
SIGN_S = 15.0
PING_S = 3.0
NEVER_RUN = timedelta(hours=1)
"""A job that has never run is begun when it was due so recently: a new cluster does not begin with all jobs at once."""


def make_app(settings: Settings) -> Celery:
    """Return the Celery program.

    Raises:
        ConfigError: without a Redis to hand tasks around, or for a source that has no history to fetch.
    """
    redis = settings.redis_address
    held = parts.keyvalue(settings)
    if held is None:
        raise ConfigError("REDIS_URL: Celery hands tasks around through Redis; give one, or let the bot do the jobs")
    app = Celery("revenant", broker=redis, backend=redis)
    app.cluster_state = ClusterState(held)
    app.conf.update(
        timezone="UTC", enable_utc=True, task_default_queue=QUEUE, task_acks_late=True,
        worker_prefetch_multiplier=1, task_reject_on_worker_lost=True, result_expires=86_400,
        broker_connection_retry_on_startup=True,
        # Redis knows no priorities; kombu makes a queue of each, and 0 is its most important
        broker_transport_options={
            "priority_steps": list(range(LOWEST + 1)), "queue_order_strategy": "priority",
            "visibility_timeout": VISIBILITY_S,
        },
        beat_scheduler=f"{OneBeat.__module__}:{OneBeat.__qualname__}",
    )  # fmt: skip
    _register(app, settings)
    return app


def _register(app: Celery, settings: Settings) -> None:
    worker = PartWorker(settings)
    signals.worker_process_shutdown.connect(lambda **_: worker.close(), weak=False)
    again = {
        "autoretry_for": (Unavailable,), "max_retries": RETRIES, "retry_backoff": 2, "retry_backoff_max": RETRY_MAX_S,
        "retry_jitter": True,
    }  # fmt: skip

    @app.task(name=PART, ignore_result=True, **again)
    def part(name: str) -> None:
        """Do a part of a job, if there is one to take, and have the next one taken."""
        said = worker.work(name)
        if said:
            log.info("part done", said=said)
            app.send_task(PART, (name,), priority=priority_of(name))

    @app.task(name=TRIAL)
    def trial(sections: dict[str, Any], request: dict[str, Any], values: dict[str, str], bars: str) -> dict[str, Any]:
        """Try one combination of a sweep."""
        return work_off(settings, sections, request, values, bars)

    @app.task(name=BEGIN, **again)
    def job(name: str) -> str:
        """Begin a job unless somebody is doing it."""
        found = named(name)
        if found is None:
            raise ConfigError(f"job {name}: there is none; there are {', '.join(job.name for job in JOBS)}")
        with History(settings) as history:
            return begin(app, history, found)

    @app.task(name=TICK, ignore_result=True, **again)
    def tick() -> None:
        """Look what is due, what was left behind, and what is over."""
        app.cluster_state.tick_begun()
        with History(settings) as history:
            look(app, history)


def look(app: Celery, history: History) -> None:
    """Begin what is due by the database's clock, and tend what is begun.

    Raises:
        Unavailable: when the database or Redis is away.
    """
    tend(app, history)
    JobParts(history.database, "").forget()
    states = JobBook(history.database, "")
    now = states.now()
    for found in due(JOBS, states.states(), now - NEVER_RUN, now):
        try:
            log.info("job due", job=found.name, result=begin(app, history, found))
        except Unavailable:
            raise
        except RevenantError as error:
            log.warning("job failed", job=found.name, reason=str(error))


def tend(app: Celery, history: History) -> None:
    """End what is over, and have taken what nobody takes, as if nobody had been asked yet. Raises Unavailable."""
    book = JobParts(history.database, "")
    for ended in book.close():
        log.warning("job ended", **ended._asdict())
    room = WIDTH - app.cluster_state.queued(QUEUES)
    for name, count in book.takeable().items():
        _hand_out(app, name, min(count, room))


def begin(app: Celery, history: History, job: Job) -> str:
    """Begin a job in parts, unless somebody is doing it, and say so. Raises Unavailable."""
    settings = history.settings
    made = [Part(job.name)]
    if job.network and not settings.source.practice:
        now = int(JobBook(history.database, "").now().timestamp() * 1000)
        wanted = dict.fromkeys(jobs.kept_series(history), jobs.window_of(job, now))
        made = cut(job.name, settings.history.chain, wanted, now) or made
    return share_out(app, history, job, made)


def share_out(app: Celery, history: History, job: Job, made: list[Part]) -> str:
    """Have workers do the parts of a job, unless somebody is doing it, and say so. Raises Unavailable."""
    book = JobParts(history.database, "")
    if not book.begin(job, f"celery:{uuid4().hex}", made):
        return "SKIPPED: somebody else is doing it"
    _hand_out(app, job.name, min(len(made), WIDTH))
    return f"begun: {sum(len(one.series) for one in made)} series in {len(made)} parts"


def priority_of(name: str) -> int:
    """Return the priority of a job's tasks as Celery's Redis has it: 0 is the most important."""
    found = named(name)
    return LOWEST - found.priority if found is not None else LOWEST


def answered(app: Celery) -> bool:
    """Return whether a worker answers. Raises Unavailable when Redis does not."""
    try:
        return bool(app.control.ping(timeout=PING_S))
    except OperationalError as error:
        raise Unavailable(f"Redis: {error}") from error


def _hand_out(app: Celery, name: str, count: int) -> None:
    try:
        for _ in range(count):
            app.send_task(PART, (name,), priority=priority_of(name))
    except OperationalError as error:
        raise Unavailable(f"Redis: {error}") from error


def leave_signs(app: Celery) -> None:
    """Have a worker of this program leave signs of life in Redis, as its heart beats."""
    state: ClusterState = app.cluster_state
    processes, last = [0], [0.0]

    def begins(instance: Any, **_: object) -> None:
        processes[0] = int(instance.concurrency or 1)

    def beats(sender: Any, **_: object) -> None:
        if time.monotonic() - last[0] >= SIGN_S:
            last[0] = time.monotonic()
            with contextlib.suppress(RevenantError):
                state.sign(sender.eventer.hostname, processes[0])

    def ends(sender: Any, **_: object) -> None:
        with contextlib.suppress(RevenantError):
            state.leave(sender.hostname)

    signals.celeryd_after_setup.connect(begins, weak=False)
    signals.heartbeat_sent.connect(beats, weak=False)
    signals.worker_shutdown.connect(ends, weak=False)

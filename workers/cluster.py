"""Trials of a sweep on Celery workers, for several machines: the same settings everywhere, and the same bars."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import msgspec
import structlog
from celery.exceptions import CeleryError
from kombu.exceptions import OperationalError

from app.backtest import SHOWN
from app.sweep import Trial
from domain.errors import ConfigError, RevenantError
from persistence.cluster_state import QUEUES
from workers.celery_app import PING_S, TRIAL, answered, make_app
from workers.shared_trial import seen

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from celery import Celery
    from celery.result import AsyncResult

    from app.backtest import Request
    from settings import Settings

log = structlog.get_logger(__name__)

Away = tuple[type[Exception], ...]

AT_ONCE, LONGEST_S, LOOK_S = 64, 3_600.0, 0.2
MISSED_MAX = 2
"""How many looks in a row may miss a trial before it counts as lost: between queue and worker nobody has it."""
SENT_MAX = 4
"""How often a trial is sent: one that ends each worker it comes to is told as failed."""
CENSUS_S = 5.0


class Cluster:
    """Hands trials to the workers that listen, and takes back what nobody waits for any more.

    A trial that was with a worker that is gone, or in a Redis that forgot it, is sent again; one that comes to nothing
    is told as failed, and takes no finished one with it.

    Raises, when it is entered:
        ConfigError: when there is no Redis, or no worker answers.
    """

    def __init__(self, settings: Settings) -> None:
        self._app = make_app(settings)
        self._threads = concurrent.futures.ThreadPoolExecutor(AT_ONCE)
        self._left = threading.Event()
        self._seen: dict[Request, str] = {}
        self._census = Census(self._app)
        self._away: Away = away(self._app)

    def __enter__(self) -> Self:
        if not answered(self._app):
            raise ConfigError("sweep: no Celery worker answers; start one on each machine: celery -A worker worker")
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._threads.shutdown(cancel_futures=True)

    def submit(self, settings: Settings, request: Request, values: dict[str, str]) -> Future[Trial]:
        """Have somebody try one combination."""
        if request not in self._seen:
            self._seen[request] = seen(settings, request)
        return self._threads.submit(self._attempt, settings, request, values, self._seen[request])

    def _attempt(self, settings: Settings, request: Request, values: dict[str, str], bars: str) -> Trial:
        sections = settings.model_dump(mode="json", include=set(SHOWN))
        asked = (sections, msgspec.to_builtins(request), values, bars)
        deadline, why = time.monotonic() + LONGEST_S, ""
        for _ in range(SENT_MAX):
            try:
                sent = self._app.send_task(TRIAL, asked, expires=LONGEST_S)
                if self._done(sent, deadline):
                    result = sent.get(disable_sync_subtasks=False, propagate=False)
                    if sent.successful():
                        return msgspec.convert(result, Trial)
                    why = f": {result}"
            except (CeleryError, RevenantError, *self._away) as error:
                why = f": {error}"
            if self._left.is_set() or time.monotonic() > deadline:
                why = "" if self._left.is_set() else f" within {LONGEST_S:.0f} s{why}"
                break
        return Trial(values, request.span, error=f"the workers did not do this trial{why}")

    def _done(self, sent: AsyncResult, deadline: float) -> bool:
        """Wait for a trial; False when it is lost, or nobody waits for it any more."""
        missed, census = 0, self._census.number
        while not self._ready(sent):
            if time.monotonic() > deadline or self._left.wait(LOOK_S):
                sent.revoke()
                return False
            number, known = self._census.look()
            if number != census:
                missed, census = (missed + 1 if sent.id not in known else 0), number
            if missed > MISSED_MAX:
                # whoever has it still, unseen, need not finish it
                sent.revoke()
                return self._ready(sent)
        return True

    def _ready(self, sent: AsyncResult) -> bool:
        try:
            return bool(sent.ready())
        except self._away:
            # Redis restarts, and may have kept the result
            return False


def away(app: Celery) -> Away:
    """Return the errors by which Celery's broker and store of results say that they do not answer."""
    return (OSError, OperationalError, *app.backend.connection_errors)


class Census:
    """Which trials are with workers or wait in Redis, asked at most every few seconds for all who want to know."""

    def __init__(self, app: Celery, now: Callable[[], float] = time.monotonic) -> None:
        self._app, self._now = app, now
        self._unknown: Away = (RevenantError, *away(app))
        self._lock = threading.Lock()
        self._at, self._known = now(), set[str]()
        self.number = 0

    def look(self) -> tuple[int, set[str]]:
        """Return the number of the newest census, and the tasks that it found; one that failed does not count."""
        with self._lock:
            if self._now() - self._at >= CENSUS_S:
                try:
                    self._known, self.number = self._taken(), self.number + 1
                except self._unknown as error:
                    log.warning("nobody knows which trials are being done", reason=str(error))
                self._at = self._now()
            return self.number, self._known

    def _taken(self) -> set[str]:
        # first what waits: what a worker takes between the two looks is seen with it
        waiting: set[str] = self._app.cluster_state.tasks(QUEUES)
        inspected = self._app.control.inspect(timeout=PING_S)
        held: list[dict[str, Any]] = [
            task
            for told in (inspected.active(), inspected.reserved())
            for tasks in (told or {}).values()
            for task in tasks
        ]
        return waiting | {task["id"] for task in held}

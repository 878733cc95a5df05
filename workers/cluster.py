"""Trials of a sweep on Celery workers, for several machines: the same settings everywhere, and the same bars."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from typing import TYPE_CHECKING, Self

import msgspec

from app.backtest import SHOWN
from app.sweep import Trial
from domain.errors import ConfigError, Unavailable
from workers.celery_app import make_app
from workers.shared_trial import seen

if TYPE_CHECKING:
    from concurrent.futures import Future

    from celery.result import AsyncResult

    from app.backtest import Request
    from settings import Settings

TASK = "revenant.trial"
AT_ONCE, LONGEST_S, LOOK_S, PING_S = 64, 3_600.0, 0.2, 3.0


class Cluster:
    """Hands trials to the workers that listen, and takes back what nobody waits for any more.

    Raises, when it is entered:
        ConfigError: when there is no Redis, or no worker answers.
    """

    def __init__(self, settings: Settings) -> None:
        self._app = make_app(settings)
        self._threads = concurrent.futures.ThreadPoolExecutor(AT_ONCE)
        self._left = threading.Event()
        self._seen: dict[Request, str] = {}

    def __enter__(self) -> Self:
        if not self._app.control.ping(timeout=PING_S):
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
        sent = self._app.send_task(TASK, asked, expires=LONGEST_S)
        self._wait(sent)
        return msgspec.convert(sent.get(disable_sync_subtasks=False), Trial)

    def _wait(self, sent: AsyncResult) -> None:
        deadline = time.monotonic() + LONGEST_S
        while not sent.ready():
            late = time.monotonic() > deadline
            if late or self._left.wait(LOOK_S):
                sent.revoke()
                raise Unavailable(f"sweep: a trial was not done within {LONGEST_S:.0f} s" if late else "sweep: ended")

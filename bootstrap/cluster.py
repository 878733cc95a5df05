"""Trials of a sweep on Celery workers, for several machines: the same settings everywhere, and the same bars."""

from __future__ import annotations

import concurrent.futures
import hashlib
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import msgspec

from bootstrap.backtest import SHOWN, Request
from bootstrap.celery_app import make_app
from bootstrap.history import History
from bootstrap.sweep import Trial, attempt
from domain.errors import ConfigError, Unavailable
from settings import with_sections

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future

    from celery.result import AsyncResult

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

    def __enter__(self) -> Self:
        if not self._app.control.ping(timeout=PING_S):
            raise ConfigError(
                "sweep: no Celery worker answers; start one on each machine: celery -A worker worker"
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._threads.shutdown(cancel_futures=True)

    def submit(self, settings: Settings, request: Request, values: dict[str, str]) -> Future[Trial]:
        """Have somebody try one combination."""
        return self._threads.submit(self._attempt, settings, request, values)

    def _attempt(self, settings: Settings, request: Request, values: dict[str, str]) -> Trial:
        sections = settings.model_dump(mode="json", include=set(SHOWN))
        asked = (sections, msgspec.to_builtins(request), values, seen(settings, request))
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


def work_off(
    settings: Settings, sections: Mapping[str, Any], request: dict[str, Any], values: dict[str, str], bars: str
) -> dict[str, Any]:
    """Try one combination for somebody who sees the bars that ``bars`` is the digest of; return the trial."""
    asked = msgspec.convert(request, Request)
    if seen(settings, asked) != bars:
        wrong = "this worker's store holds other bars than that of who asked; give both the same DATABASE_URL"
        return dict(msgspec.to_builtins(Trial(values, asked.span, error=wrong)))
    return dict(msgspec.to_builtins(attempt(with_sections(settings, sections), asked, values)))


def seen(settings: Settings, request: Request) -> str:
    """Return a digest of the times of all bars that are stored for a request."""
    held = hashlib.blake2s(digest_size=16)
    with History(settings) as history:
        for entry in history.candles.entries(request.source):
            if entry.series.symbol in request.symbols:
                held.update(repr(entry.series).encode())
                held.update(history.candles.times(request.source, entry.series, request.span).tobytes())
    return held.hexdigest()

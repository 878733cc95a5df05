"""A download shared out to Celery workers on any machines: it goes on without whoever began it."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, NamedTuple

from bootstrap.history import History
from domain.durations import DAY_MS
from domain.errors import ConfigError, Unavailable
from domain.job_parts import cut
from domain.schedule import Job
from persistence.job_parts import DOWNLOAD, JobParts
from persistence.jobs import RUNNING, JobBook
from workers.celery_app import answered, make_app, share_out, tend

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from domain.candle import Series
    from domain.coverage import Span
    from domain.source import Source
    from persistence.job_parts import Progress
    from settings import Settings

LOOK_S, TEND_S = 1.0, 15.0
LIMIT_S = 14 * 86_400
PATIENCE_S = 600.0
"""How long a database or Redis may be away before whoever looks on gives up; the download goes on after it."""


class Outcome(NamedTuple):
    """How a download ended; ``job`` is what it is called in ``data jobs``."""

    job: str
    status: str
    said: str


def share(
    settings: Settings, order: Sequence[Source], wanted: Mapping[Series, Span], progress: Callable[[Progress], None]
) -> Outcome:
    """Have workers fetch what is missing of series, look on until they have, and say how it ended.

    The same download begun before is joined, wherever it was begun.

    Raises:
        ConfigError: without a Redis, or when no worker answers.
        Unavailable: when the database or Redis stays away.
    """
    app = make_app(settings)
    if not answered(app):
        raise ConfigError("download: no Celery worker answers; start one on each machine: celery -A worker worker")
    with History(settings) as history:
        book, parts = JobBook(history.database, ""), JobParts(history.database, "")
        now = int(book.now().timestamp() * 1000)
        job = Job(_name(order, wanted), 0, (), None, None, 0, network=True, limit_s=LIMIT_S, about="a download")
        share_out(app, history, job, cut("backfill", order, wanted, now))
        deadline, tended = time.monotonic() + PATIENCE_S, time.monotonic()
        while True:
            try:
                state = book.states()[job.name]
                if state.status != RUNNING:
                    return Outcome(job.name, state.status, state.said)
                progress(parts.progress(job.name))
                if time.monotonic() - tended > TEND_S:
                    # nobody need have a beat for it
                    tended = time.monotonic()
                    tend(app, history)
                deadline = time.monotonic() + PATIENCE_S
            except Unavailable:
                if time.monotonic() > deadline:
                    raise
            time.sleep(LOOK_S)


def _name(order: Sequence[Source], wanted: Mapping[Series, Span]) -> str:
    """Return a name that the same download has again: starts that are counted back from now differ by moments."""
    body = repr(
        (list(order), sorted((*series, span.start // DAY_MS, span.end // DAY_MS) for series, span in wanted.items()))
    )
    return DOWNLOAD + hashlib.blake2s(body.encode(), digest_size=5).hexdigest()

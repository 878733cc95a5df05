"""Does parts of jobs in a worker's process, all with one chain, one client of each exchange and one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import threading
import time
from typing import TYPE_CHECKING, TypeVar

import structlog

from app import jobs
from bootstrap.history import History
from domain.errors import RevenantError, Unavailable
from domain.job_parts import PartOutcome
from history.backfill import backfill
from history.jobs import named
from persistence.job_parts import LEASE_S, JobParts
from persistence.jobs import JobBook

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from domain.candle import Series
    from domain.job_parts import Part
    from history.backfill import Backfilled
    from history.chain import Chain
    from persistence.job_parts import Taken
    from settings import Settings

log = structlog.get_logger(__name__)

T = TypeVar("T")

CHAIN_S = 3_600.0
"""Markets come and go: after so long a chain is made anew, with what the exchange lists then."""
RENEW_S = LEASE_S / 6
KEEPING_S = 120.0
"""How long a worker tries to keep how a part ended; then somebody does the part again, which finds its bars there."""
SAID_MAX = 5


class PartWorker:
    """Does one part after the other; what it opens stays open for the next, and belongs to this process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._one_at_a_time = threading.Lock()
        self._runner: asyncio.Runner | None = None
        self._history: History | None = None
        self._chain: tuple[tuple[str, ...], float, Chain] | None = None

    def work(self, job: str) -> str:
        """Take a part of a job and do it; return what came of it, "" when there is none to take.

        Raises:
            Unavailable: when the database is away.
        """
        with self._one_at_a_time:
            history = self._opened()
            book = JobParts(history.database, self._name)
            taken = book.take(job)
            if taken is None:
                return ""
            outcome = self._outcome(history, book, taken)
            if outcome is None:
                return f"{job} {taken.number}: somebody else has it now"
            _kept(lambda: book.finish(taken, outcome))
            _kept(lambda: [log.info("job done", **ended._asdict()) for ended in book.close()])
            return f"{job} {taken.number}: {outcome.status} {outcome.said}"

    def close(self) -> None:
        """Close what the parts had in common."""
        with self._one_at_a_time:
            if self._runner is not None and self._chain is not None:
                self._runner.run(self._chain[2].close())
            if self._history is not None:
                self._history.close()
            if self._runner is not None:
                self._runner.close()
            self._chain = self._history = self._runner = None

    def _opened(self) -> History:
        if self._history is None:
            self._history, self._runner = History(self._settings), asyncio.Runner()
        return self._history

    def _outcome(self, history: History, book: JobParts, taken: Taken) -> PartOutcome | None:
        assert self._runner is not None
        count = _Count()
        lease = _Lease(book, taken, count)
        try:
            if not taken.part.series:
                return self._runner.run(lease.held(asyncio.to_thread(_whole, history, taken.job)))
            chain = self._chain_for(history, taken.part)
            done = self._runner.run(lease.held(backfill(chain, taken.part.wanted, count, kind=taken.part.kind)))
        except RevenantError as error:
            left = taken.part if isinstance(error, Unavailable) else None
            return PartOutcome("FAILED", str(error), left, 0 if left else len(taken.part.series))
        return outcome_of(taken.part, done) if done is not None else None

    def _chain_for(self, history: History, part: Part) -> Chain:
        assert self._runner is not None
        order, now = tuple(part.order), time.monotonic()
        if self._chain is not None and (self._chain[0] != order or now > self._chain[1]):
            self._runner.run(self._chain[2].close())
            self._chain = None
        if self._chain is None:
            # made anew at different times, or a source would be asked by everybody at once
            self._chain = order, now + CHAIN_S * random.uniform(0.8, 1.2), history.chain(order, _ahead_ms(history))  # noqa: S311  no secret
        return self._chain[2]


def _ahead_ms(history: History) -> int:
    """Return how far this host's clock is ahead of the database's, by which all workers go."""
    return int((time.time() - JobBook(history.database, "").now().timestamp()) * 1000)


class _Count:
    """Counts the bars of the series of a part that are done, for those who look on."""

    def __init__(self) -> None:
        self._series: dict[Series, tuple[int, int]] = {}

    def __call__(self, series: Series, _source: str, done: int, of: int) -> None:
        self._series[series] = done, of

    @property
    def totals(self) -> tuple[int, int]:
        """Bars done, and bars wanted."""
        return sum(done for done, _ in self._series.values()), sum(of for _, of in self._series.values())


class _Lease:
    """Leaves signs of life while something is done, and ends it when the part belongs to somebody else."""

    def __init__(self, book: JobParts, taken: Taken, count: _Count) -> None:
        self._book, self._taken, self._count = book, taken, count

    async def held(self, work: Awaitable[T]) -> T | None:
        """Return what came of the work, None when it was taken from us."""
        doing = asyncio.ensure_future(work)
        try:
            while True:
                done, _ = await asyncio.wait({doing}, timeout=RENEW_S)
                if done:
                    return doing.result()
                with contextlib.suppress(Unavailable):
                    if not await asyncio.to_thread(self._book.renew, self._taken, *self._count.totals):
                        return None
        finally:
            doing.cancel()
            await asyncio.wait({doing})


def outcome_of(part: Part, done: Backfilled) -> PartOutcome:
    """Return how filling a part's series ended, and which of them are worth another attempt."""
    unfinished = done.unfinished
    refused = {series: said for series, said in done.refused.items() if series not in unfinished}
    lacking = [one.series for one in done.results if not one.complete and one.series not in unfinished]
    reasons = [f"{one.symbol} {one.timeframe}: {said}" for one, said in [*refused.items(), *unfinished.items()]]
    failed = len(refused) + len(lacking)
    status = "COMPLETED" if not failed else "PARTIAL" if failed < len(part.series) else "FAILED"
    more = f" and {len(reasons) - SAID_MAX} more" if len(reasons) > SAID_MAX else ""
    left = part.only(list(unfinished)) if unfinished else None
    return PartOutcome(
        status, "; ".join(reasons[:SAID_MAX]) + more, left, failed, int(done.statistics["total_records"])
    )


def _whole(history: History, name: str) -> PartOutcome:
    job = named(name)
    if job is None:
        return PartOutcome("FAILED", f"job {name}: there is none in this version of the program")
    done = jobs.perform(history, job)
    for alert in done.alerts:
        log.warning("history needs attention", job=name, alert=alert)
    return PartOutcome(done.status, done.said)


def _kept(change: Callable[[], object]) -> None:
    """Make a change, as long as it takes the database to come back, within limits."""
    deadline, pause = time.monotonic() + KEEPING_S, 0.5
    while True:
        try:
            change()
        except Unavailable as error:
            if time.monotonic() > deadline:
                raise
            log.warning("the database does not answer; what a worker has done waits", reason=str(error))
            time.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311  no secret
            pause = min(10.0, pause * 2)
        else:
            return

"""Has each strategy's model trained, in another process, whenever there is enough new to learn from."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from domain.backoff import Backoff
from domain.errors import RevenantError
from domain.lesson import NOTHING, Counts
from domain.training_run import BY_HAND, DEMOTED, FAILED, TrainingRun

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from engine.threads import Tier

log = structlog.get_logger(__name__)

if TYPE_CHECKING:
    Progress = Callable[[int, int, str], object] | None
    Process = Callable[[bytes, Progress], Awaitable[Any]]

LOOK_S = 5.0
OPEN_S = 30.0
BEGIN_S = 1.0
HEAL_TURNS = 10
RETRY = Backoff(30.0, 1_800.0)


class School(Protocol):
    """What keeps the models. Synchronous, called on a thread."""

    @property
    def strategies(self) -> list[str]:
        """The strategies that are taught."""
        ...

    def terms(self, strategy: str) -> Any:
        """Return how a strategy is trained."""
        ...

    def counts(self) -> dict[str, Counts]:
        """Return how many lessons there are of each strategy."""
        ...

    def open(self, strategy: str) -> None:
        """Put the newest good model that was kept to use."""
        ...

    def job(self, strategy: str) -> bytes:
        """Return what the training process is to be told."""
        ...

    def settle(self, strategy: str, outcome: Any, *, by_hand: bool) -> TrainingRun:
        """Do what a training run has concluded, and keep the run; ``by_hand`` when somebody asked for it."""
        ...

    def heal(self) -> None:
        """Do what could not be done before."""
        ...

    def runs(self, strategy: str) -> list[TrainingRun]:
        """Return the newest runs, newest first."""
        ...

    def model(self, strategy: str) -> dict[str, Any] | None:
        """Return what is to be said of the model in use."""
        ...


@dataclass(slots=True)
class Pupil:
    """One strategy: its lessons, how many it had when training was last due, and how the last run ended."""

    counts: Counts = NOTHING
    trained_on: int | None = None
    last: TrainingRun | None = None
    failures: int = 0
    not_before: float = 0.0


class Learning:
    """Looks every few seconds whether a strategy has enough new lessons, and trains one at a time.

    ``process`` trains: given a job and whom to tell of progress, it returns the outcome. ``every`` lessons more than
    last time are enough new ones. ``ended`` counts the signals that have ended: while it stands still, nobody asks the
    database.
    """

    def __init__(
        self, school: School, tier: Tier, process: Process, *, every: int, enabled: bool = True,
        ended: Callable[[], int] | None = None,
    ) -> None:  # fmt: skip
        self._school, self._tier, self._process, self._every, self._enabled = school, tier, process, every, enabled
        self._ended, self._counted_at = ended, -1
        self._pupils = {name: Pupil() for name in school.strategies}
        self._training = asyncio.Lock()
        self._busy = ""
        self._begun = self._recollected = False

    @property
    def strategies(self) -> list[str]:
        """The strategies that are taught."""
        return list(self._pupils)

    async def begin(self) -> None:
        """Open the models that were kept, once; one that takes too long comes to use when it has been opened."""
        if self._begun:
            return
        self._begun = True
        for name in self._pupils:
            with contextlib.suppress(RevenantError):
                await self._tier.within(BEGIN_S, self._school.open, name)

    async def run(self) -> None:
        """Look, and train what is due, until cancelled."""
        for turn in itertools.count():
            try:
                if turn % HEAL_TURNS == 0:
                    await self._tier.call(self._school.heal)
                if not self._recollected:
                    await self.recollect()
                await self.look()
            except RevenantError as error:
                log.debug("lessons cannot be counted now", reason=str(error))
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Count the lessons once, and train what is due."""
        ended = self._ended() if self._ended is not None else self._counted_at + 1
        if ended != self._counted_at:
            await self._count()
            self._counted_at = ended
        for name, pupil in self._pupils.items():
            if self._enabled and self._due(name, pupil):
                await self._train(name, None, by_hand=False)

    async def train(self, strategy: str, progress: Progress = None) -> TrainingRun:
        """Train a strategy now, whether it is due or not; one at a time. When it is due stays as it was.

        Raises:
            RevenantError: when it could not be tried; what was in use stays.
        """
        return await self._train(strategy, progress, by_hand=True)

    async def _train(self, strategy: str, progress: Progress, *, by_hand: bool) -> TrainingRun:
        async with self._training:
            self._busy, pupil = strategy, self._pupils[strategy]
            try:
                outcome = await self._process(await self._tier.call(self._school.job, strategy), progress)
                run = await self._tier.within(
                    OPEN_S, functools.partial(self._school.settle, by_hand=by_hand), strategy, outcome
                )
            except RevenantError as error:
                self._failed(strategy, str(error), by_hand=by_hand)
                raise
            finally:
                self._busy = ""
            if run.verdict == FAILED:
                self._failed(strategy, run.reason, by_hand=by_hand)
            else:
                if not by_hand:
                    pupil.trained_on, pupil.failures = run.lessons, 0
                told = log.warning if run.verdict == DEMOTED else log.info
                told("model trained", strategy=strategy, verdict=run.verdict, reason=run.reason, lessons=run.lessons,
                     seconds=run.seconds)  # fmt: skip
            pupil.last = run
            return run

    def get_retrain_info(self, strategy: str | None = None) -> dict[str, Any]:
        """Return how each strategy stands, or one: what it has learned from, and when it is trained next."""
        wanted = self._pupils if strategy is None else {strategy: self._pupils[strategy]}
        return {name: self._info(name, pupil) for name, pupil in wanted.items()}

    def _info(self, name: str, pupil: Pupil) -> dict[str, Any]:
        terms, counts, last = self._school.terms(name), pupil.counts, pupil.last
        missing = max(0, math.ceil(terms.executed_min - terms.weigh(*counts)))
        if pupil.trained_on is not None:
            missing = max(missing, pupil.trained_on + self._every - counts.total)
        model = self._school.model(name)
        return {
            "is_ml_ready": model is not None,
            "can_train": terms.weigh(*counts) >= terms.executed_min,
            "completed": counts.total, "executed": counts.executed, "phantom": counts.phantoms,
            "trades_until_next_retrain": max(0, missing), "next_retrain_at": counts.total + max(0, missing),
            "training": self._busy == name,
            "last_result": None if last is None else {
                "verdict": last.verdict, "reason": last.reason, "lessons": last.lessons, "seconds": last.seconds,
                "trained_at": last.trained_at.isoformat(timespec="seconds"), "folds": last.report.get("folds", []),
                "skill": last.report.get("skill"), "calibration": last.report.get("calibration"),
                "importance": dict(list(last.report.get("importance", {}).items())[:10]),
            },
            "model": model,
        }  # fmt: skip

    def _due(self, name: str, pupil: Pupil) -> bool:
        terms = self._school.terms(name)
        if terms.weigh(*pupil.counts) < terms.executed_min or asyncio.get_running_loop().time() < pupil.not_before:
            return False
        return pupil.trained_on is None or pupil.counts.total >= pupil.trained_on + self._every

    def _failed(self, strategy: str, reason: str, *, by_hand: bool) -> None:
        if by_hand:
            log.warning("training failed", strategy=strategy, reason=reason)
            return
        pupil = self._pupils[strategy]
        pupil.failures += 1
        pause = RETRY.bound_s(pupil.failures)
        pupil.not_before = asyncio.get_running_loop().time() + pause
        log.warning("training failed: tried again later", strategy=strategy, reason=reason, pause_s=pause)

    async def recollect(self) -> None:
        """Learn from the registry how the last runs ended, and count the lessons. Raises Unavailable."""
        for name, pupil in self._pupils.items():
            runs = await self._tier.call(self._school.runs, name)
            pupil.last = runs[0] if runs else pupil.last
            # a first model taught by the past has learned nothing of the bot's own lessons, and what was asked for
            # by hand has postponed nothing
            own = next((run for run in runs if not {"past", BY_HAND} & run.report.keys()), None)
            if own is not None:
                pupil.trained_on = own.lessons
        await self._count()
        self._recollected = True

    async def _count(self) -> None:
        counts = await self._tier.call(self._school.counts)
        for name, pupil in self._pupils.items():
            pupil.counts = counts.get(name, NOTHING)

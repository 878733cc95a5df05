"""Keeps each strategy's model: opens what was kept, has new ones put to use, and lets go of those that failed."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import structlog

from domain.errors import BadData, RevenantError
from domain.lesson import Counts
from domain.training_run import BY_HAND, DEMOTED, FAILED, PROMOTED, TrainingRun
from ml.envelope import digest, unseal
from ml.features import SCHEMA
from ml.job import Job, Outcome, Terms

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from ml.judge import Judge
    from ml.model import Model
    from ml.scorer import Scorer

log = structlog.get_logger(__name__)

PENDING_MAX = 100


class Lessons(Protocol):
    """How much there is to learn from."""

    def counts(self) -> dict[str, Counts]:
        """Return how many lessons there are of each strategy."""
        ...


class Models(Protocol):
    """Where sealed models are kept."""

    def keep(self, strategy: str, blob: bytes | None, numbers: Mapping[str, float]) -> None:
        """Keep a sealed model, or forget it, and the numbers that go with it."""
        ...

    def found(self, strategy: str) -> dict[str, bytes]:
        """Return the sealed models that there are, by where they are."""
        ...

    def heal(self, strategies: Collection[str]) -> None:
        """Put back into Redis what it has forgotten."""
        ...

    def numbers(self, strategy: str) -> dict[str, float]:
        """Return the numbers kept beside a model."""
        ...

    def import_legacy(self, strategy: str) -> dict[str, float]:
        """Take the numbers that an earlier program left, once."""
        ...


class Runs(Protocol):
    """The registry of training runs."""

    def add(self, run: TrainingRun) -> None:
        """Keep a run."""
        ...

    def runs(self, strategy: str, most: int = 20) -> list[TrainingRun]:
        """Return the newest runs."""
        ...

    def standing(self, strategy: str) -> TrainingRun | None:
        """Return the run that put the model in use to use, or let the last one go; None when there was none."""
        ...


class School:
    """Synchronous, for a thread of its own; what it opens takes effect in ``judge`` with the next signal.

    ``terms`` gives how a strategy is trained, ``database`` where its lessons are, ``past`` the file with those of the
    past, ``clock`` the host's time (UTC ms).
    """

    def __init__(
        self, judge: Judge, lessons: Lessons, models: Models, registry: Runs, *, key: bytes, database: str,
        terms: Mapping[str, Terms], lessons_max: int, clock: Callable[[], int],
        past: Callable[[str], str] = lambda _: "",
    ) -> None:  # fmt: skip
        self._judge, self._lessons, self._models, self._registry = judge, lessons, models, registry
        self._key, self._database, self._terms, self._lessons_max = key, database, terms, lessons_max
        self._clock, self._past = clock, past
        self._blobs: dict[str, bytes] = {}
        self._pending: deque[TrainingRun] = deque(maxlen=PENDING_MAX)

    @property
    def strategies(self) -> list[str]:
        """The strategies that are taught."""
        return list(self._terms)

    def terms(self, strategy: str) -> Terms:
        """Return how a strategy is trained."""
        return self._terms[strategy]

    def counts(self) -> dict[str, Counts]:
        """Return how many lessons there are of each strategy. Raises Unavailable."""
        return self._lessons.counts()

    def open(self, strategy: str) -> None:
        """Put the newest good model that was kept to use; one that is not good is told of and left where it is."""
        try:
            self._models.import_legacy(strategy)
        except RevenantError as error:
            log.warning("values of an earlier program not read", strategy=strategy, reason=str(error))
        standing = self._standing(strategy)
        good: list[tuple[int, bytes, Scorer]] = []
        for place, blob in self._models.found(strategy).items():
            try:
                scorer = self._scorer(strategy, blob)
            except BadData as error:
                log.warning("model refused", strategy=strategy, tier=place, reason=str(error))
                continue
            if standing is not None and _replaced(scorer.model, blob, standing):
                reason = f"it is stale: a later run, {standing.run_id}, was {standing.verdict}"
                log.warning("model refused", strategy=strategy, tier=place, reason=reason)
                continue
            good.append((scorer.model.trained_at, blob, scorer))
        if good:
            _, blob, scorer = max(good, key=lambda one: one[0])
            self._use(strategy, blob, scorer)
            log.info("model in use", strategy=strategy, run=scorer.model.run_id, lessons=scorer.model.lessons)

    def job(self, strategy: str) -> bytes:
        """Return what the training process is to be told."""
        current = self._blobs.get(strategy, b"")
        return msgspec.json.encode(
            Job(self._database, self._key, self._terms[strategy], self._lessons_max, current, self._past(strategy))
        )

    def settle(self, strategy: str, outcome: Outcome, *, by_hand: bool = False) -> TrainingRun:
        """Do what a training run has concluded, and keep the run; ``by_hand`` when somebody asked for it.

        Raises:
            BadData: when the model that it made cannot be used here; the last good one stays.
        """
        if by_hand:
            outcome.report[BY_HAND] = True
        run = self._run(strategy, outcome)
        if outcome.verdict == PROMOTED:
            self._use(strategy, outcome.blob, self._scorer(strategy, outcome.blob))
            run = run._replace(digest=digest(outcome.blob))
        elif outcome.verdict == DEMOTED:
            self._judge.scorers.pop(strategy, None)
            self._blobs.pop(strategy, None)
        if outcome.verdict != FAILED:
            self._models.keep(strategy, self._blobs.get(strategy), {
                "completed_trades": run.executed, "last_train_count": run.lessons,
                "last_train_ts": run.trained_at.timestamp(), "threshold": self._judge.bar.floor,
                "phantom_weight": self._terms[strategy].phantom_weight,
            })  # fmt: skip
            self._pending.append(run)
            self._write_pending()
        return run

    def heal(self) -> None:
        """Do what could not be done before: write runs down, copy models to Redis."""
        self._write_pending()
        self._models.heal(self.strategies)

    def runs(self, strategy: str) -> list[TrainingRun]:
        """Return the newest runs, newest first. Raises Unavailable."""
        return self._registry.runs(strategy)

    def model(self, strategy: str) -> dict[str, Any] | None:
        """Return what is to be said of the model in use."""
        scorer = self._judge.scorers.get(strategy)
        if scorer is None:
            return None
        facts = {name: getattr(scorer.model, name) for name in SAID}
        return {
            **facts,
            "calibrator": scorer.model.calibrator.kind,
            "heads": [head.name for head in scorer.model.heads],
        }

    def _scorer(self, strategy: str, blob: bytes) -> Scorer:
        from ml.scorer import Scorer  # noqa: PLC0415  onnxruntime is for those who have a model

        source = self._terms[strategy].source
        return Scorer(unseal(blob, self._key, strategy=strategy, source=source, now_ms=self._clock()))

    def _use(self, strategy: str, blob: bytes, scorer: Scorer) -> None:
        self._blobs[strategy] = blob
        self._judge.scorers[strategy] = scorer

    def _standing(self, strategy: str) -> TrainingRun | None:
        try:
            return self._registry.standing(strategy)
        except RevenantError as error:
            log.warning("registry of models not read", reason=str(error))
            return None

    def _write_pending(self) -> None:
        while self._pending:
            try:
                self._registry.add(self._pending[0])
            except RevenantError as error:
                log.warning("training runs not written down yet", waiting=len(self._pending), reason=str(error))
                return
            self._pending.popleft()

    def _run(self, strategy: str, outcome: Outcome) -> TrainingRun:
        now, report = self._clock(), outcome.report
        return TrainingRun(
            run_id=outcome.run_id or f"{strategy}-{now}", source=self._terms[strategy].source, strategy=strategy,
            verdict=outcome.verdict, reason=outcome.reason, schema=SCHEMA,
            trained_at=datetime.fromtimestamp(now / 1000, UTC), seconds=round(outcome.seconds, 3),
            lessons=report.get("lessons", 0), executed=report.get("executed", 0), phantoms=report.get("phantoms", 0),
            data_from=report.get("data_from", 0), data_until=report.get("data_until", 0), report=report,
        )  # fmt: skip


SAID = ("run_id", "trained_at", "data_from", "data_until", "lessons", "base_rate", "gain_r", "loss_r", "versions")


def _replaced(model: Model, blob: bytes, standing: TrainingRun) -> bool:
    """Say whether a later run has put another model in a model's place, or none.

    A newer model than the registry knows is one whose run could not be written down any more.
    """
    return digest(blob) != standing.digest and model.trained_at <= standing.trained_at.timestamp() * 1000

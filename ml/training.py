"""Trains a strategy's model and decides whether it may replace the one in use. Runs in a process of its own."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from domain.training_run import DEMOTED, NOT_TRAINED, PROMOTED, REJECTED
from ml import ensemble
from ml.features import NAMES, SCHEMA
from ml.job import Terms
from ml.model import HIGH, LOW, Calibrator, Head, Model
from ml.scores import advantage, auc, brier, log_losses, reliability, summary

if TYPE_CHECKING:
    from domain.lesson import Flags, Floats, Grid, Lessons
    from ml.scorer import Scorer

LEAK_AUC = 0.95
"""A feature that alone tells gains from losses this well has seen the outcome."""
CLASS_MIN = 8
SIGNIFICANT = 1.645
"""Standard errors by which a new model has to beat the base rate: chance does that once in twenty times."""
DRIFTED = 1.0
DRIFT_MIN = 30
UNSEEN_MIN = 20
REPEATS = 2
AT_ONCE = 12
"""Features that are shuffled in one go: some tens of megabytes for the most lessons."""


Progress = Callable[[int, int, str], object]


def _silent(_done: int, _of: int, _what: str) -> None:
    """Tell nobody."""


class Result(NamedTuple):
    """How a run ended: promoted, rejected (the previous model stays), demoted (it goes too) or not trained; and why."""

    verdict: str
    reason: str
    model: Model | None
    report: dict[str, Any]


class Trial(NamedTuple):
    """A fold that was not learned from: its rows, the heads' mean, the base rate before it, and who predicted."""

    rows: np.ndarray
    mean: Floats
    base: float
    trained: int
    fitted: ensemble.Fitted


def refusal(lessons: Lessons, terms: Terms) -> str:
    """Return why these lessons cannot be learned from, empty when they can."""
    executed, phantoms = lessons.counts
    if terms.weigh(executed, phantoms) < terms.executed_min:
        return (
            f"too few lessons: {executed} executed and {phantoms} phantoms; "
            f"{terms.executed_min} executed are needed, a phantom counting {terms.phantom_share:g}"
        )
    own = lessons[lessons.own]
    gains = int(own.won.sum())
    if min(gains, len(own) - gains) < CLASS_MIN:
        return f"one-sided lessons: {gains} gains and {len(own) - gains} losses; {CLASS_MIN} of either are needed"
    if not np.isfinite(lessons.vectors).all():
        return "a feature is not a number in some lesson"
    leaks = leaking(lessons)
    if leaks:
        return f"leakage: {', '.join(leaks)} alone tells gains from losses, so it knows the outcome"
    return ""


def leaking(lessons: Lessons) -> list[str]:
    """Return the features that know the outcome."""
    aucs = [auc(lessons.won, lessons.vectors[:, i]) for i in range(lessons.vectors.shape[1])]
    return [NAMES[i] for i, value in enumerate(aucs) if max(value, 1 - value) > LEAK_AUC]


def folds(lessons: Lessons, count: int, embargo_ms: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (rows to learn from, rows to try on) for each of so many later parts of what a bot has lived through.

    Those of the past are learned from only. Purged: what is learned from ended, embargo included, before the first
    signal that is tried on was given.
    """
    parts = np.array_split(np.flatnonzero(lessons.own), count + 1)
    made = []
    for part in parts[1:]:
        begins = lessons.signal_time[part[0]]
        earlier = np.arange(part[0])
        made.append((earlier[lessons.exit_time[earlier] + embargo_ms <= begins], part))
    return made


def train(
    lessons: Lessons, terms: Terms, now_ms: int, current: Scorer | None = None, progress: Progress = _silent
) -> Result:
    """Train a model and judge it beside the base rate and the one in use; ``progress`` is told (done, of, what)."""
    executed, phantoms = lessons.counts
    report: dict[str, Any] = {
        "lessons": executed + phantoms, "executed": executed, "phantoms": phantoms,
        "past_lessons": len(lessons) - executed - phantoms, "gains": int(lessons.won[lessons.own].sum()),
        "data_from": int(lessons.signal_time[0]) if len(lessons) else 0,
        "data_until": int(lessons.signal_time[-1]) if len(lessons) else 0, "versions": ensemble.versions(),
    }  # fmt: skip
    reason = refusal(lessons, terms)
    if reason:
        return Result(NOT_TRAINED, reason, None, report)
    steps = terms.folds + 2
    trials = walk_forward(lessons, terms, steps, progress)
    if len(trials) < 2:  # noqa: PLR2004  one to calibrate on, one to be judged on
        return Result(
            NOT_TRAINED, "too few lessons: the earlier folds hold gains or losses only, or end too late", None, report
        )
    judged = judge(lessons, trials, terms.embargo_ms)
    report["folds"] = [fold.report for fold in judged]
    progress(terms.folds, steps, "importance")
    calibrator, latest = _calibrator(lessons, trials), judged[-1]
    gain_r, loss_r = _average_r(lessons, terms)
    report |= {
        "calibration": {"kind": calibrator.kind, "groups": reliability(latest.won, latest.p)},
        "gain_r": gain_r, "loss_r": loss_r, "base_rate": _base_rate(lessons),
        "importance": _importance(lessons[trials[-1].rows], trials[-1].fitted, calibrator, terms.seed),
    }  # fmt: skip
    verdict, reason = _verdict(lessons, judged, current, terms, report)
    model = None
    if verdict == PROMOTED:
        # most runs end without: only a model that will be used is made of all lessons
        progress(terms.folds + 1, steps, "the whole")
        model = _final(lessons, calibrator, terms, now_ms)
    progress(steps, steps, verdict)
    return Result(verdict, reason, model, report)


class Judged(NamedTuple):
    """A fold with calibrated predictions, the calibrator having seen earlier folds only."""

    rows: np.ndarray
    won: Flags
    p: Floats
    base: float
    report: dict[str, Any]


def _try(lessons: Lessons, earlier: np.ndarray, part: np.ndarray, terms: Terms) -> Trial | None:
    known = lessons[earlier]
    if len(known) == 0 or known.won.all() or not known.won.any():
        return None
    fitted = ensemble.fit(known, _weights(known, terms), terms.seed)
    return Trial(part, fitted.means(lessons.vectors[part]), _base_rate(known), len(earlier), fitted)


def _weights(lessons: Lessons, terms: Terms) -> Floats:
    return lessons.weights(terms.phantom_weight, terms.past_weight)


def _base_rate(lessons: Lessons) -> float:
    """Return the share of gains; where a bot has lived through some, of those: other times have other rates."""
    own = lessons.own
    return float(lessons.won[own].mean() if own.any() else lessons.won.mean())


def walk_forward(lessons: Lessons, terms: Terms, steps: int, progress: Progress = _silent) -> list[Trial]:
    """Learn from each earlier part and try on the next; those that have nothing before them are left out."""
    trials = []
    for i, (earlier, part) in enumerate(folds(lessons, terms.folds, terms.embargo_ms)):
        progress(i, steps, f"fold {i + 1} of {terms.folds}")
        trial = _try(lessons, earlier, part, terms)
        if trial is not None:
            trials.append(trial)
    return trials


def judge(lessons: Lessons, trials: list[Trial], embargo_ms: int) -> list[Judged]:
    """Return the trials after the first with calibrated predictions, each calibrated on the trials before it.

    Purged as ``folds`` are: on what had ended, embargo included, when the trial began.
    """
    judged = []
    for i, trial in enumerate(trials[1:], 1):
        won, earlier = lessons.won[trial.rows], np.concatenate([before.rows for before in trials[:i]])
        known = lessons.exit_time[earlier] + embargo_ms <= lessons.signal_time[trial.rows[0]]
        means = np.concatenate([before.mean for before in trials[:i]])
        calibrator = ensemble.calibrate(means[known], lessons.won[earlier][known])
        p = np.array([calibrator(float(mean)) for mean in trial.mean])
        base = min(max(trial.base, LOW), HIGH)
        report = {
            "from": int(lessons.signal_time[trial.rows[0]]), "until": int(lessons.signal_time[trial.rows[-1]]),
            "trained_on": trial.trained, "tried_on": len(trial.rows),
            **{name: round(value, 5) for name, value in summary(won, p, base).items()},
        }  # fmt: skip
        judged.append(Judged(trial.rows, won, p, base, report))
    return judged


def _calibrator(lessons: Lessons, trials: list[Trial]) -> Calibrator:
    seen = np.concatenate([trial.rows for trial in trials])
    return ensemble.calibrate(np.concatenate([trial.mean for trial in trials]), lessons.won[seen])


def _average_r(lessons: Lessons, terms: Terms) -> tuple[float, float]:
    """Return what a gain and a loss come to on average, in R."""
    weights, won = _weights(lessons, terms), lessons.won
    gain_r, loss_r = (float(np.average(lessons.r[side], weights=weights[side])) for side in (won, ~won))
    return gain_r, loss_r


def _final(lessons: Lessons, calibrator: Calibrator, terms: Terms, now_ms: int) -> Model:
    fitted = ensemble.fit(lessons, _weights(lessons, terms), terms.seed)
    gain_r, loss_r = _average_r(lessons, terms)
    probe = lessons.vectors[-1]
    return Model(
        run_id=uuid.uuid4().hex[:16], strategy=terms.strategy, source=terms.source, schema=SCHEMA, trained_at=now_ms,
        data_from=int(lessons.signal_time[0]), data_until=int(lessons.signal_time[-1]), lessons=lessons.counts.total,
        base_rate=_base_rate(lessons), gain_r=gain_r, loss_r=loss_r,
        mean=tuple(map(float, fitted.mean)), scale=tuple(map(float, fitted.scale)),
        heads=tuple(Head(name, graph) for name, graph in fitted.graphs().items()), calibrator=calibrator,
        probe=tuple(map(float, probe)), probe_p=calibrator(float(fitted.means(probe[None, :])[0])),
        versions=ensemble.versions(),
    )  # fmt: skip


def _verdict(
    lessons: Lessons, judged: list[Judged], current: Scorer | None, terms: Terms, report: dict[str, Any]
) -> tuple[str, str]:
    latest = judged[-1]
    scores = latest.report
    losses = [np.concatenate(parts) for parts in zip(*(_losses(fold) for fold in judged), strict=True)]
    skill = advantage(*losses)
    report["skill"] = round(skill, 3)
    drift = _drift(lessons, current, terms, report) if current is not None else ""
    worse = DEMOTED if drift else REJECTED
    if scores["log_loss"] >= scores["base_log_loss"] or scores["brier"] >= scores["base_brier"]:
        reason = "no better than the base rate on the latest fold"
    elif skill < SIGNIFICANT:
        reason = f"better than the base rate by {skill:.2f} standard errors only; {SIGNIFICANT} are asked for"
    elif current is not None and not drift and not _beats(lessons, latest, current, report):
        reason = "no better than the model in use on the latest fold"
    else:
        return PROMOTED, f"log loss {scores['log_loss']:.4f} against the base rate's {scores['base_log_loss']:.4f}"
    return worse, f"{drift}; {reason}" if drift else reason


def _losses(one: Judged) -> tuple[Floats, Floats]:
    return log_losses(one.won, one.p), log_losses(one.won, np.full(len(one.won), one.base))


def _beats(lessons: Lessons, latest: Judged, current: Scorer, report: dict[str, Any]) -> bool:
    """Say whether the new model is better on the latest fold, where that can be on signals the old one never saw."""
    unseen = lessons.signal_time[latest.rows] > current.model.data_until
    shown = unseen if unseen.sum() >= UNSEEN_MIN else np.ones(len(latest.rows), dtype=bool)
    rows, won, p = latest.rows[shown], latest.won[shown], latest.p[shown]
    old = current.probabilities(lessons.vectors[rows])
    ours, theirs = float(np.mean(log_losses(won, p))), float(np.mean(log_losses(won, old)))
    report["current"] = {
        "run_id": current.model.run_id, "tried_on": len(rows), "unseen": int(unseen.sum()),
        "log_loss": round(theirs, 5), "brier": round(brier(won, old), 5), "new_log_loss": round(ours, 5),
        "new_brier": round(brier(won, p), 5),
    }  # fmt: skip
    return ours < theirs and brier(won, p) < brier(won, old)


def _drift(lessons: Lessons, current: Scorer, terms: Terms, report: dict[str, Any]) -> str:
    """Return how the model in use has failed on what came after its lessons, empty when it has not."""
    later = lessons[lessons.signal_time > current.model.data_until + terms.embargo_ms]
    if len(later) < DRIFT_MIN:
        return ""
    base = np.full(len(later), min(max(current.model.base_rate, LOW), HIGH))
    lost = advantage(log_losses(later.won, base), log_losses(later.won, current.probabilities(later.vectors)))
    report["drift"] = {"signals": len(later), "behind_base_rate": round(lost, 3)}
    return f"the model in use has been worse than its base rate over {len(later)} signals" if lost > DRIFTED else ""


def _importance(lessons: Lessons, fitted: ensemble.Fitted, calibrator: Calibrator, seed: int) -> dict[str, float]:
    """Return by how much the log loss of the latest fold grows when a feature is shuffled (Breiman 2001).

    The fold was not learned from; the most important feature comes first.
    """
    chance = np.random.default_rng(seed)

    def losses(variants: list[Grid]) -> Floats:
        # one call for all: a forest's prediction costs by the call more than by the row
        means = fitted.means(np.concatenate(variants)).reshape(len(variants), -1)
        p = [np.array([calibrator(float(mean)) for mean in row]) for row in means]
        return np.array([np.mean(log_losses(lessons.won, chances)) for chances in p])

    def shuffled(column: int) -> Grid:
        vectors = lessons.vectors.copy()
        vectors[:, column] = chance.permutation(vectors[:, column])
        return vectors

    usual, importance = losses([lessons.vectors])[0], {}
    for begin in range(0, len(NAMES), AT_ONCE):
        columns = range(begin, min(begin + AT_ONCE, len(NAMES)))
        grown = losses([shuffled(column) for column in columns for _ in range(REPEATS)]) - usual
        for column, some in zip(columns, grown.reshape(-1, REPEATS), strict=True):
            importance[NAMES[column]] = round(float(some.mean()), 6)
    return dict(sorted(importance.items(), key=lambda item: -item[1]))

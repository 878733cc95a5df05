"""The honest question: does the score tell signals that gain from those that lose, on signals it has never seen?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ml.scores import auc, log_losses

if TYPE_CHECKING:
    from domain.lesson import Flags, Floats, Times

ENOUGH = 1_000
PASSED_MIN = 30
"""So many must be let through before their results are taken for an edge."""
GROUPS = 10
DRAWS = 1_000
WEEK_MS = 7 * 86_400_000
LEVEL = (2.5, 97.5)


class Interval(NamedTuple):
    """A figure and its 95 % block-bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Seen:
    """Signals with predictions made before them, oldest first.

    Attributes:
        p: calibrated probability of a gain.
        base: share of gains that was known then.
        r: what the signal made, in R after fees.
        time: when it was given (UTC ms).
        passed: whether the gate would have let it through.
    """

    p: Floats
    base: Floats
    r: Floats
    time: Times
    passed: Flags

    @property
    def won(self) -> Flags:
        """Whether each ended in a gain."""
        return self.r > 0


@dataclass(frozen=True, slots=True)
class Group:
    """A tenth of the signals by their score, the lowest first."""

    predicted: float
    won: Interval
    mean_r: Interval
    count: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What the score is worth.

    Attributes:
        signals: how many unseen ones it was judged on.
        groups: tenths by score.
        auc: chance that a gain is scored higher than a loss; 0.5 is none better than chance.
        log_loss, brier: by how much the score is better than the base rate; above 0 is better.
        calibration_error: mean distance of what was predicted from what came true (expected calibration error).
        mean_r_all, mean_r_passed: mean result of all signals, and of those that the gate lets through.
        gain_r: what the gate adds to the mean result.
        passed: how many it lets through.
        verdict: in words.
    """

    signals: int
    groups: list[Group]
    auc: Interval
    log_loss: Interval
    brier: Interval
    calibration_error: float
    mean_r_all: Interval
    mean_r_passed: Interval
    gain_r: Interval
    passed: int
    skill: bool
    edge: bool
    verdict: str
    notes: list[str] = field(default_factory=list)


def evaluate(seen: Seen, seed: int = 1) -> Evaluation:
    """Judge a score on what it had not seen.

    Intervals are of a block bootstrap: whole weeks are drawn, since signals of one week share its market (H. R. Kunsch,
    The jackknife and the bootstrap for general stationary observations, Annals of Statistics 17, 1989). A score that is
    always the same ranks nothing: its figures have no interval above chance, and it is told so.
    """
    draws = _draws(seen.time, seed)
    won, p, level = seen.won, seen.p, np.clip(seen.base, 0.01, 0.99)
    saved = log_losses(won, level) - log_losses(won, p)
    closer = (level - won) ** 2 - (p - won) ** 2

    def interval(figure: Callable[[np.ndarray], float]) -> Interval:
        whole = figure(np.arange(len(p)))
        drawn = [value for rows in draws if np.isfinite(value := figure(rows))]
        low, high = np.percentile(drawn, LEVEL) if drawn else (np.nan, np.nan)
        return Interval(float(whole), float(low), float(high))

    def gain(rows: np.ndarray) -> float:
        return _mean(seen.r[rows][seen.passed[rows]]) - _mean(seen.r[rows])

    order = np.argsort(p, kind="stable")
    place = np.empty(len(p), dtype=np.int64)
    place[order] = np.arange(len(p)) * GROUPS // len(p)
    groups = [
        Group(
            float(p[place == number].mean()), interval(_within(won.astype(float), place, number)),
            interval(_within(seen.r, place, number)), int((place == number).sum()),
        )
        for number in range(GROUPS) if (place == number).any()
    ]  # fmt: skip
    ranks = interval(lambda rows: auc(won[rows], p[rows]))
    less, nearer = interval(lambda rows: _mean(saved[rows])), interval(lambda rows: _mean(closer[rows]))
    through = interval(lambda rows: _mean(seen.r[rows][seen.passed[rows]]))
    adds = interval(gain)
    skill = ranks.low > 0.5 and less.low > 0  # noqa: PLR2004  chance
    edge = skill and int(seen.passed.sum()) >= PASSED_MIN and through.low > 0 and adds.low > 0
    return Evaluation(
        len(p), groups, ranks, less, nearer, calibration_error(won, p), interval(lambda rows: _mean(seen.r[rows])),
        through, adds, int(seen.passed.sum()), skill, edge, _verdict(skill=skill, edge=edge), _notes(seen),
    )  # fmt: skip


def _within(values: Floats, place: np.ndarray, number: int) -> Callable[[np.ndarray], float]:
    return lambda rows: _mean(values[rows][place[rows] == number])


def calibration_error(won: Flags, p: Floats) -> float:
    """Return the mean distance of predicted from true shares, over ten groups of equal size.

    Source: M. P. Naeini, G. Cooper and M. Hauskrecht, Obtaining Well Calibrated Probabilities, AAAI 2015.
    """
    groups = [rows for rows in np.array_split(np.argsort(p, kind="stable"), GROUPS) if len(rows)]
    return float(sum(len(rows) * abs(p[rows].mean() - won[rows].mean()) for rows in groups) / len(p))


def _draws(time: Times, seed: int) -> list[np.ndarray]:
    """Return rows of resampled weeks; of days, where there are too few weeks."""
    rng = np.random.default_rng(seed)
    length = WEEK_MS if len(np.unique(time // WEEK_MS)) >= GROUPS else WEEK_MS // 7
    _, block = np.unique(time // length, return_inverse=True)
    members = np.split(np.argsort(block, kind="stable"), np.flatnonzero(np.diff(np.sort(block))) + 1)
    return [
        np.concatenate([members[number] for number in rng.integers(0, len(members), len(members))])
        for _ in range(DRAWS)
    ]


def _verdict(*, skill: bool, edge: bool) -> str:
    if edge:
        return "an edge is shown: the score ranks unseen signals, and those that it lets through gained after fees"
    if skill:
        return "the score ranks unseen signals better than chance; that what it lets through gains is not shown"
    return "no edge shown: on unseen signals the score is not shown to be better than chance"


def _notes(seen: Seen) -> list[str]:
    said = []
    if len(seen.p) < ENOUGH:
        said.append(f"only {len(seen.p)} unseen signals: fewer than {ENOUGH} say little")
    if len(np.unique(seen.p)) == 1:
        said.append("the score is the same for every signal")
    if not seen.passed.any():
        said.append("the gate lets nothing through")
    elif int(seen.passed.sum()) < PASSED_MIN:
        said.append(f"the gate lets only {int(seen.passed.sum())} through: fewer than {PASSED_MIN} show no edge")
    return said


def _mean(values: Floats) -> float:
    return float(np.mean(values)) if len(values) else float("nan")

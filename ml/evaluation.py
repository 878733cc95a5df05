"""The honest question: does the score tell signals that gain from those that lose, on signals it has never seen?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from domain.score_bins import score_bins
from ml.scores import GROUPS, calibration_error, log_losses
from ml.weeks import WEEKS_MIN, Interval, Weeks

if TYPE_CHECKING:
    from domain.lesson import Flags, Floats, Times

ENOUGH = 1_000
PASSED_MIN = 30
"""So many must be let through before their results are taken for an edge."""


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
        signals: how many unseen ones it was judged on; weeks: from how many weeks they are.
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
    weeks: int
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

    A score that is always the same ranks nothing: its figures have no interval above chance, and it is told so. With
    signals from fewer than eight weeks nothing can be told from chance, whatever the figures.
    """
    weeks = Weeks(seen.time, seed)
    won, p, level = seen.won, seen.p, np.clip(seen.base, 0.01, 0.99)
    saved = log_losses(won, level) - log_losses(won, p)
    closer = (level - won) ** 2 - (p - won) ** 2
    every = np.ones(len(p), dtype=bool)

    def mean(values: Floats, of: Flags = every) -> Interval:
        return weeks.interval(weeks.means(values, of), of)

    groups = []
    for rows in score_bins(p, GROUPS):
        inside = np.zeros(len(p), dtype=bool)
        inside[rows] = True
        groups.append(Group(float(p[rows].mean()), mean(won.astype(float), inside), mean(seen.r, inside), len(rows)))
    ranks, less = weeks.interval(weeks.aucs(won, p), every), mean(saved)
    through = mean(seen.r, seen.passed)
    adds = weeks.interval(weeks.means(seen.r, seen.passed) - weeks.means(seen.r, every), seen.passed)
    skill = ranks.low > 0.5 and less.low > 0  # noqa: PLR2004  chance
    edge = skill and int(seen.passed.sum()) >= PASSED_MIN and through.low > 0 and adds.low > 0
    return Evaluation(
        len(p), weeks.count, groups, ranks, less, mean(closer), calibration_error(won, p), mean(seen.r), through, adds,
        int(seen.passed.sum()), skill, edge, _verdict(weeks.count, skill=skill, edge=edge), _notes(seen, weeks),
    )  # fmt: skip


def _verdict(weeks: int, *, skill: bool, edge: bool) -> str:
    if weeks < WEEKS_MIN:
        return f"too short to say: fewer than {WEEKS_MIN} weeks of signals (here {weeks}) do not tell skill from chance"
    if edge:
        return "an edge is shown: the score ranks unseen signals, and those that it lets through gained after fees"
    if skill:
        return "the score ranks unseen signals better than chance; that what it lets through gains is not shown"
    return "no edge shown: on unseen signals the score is not shown to be better than chance"


def _notes(seen: Seen, weeks: Weeks) -> list[str]:
    notes = []
    if len(seen.p) < ENOUGH:
        notes.append(f"only {len(seen.p)} unseen signals: fewer than {ENOUGH} say little")
    if len(np.unique(seen.p)) == 1:
        notes.append("the score is the same for every signal")
    if not seen.passed.any():
        notes.append("the gate lets nothing through")
    elif int(seen.passed.sum()) < PASSED_MIN:
        notes.append(f"the gate lets only {int(seen.passed.sum())} through: fewer than {PASSED_MIN} show no edge")
    elif (count := weeks.of(seen.passed)) < WEEKS_MIN:
        notes.append(f"what the gate lets through is from {count} weeks only: fewer than {WEEKS_MIN} show no edge")
    return notes

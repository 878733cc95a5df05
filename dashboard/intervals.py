"""Intervals of what signals made, from days drawn again and again: what of it chance could have made as well."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from domain.durations import DAY_MS
from domain.score_bins import score_bins

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.candle import Floats

DAYS_MIN = 8
"""An interval needs so many days to draw from; with fewer there is none."""
DRAWS, SEED, OUTSIDE = 1_000, 1, 2.5
HALVES = 2


class Interval(NamedTuple):
    """A figure and its 95 % interval, whose ends are None where there are too few days; ``days`` have signals."""

    value: float
    low: float | None
    high: float | None
    days: int


class Days:
    """The UTC days of signals, drawn with replacement as often as there are days.

    Signals of one day share its market, so they are drawn together, as the weeks of ``ml.weeks`` are: a running bot has
    days long before it has weeks. Figures are arrays: that of all signals first, then one for each draw.
    """

    def __init__(self, times: Sequence[int]) -> None:
        days = np.asarray(times, np.int64) // DAY_MS
        self._place = np.unique(days, return_inverse=True)[1]
        self.count = int(self._place.max()) + 1 if len(days) else 0
        self._drawn = np.ones((1, self.count))
        if self.count >= DAYS_MIN:
            drawn = np.random.default_rng(SEED).multinomial(self.count, np.full(self.count, 1 / self.count), DRAWS)
            self._drawn = np.vstack((self._drawn, drawn))

    def means(self, values: Floats, inside: np.ndarray) -> Floats:
        """Return the mean of the values of some of the signals."""
        sums = np.bincount(self._place, np.where(inside, values, 0.0), self.count)
        sizes = np.bincount(self._place, inside, self.count)
        with np.errstate(invalid="ignore"):
            return np.asarray((self._drawn @ sums) / (self._drawn @ sizes))

    def interval(self, figures: Floats) -> Interval:
        """Return figures as one with its interval.

        Few days vary less among themselves than the truth does (T. Hesterberg, What Teachers Should Know About the
        Bootstrap, The American Statistician 69, 2015), so it is widened; days count by how many signals they hold.
        """
        whole, drawn = float(figures[0]), figures[1:][np.isfinite(figures[1:])]
        sizes = np.bincount(self._place).astype(float)
        freedom = float(sizes.sum() ** 2 / (sizes**2).sum()) - 1 if self.count else 0.0
        if not len(drawn) or freedom <= 0:
            return Interval(whole, None, None, self.count)
        wider = math.sqrt((freedom + 1) / freedom)
        low, high = (whole + wider * (float(end) - whole) for end in np.percentile(drawn, (OUTSIDE, 100 - OUTSIDE)))
        return Interval(whole, low, high, self.count)


def mean_interval(times: Sequence[int], values: Sequence[float]) -> Interval:
    """Return the mean of what signals made; ``times`` are theirs, in UTC ms."""
    held = np.asarray(values, float)
    days = Days(times)
    return days.interval(days.means(held, np.ones(len(held), bool)))


def worth(times: Sequence[int], scores: Sequence[float], values: Sequence[float]) -> Interval | None:
    """Return by how much signals with the higher scores made more than those with the lower, in the mean.

    They are halves, equal scores together; None where all have the same score, which ranks nothing.
    """
    halves = score_bins(scores, HALVES)
    if len(halves) < HALVES:
        return None
    days, held, upper = Days(times), np.asarray(values, float), np.zeros(len(scores), bool)
    upper[halves[1]] = True
    return days.interval(days.means(held, upper) - days.means(held, ~upper))

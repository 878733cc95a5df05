"""Figures of signals with their intervals, from weeks drawn again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import ndtr, stdtrit

from domain.durations import DAY_MS, WEEK_MS

if TYPE_CHECKING:
    from domain.lesson import Flags, Floats, Times

WEEKS_MIN = 8
"""An interval needs so many weeks to draw from; with fewer there is none."""
DRAWS = 1_000
AT_ONCE = 50
OUTSIDE = 0.025
"""Chance that the truth lies below an interval, and that it lies above."""


class Interval(NamedTuple):
    """A figure and its 95 % block-bootstrap interval, whose ends are no numbers where there are too few weeks."""

    value: float
    low: float
    high: float


class Weeks:
    """The weeks of signals, drawn with replacement as often as there are weeks, ``DRAWS`` times.

    Signals of one week share its market, so they are drawn together (H. R. Kunsch, The jackknife and the bootstrap for
    general stationary observations, Annals of Statistics 17, 1989). Figures are arrays: that of all signals first, then
    one for each draw, not a number where it drew nothing to make it of.
    """

    def __init__(self, time: Times, seed: int) -> None:
        _, self._place = np.unique(_week(time), return_inverse=True)
        self.count = int(self._place.max()) + 1 if len(time) else 0
        rng = np.random.default_rng(seed)
        drawn = rng.multinomial(self.count, np.full(self.count, 1 / max(self.count, 1)), DRAWS)
        self._times = np.vstack((np.ones((1, self.count)), drawn))

    def drawn(self, draw: int) -> np.ndarray:
        """Return how often a draw has each signal; draw 0 has all of them once."""
        return np.asarray(self._times[draw][self._place], dtype=np.int64)

    def of(self, inside: Flags) -> int:
        """Return from how many weeks some of the signals are."""
        return len(np.unique(self._place[inside]))

    def means(self, values: Floats, inside: Flags) -> Floats:
        """Return the mean of the values of some of the signals."""
        sums = np.bincount(self._place, np.where(inside, values, 0.0), self.count)
        sizes = np.bincount(self._place, inside, self.count)
        with np.errstate(invalid="ignore"):
            return np.asarray((self._times @ sums) / (self._times @ sizes))

    def aucs(self, won: Flags, p: Floats) -> Floats:
        """Return the chance that a gain has a larger value than a loss; 0.5 where there are only gains or losses."""
        values, rank = np.unique(p, return_inverse=True)
        gains, losses = np.zeros((2, self.count, len(values)))
        np.add.at(gains, (self._place[won], rank[won]), 1)
        np.add.at(losses, (self._place[~won], rank[~won]), 1)
        parts = []
        for start in range(0, len(self._times), AT_ONCE):
            times = self._times[start : start + AT_ONCE]
            above, below = times @ gains, times @ losses
            beaten = (above * (np.cumsum(below, axis=1) - below / 2)).sum(axis=1)
            pairs = above.sum(axis=1) * below.sum(axis=1)
            parts.append(np.where(pairs > 0, beaten / np.maximum(pairs, 1), 0.5))
        return np.concatenate(parts)

    def interval(self, figures: Floats, inside: Flags) -> Interval:
        """Return figures that are made of some of the signals as one with its interval.

        Few weeks vary less among themselves than the truth does, so the percentiles reach as far out as Student's t
        distribution does (T. Hesterberg, What Teachers Should Know About the Bootstrap, The American Statistician 69,
        2015). Weeks count by what they hold: one that has nearly all the signals is hardly more than one.
        """
        whole, drawn = float(figures[0]), figures[1:][np.isfinite(figures[1:])]
        sizes = np.unique(self._place[inside], return_counts=True)[1]
        if len(sizes) < WEEKS_MIN or not len(drawn):
            return Interval(whole, float("nan"), float("nan"))
        freedom = max(float(sizes.sum() ** 2 / (sizes**2).sum()) - 1, 1.0)
        outside = 100 * float(ndtr(stdtrit(freedom, OUTSIDE) * ((freedom + 1) / freedom) ** 0.5))
        low, high = np.percentile(drawn, (outside, 100 - outside))
        return Interval(whole, float(low), float(high))


def _week(time: Times) -> np.ndarray:
    """Return which week each signal is from, counted from the first one.

    What is left over after the last whole week belongs to it: a week of one day is none.
    """
    if not len(time):
        return np.zeros(0, dtype=np.int64)
    since = np.asarray(time, dtype=np.int64) - int(min(time))
    whole = max(1, (int(since.max()) // DAY_MS + 1) // 7)
    return np.asarray(np.minimum(since // WEEK_MS, whole - 1))

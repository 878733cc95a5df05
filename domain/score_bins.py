"""Signals in bins by their score, equal scores always together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def score_bins(scores: ArrayLike, count: int) -> list[np.ndarray]:
    """Return the rows of each bin, lowest scores first: at most ``count`` bins, as equal in size as ties allow.

    Whatever else the rows hold has no say in it: rows of one score are never parted, since nothing ranks them. With no
    more values than bins each value is a bin of its own; otherwise a value goes where the middle of its ranks lies.
    """
    held = np.asarray(scores, dtype=np.float64)
    values, place, sizes = np.unique(held, return_inverse=True, return_counts=True)
    if len(values) > count:
        middles = 2 * np.cumsum(sizes) - sizes - 1
        place = (middles * count // (2 * len(held)))[place]
    order = np.argsort(place, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(place[order])) + 1) if len(held) else []

"""When the funding of a perpetual falls due, as its payments tell, and which of them are missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from domain.coverage import Span
from domain.durations import HOUR_MS, MINUTE_MS

if TYPE_CHECKING:
    from domain.candle import Floats, Times

LONGEST_MS = 8 * HOUR_MS
"""No exchange here leaves more than eight hours between two payments."""
INTERVALS_MS = (HOUR_MS, 2 * HOUR_MS, 4 * HOUR_MS, LONGEST_MS)
BASE_RATE = 0.0001
"""What longs pay to shorts in eight hours while a contract trades at its index; in shorter intervals less."""
SAME_RATE = 1e-10
AROUND_MS = 24 * HOUR_MS
"""An interval that was in force for less time than this between longer ones is not believed to have been longer."""
LEAST = 3
"""So many payments of a base rate show an interval; fewer may be chance."""
NEAR = 30
"""So many payments away from one that shows its interval, others are believed to have the same."""

Told = Sequence[tuple[int, int]]
"""What the exchange itself said: since when (UTC ms) an interval (ms) is in force, oldest first.

It may have changed any time before the next saying.
"""


class FundingGap(NamedTuple):
    """A stretch without a payment that is longer than the interval in force: how many payments are missing."""

    span: Span
    interval: int
    missing: int


def base_rate(interval: int) -> float:
    """Return the rate of a contract that trades at its index, for an interval in ms."""
    return BASE_RATE * interval / LONGEST_MS


def intervals(times: Times, rates: Floats, told: Told = ()) -> Times:
    """Return for each payment (UTC ms, ascending) the interval that it ended, in ms.

    It is the shortest that anything speaks for: what the exchange told; the spacing around it, and the hours of the
    day, as an interval of eight hours never ends at four o'clock; and base rates, as a contract that pays every four
    hours pays half the base rate of one that pays every eight. Where none of these says otherwise it is the longest
    that there is: payments of which only every eighth hour is left, at no base rate, look like those of eight hours.
    """
    if not len(times):
        return np.empty(0, np.int64)
    found = np.minimum(_by_spacing(_on_minutes(times)), _by_rates(np.asarray(rates)))
    return np.minimum(found, _by_word(times, told))


def gaps(times: Times, rates: Floats, window: Span, told: Told = ()) -> list[FundingGap]:
    """Return where payments are missing in a window, those at its edges included."""
    if not len(times):
        return _gaps(np.array(window), _by_word(np.array([window.end]), told))
    known = intervals(times, rates, told)
    edges = np.concatenate(([window.start], times, [window.end]))
    return _gaps(edges, np.append(known, min(known[-1], _by_word(np.array([window.end]), told)[0])))


def describe(times: Times, found: Sequence[FundingGap]) -> str:
    """Return what is missing of the payments in a few words, "" when nothing is."""
    if not found:
        return ""
    missing, hours = sum(one.missing for one in found), sorted({one.interval // HOUR_MS for one in found})
    told = " and ".join(f"{one} h" for one in hours)
    return f"{missing} of {missing + len(times)} payments are missing (due every {told})"


def _gaps(edges: Times, known: Times) -> list[FundingGap]:
    wide = np.flatnonzero(np.diff(_on_minutes(edges)) > known)
    return [
        FundingGap(Span(int(edges[i]), int(edges[i + 1])), int(known[i]), _between(edges[i], edges[i + 1], known[i]))
        for i in wide.tolist()
    ]


def _between(start: int, end: int, interval: int) -> int:
    """Return how many times an interval ends between two payments, at least one."""
    return max(1, int((end - start - MINUTE_MS) // interval))


def _on_minutes(times: Times) -> Times:
    """Return times to the minute: some exchanges stamp payments milliseconds late."""
    return (np.asarray(times, np.int64) + MINUTE_MS // 2) // MINUTE_MS * MINUTE_MS


def _by_spacing(times: Times) -> Times:
    """Return the shorter of what is usual before and after, where both agree that it is shorter.

    So the payments before a change of the interval are not held to the new one, nor those after it to the old one.
    """
    if len(times) == 1:
        return _by_hour(times)
    steps = np.diff(times)
    # what two payments show together: an interval that fits between them, and that ends at the hours of both
    shown = np.minimum(steps, np.minimum(_by_hour(times[:-1]), _by_hour(times[1:])))
    before = [int(shown[i:j].min()) for i, j in _windows(times, -AROUND_MS)]
    after = [int(shown[i:j].min()) for i, j in _windows(times, AROUND_MS)]
    usual = np.maximum(before, after)
    following = np.append(steps[1:], steps[-1])
    # the first payment of a longer interval comes as early as its hours have it
    turning = (steps < following) & (times[1:] % following == 0)
    allowed = np.array(INTERVALS_MS)
    fits = (usual[:, None] >= allowed) & (usual[:, None] % allowed == 0)
    snapped = np.where(fits, allowed, HOUR_MS).max(axis=1)
    found = np.where(turning, steps, snapped)
    return np.asarray(np.minimum(np.concatenate((found[:1], found)), LONGEST_MS))


def _windows(times: Times, reach: int) -> list[tuple[int, int]]:
    """Return for each step between two payments which steps lie within reach on one side of it, itself included."""
    rows = np.arange(len(times) - 1)
    if reach < 0:
        first = np.searchsorted(times, times[1:] + reach)
        return list(zip(np.minimum(first, rows).tolist(), (rows + 1).tolist(), strict=True))
    last = np.searchsorted(times, times[:-1] + reach, side="right") - 1
    return list(zip(rows.tolist(), np.maximum(last, rows + 1).tolist(), strict=True))


def _by_hour(times: Times) -> Times:
    """Return the longest interval that can end at each time: intervals are counted from midnight."""
    fits = np.asarray(times)[:, None] % np.array(INTERVALS_MS) == 0
    return np.asarray(np.where(fits, np.array(INTERVALS_MS), HOUR_MS).max(axis=1))


def _by_rates(rates: Floats) -> Times:
    """Return what base rates show: of the payments that have one, and of those among and near payments alike."""
    shown = np.zeros(len(rates), np.int64)
    for interval in INTERVALS_MS:
        same = np.abs(rates - base_rate(interval)) < SAME_RATE
        if same.sum() >= LEAST:
            shown[same] = interval
    known = np.flatnonzero(shown)
    if not len(known):
        return np.full(len(rates), LONGEST_MS)
    rows = np.arange(len(rates))
    after = np.searchsorted(known, rows)
    sides = [known[np.clip(after + side, 0, len(known) - 1)] for side in (-1, 0)]
    told = [np.where(np.abs(row - rows) <= NEAR, shown[row], LONGEST_MS) for row in sides]
    # between two that show the same, with none between that shows another, nothing has changed, however far they are
    within = (sides[0] < rows) & (rows < sides[1]) & (shown[sides[0]] == shown[sides[1]])
    found = np.where(within, shown[sides[0]], np.maximum(*told))
    return np.asarray(np.where(shown > 0, shown, found))


def _by_word(times: Times, told: Told) -> Times:
    """Return what the exchange said of each time; the longest interval where it said nothing."""
    if not told:
        return np.full(len(times), LONGEST_MS)
    since = np.array([at for at, _ in told])
    said = np.array([LONGEST_MS, *(interval for _, interval in told)])
    place = np.searchsorted(since, np.asarray(times) - 1, side="right")
    following = np.append(said[1:], said[-1])
    # before the first saying nobody knows; between two that differ it may have been either
    longest = np.where(place == 0, LONGEST_MS, np.maximum(said[place], following[place]))
    return np.asarray(np.minimum(longest, LONGEST_MS))

"""Parts rows that can be bars from those that cannot."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from domain.candle import PRICE_MAX, TIME_MAX, VOLUME_MAX, Bars, join

if TYPE_CHECKING:
    from domain.coverage import Span

UNFINISHED = "not finished yet"


class Refused(NamedTuple):
    """A row that cannot be stored: open time and the six numbers as they came, and why."""

    row: tuple[float, ...]
    reason: str

    @property
    def open_time(self) -> int:
        """The time that the row gives itself, -1 when it gives none."""
        return int(self.row[0])


@dataclass(frozen=True, slots=True)
class Sifted:
    """Rows apart.

    Attributes:
        bars: what can be stored, ascending, each time once.
        refused: what cannot be, and why.
        unfinished: rows of bars that were still open; they are expected at the end of every answer.
        repeated: rows told twice alike.
    """

    bars: Bars
    refused: list[Refused] = field(default_factory=list)
    unfinished: int = 0
    repeated: int = 0


def sift(bars: Bars, step: int, now: int, asked: Span | None = None) -> Sifted:
    """Part rows, in any order, of a series with ``step`` ms between bars; ``now`` is the time in UTC ms.

    ``asked`` is the stretch that was asked for; rows outside of it are refused, because a source that answers another
    question than the one asked cannot be believed.
    """
    if not len(bars):
        return Sifted(bars)
    reasons = np.zeros(len(bars), dtype=np.int8)
    for number, bad in enumerate(_faults(bars, step, asked), start=1):
        reasons[(reasons == 0) & bad] = number
    open_still = (reasons == 0) & (bars.open_time + step > now)
    told_differently, repeated = _twice(bars, (reasons == 0) & ~open_still)
    reasons[told_differently] = len(_REASONS) - 1
    refused = [
        Refused(bars.row(int(i)), _REASONS[reasons[i]]) for i in np.flatnonzero(reasons)
    ]  # fmt: skip
    kept = (reasons == 0) & ~open_still
    return Sifted(join([_pick(bars, kept)]), refused, int(open_still.sum()), repeated)


_REASONS = (
    "",
    "no time in milliseconds since 1970",
    "a value is not a finite number",
    "a price is zero or negative",
    "high and low do not enclose open and close",
    "negative volume or turnover",
    "a price or volume that no market has",
    "opens off the grid of its timeframe",
    "outside of the range that was asked for",
    "told twice, with different values",
)


def _faults(bars: Bars, step: int, asked: Span | None) -> list[np.ndarray]:
    times = bars.open_time
    prices = np.vstack((bars.open, bars.high, bars.low, bars.close))
    numbers = np.vstack((prices, bars.volume, bars.turnover))
    with np.errstate(invalid="ignore"):
        return [
            (times < 0) | (times >= TIME_MAX),
            ~np.isfinite(numbers).all(axis=0),
            prices.min(axis=0) <= 0,
            (bars.high < prices.max(axis=0)) | (bars.low > prices.min(axis=0)),
            (bars.volume < 0) | (bars.turnover < 0),
            (prices.max(axis=0) > PRICE_MAX) | (np.maximum(bars.volume, bars.turnover) > VOLUME_MAX),
            times % step != 0,
            np.zeros(len(bars), bool) if asked is None else (times < asked.start) | (times >= asked.end),
        ]


def _twice(bars: Bars, among: np.ndarray) -> tuple[np.ndarray, int]:
    """Return which rows share their time with one that says something else, and how many are mere repetitions."""
    at = np.flatnonzero(among)
    _, first, back, count = np.unique(bars.open_time[at], return_index=True, return_inverse=True, return_counts=True)
    told = np.zeros(len(bars), bool)
    if len(first) == len(at):
        return told, 0
    values = np.column_stack([column[at] for column in bars.columns()[1:]])
    differs = (values != values[first[back]]).any(axis=1)
    quarrel = np.zeros(len(first), bool)
    np.logical_or.at(quarrel, back, differs)
    told[at[quarrel[back]]] = True
    return told, int((count[~quarrel] - 1).sum())


def _pick(bars: Bars, which: np.ndarray) -> Bars:
    return Bars(*(column[which] for column in bars.columns()))

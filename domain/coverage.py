"""Which bars of a series there are, and exactly which are missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from domain.candle import timeframe_ms
from domain.errors import BadData

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from domain.candle import Times

TIMEFRAMES = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d")
"""Timeframes that history is kept in; weeks and months do not lie on a grid that begins in 1970."""


class Span(NamedTuple):
    """A stretch of time, [start, end) in UTC milliseconds; of bars, the one that opens at ``end`` is outside."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a series holds of a stretch of time.

    Attributes:
        window: the stretch, cut to the life of the market.
        expected: bars that the grid has room for.
        actual: bars that there are.
        absent: bars that the source itself was confirmed not to have; they are not missing.
        missing: every stretch of bars that should be there and are not.
    """

    window: Span
    expected: int
    actual: int
    absent: int
    missing: list[Span]
    step: int

    @property
    def lacking(self) -> int:
        """How many bars are missing."""
        return bars_in(self.missing, self.step)

    @property
    def completeness(self) -> float:
        """Bars that are there in percent of those that can be; 100 when there can be none."""
        possible = self.expected - self.absent
        return 100.0 * (possible - self.lacking) / possible if possible > 0 else 100.0


def known_timeframe(text: str) -> str:
    """Return the timeframe. Raises BadData unless history is kept in it."""
    if text not in TIMEFRAMES:
        raise BadData(f"timeframe {text!r} is not known; there are {', '.join(TIMEFRAMES)}")
    return text


def on_grid(window: Span, step: int) -> Span:
    """Return the window with both ends moved up to the next opening of a bar."""
    return Span(-(-window.start // step) * step, -(-window.end // step) * step)


def missing(times: Times, window: Span, step: int) -> list[Span]:
    """Return every stretch of the window without a bar; ``times`` ascending, unique, on the grid of ``step`` ms."""
    start, end = on_grid(window, step)
    if end <= start:
        return []
    inside = times[np.searchsorted(times, start) : np.searchsorted(times, end)]
    edges = np.concatenate(([start - step], inside, [end]))
    at = np.flatnonzero(np.diff(edges) > step)
    return [Span(int(edges[i]) + step, int(edges[i + 1])) for i in at]


def density(times: Times, step: int, closed: Iterable[Span] = ()) -> float:
    """Return how many percent of the bars between the first and the last are there; 100 for fewer than two.

    ``closed`` are stretches in which there are none to be expected.
    """
    if len(times) < 2:  # noqa: PLR2004  there is no between
        return 100.0
    if times.item(-1) - times.item(0) == (len(times) - 1) * step:
        return 100.0
    open_spans = without([Span(int(times[0]), int(times[-1]) + step)], closed)
    # some sources tell bars from outside of the hours too; they fill no hole
    there = sum(int(np.searchsorted(times, end)) - int(np.searchsorted(times, start)) for start, end in open_spans)
    expected = bars_in(open_spans, step)
    return 100.0 * there / expected if expected else 100.0


def reach(end: int, count: int, step: int, closed: Callable[[Span], Sequence[Span]]) -> int:
    """Return from which open time on there is room for ``count`` bars up to ``end``, outside of closed stretches."""
    start = end - count * step
    while start > 0:
        lacking = count - bars_in(without([Span(start, end)], closed(Span(start, end))), step)
        if lacking <= 0:
            break
        start -= lacking * step
    return start


def bars_in(spans: Iterable[Span], step: int) -> int:
    """Return how many bars the spans, all on the grid, have room for."""
    return sum((span.end - span.start) // step for span in spans)


def merged(spans: Iterable[Span]) -> list[Span]:
    """Return the spans in order, those that touch or overlap as one."""
    held: list[Span] = []
    for span in sorted(spans):
        if held and span.start <= held[-1].end:
            held[-1] = Span(held[-1].start, max(held[-1].end, span.end))
        elif span.end > span.start:
            held.append(span)
    return held


def without(spans: Iterable[Span], taken: Iterable[Span]) -> list[Span]:
    """Return what is left of the spans when the others are taken out."""
    gone, left, at = merged(taken), [], 0
    for start, end in merged(spans):
        begin = start
        while at < len(gone) and gone[at].end <= begin:
            at += 1
        place = at
        while place < len(gone) and gone[place].start < end:
            if gone[place].start > begin:
                left.append(Span(begin, gone[place].start))
            begin = max(begin, gone[place].end)
            place += 1
        if begin < end:
            left.append(Span(begin, end))
    return left


def parts(span: Span, length: int) -> Iterator[Span]:
    """Cut a span into pieces of at most ``length`` ms, oldest first."""
    for start in range(span.start, span.end, length):
        yield Span(start, min(span.end, start + length))


def cover(times: Times, window: Span, timeframe: str, absent: Sequence[Span] = ()) -> Coverage:
    """Return what is there of the window; ``absent`` are stretches that the source itself does not have.

    A bar of which only a part is absent is missing as a whole.
    """
    step = timeframe_ms(timeframe)
    window = on_grid(window, step)
    holes = missing(times, window, step)
    left = without(holes, absent)
    lacking = merged(Span(start // step * step, -(-end // step) * step) for start, end in left)
    expected = bars_in([window], step) if window.end > window.start else 0
    return Coverage(
        window, expected, expected - bars_in(holes, step), bars_in(holes, step) - bars_in(lacking, step), lacking, step
    )

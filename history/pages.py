"""Asks a source for a span until nothing more comes: hosts have pages of their own, whatever they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from domain.candle import Bars, Series, join, resample, timeframe_ms
from domain.coverage import Span, missing
from domain.durations import HOUR_MS
from domain.errors import Unavailable
from domain.sifting import sift
from history.port import joined

if TYPE_CHECKING:
    from history.port import CandleSource

ASKED_MAX = 1_000
REST_MOST = 0.1
"""A rest of so much of what was told is not asked for at once: it may well be that there is nothing."""
HOUR = "1h"
OPEN_END = 2**53


class Pages:
    """One source, asked for whole spans; remembers how long its answers can be."""

    def __init__(self, source: CandleSource) -> None:
        self._source = source
        self._longest: dict[str, int] = {}

    async def ask(self, series: Series, span: Span) -> Bars:
        """Return the rows that the source tells of a span, all pages of them, as they came.

        Bars that it begins at other hours (days at 05:00 UTC) are made of its hours, where it has some.
        """
        rows, step = await self._all(series, span), timeframe_ms(series.timeframe)
        off = elsewhere(rows, step)
        if not off or off % HOUR_MS or step % HOUR_MS or HOUR not in self._source.terms.timeframes:
            return rows
        hours = Series(series.symbol, HOUR)
        pages = [await self._all(hours, part) for part in self._source.parts(hours, span)]
        whole = join([Bars.empty(), *(sift(page, HOUR_MS, OPEN_END, span).bars for page in pages)])
        # where hours without trades are not told, those that are not told had none
        made = resample(whole, step, HOUR_MS, [span] if self._source.terms.trades_only else ())
        return made if len(made) else rows

    async def _all(self, series: Series, span: Span) -> Bars:
        """Ask again for what a page may have cut off, at either end of the span."""
        pages, empty = [await self._source.bars(series, span)], set[Span]()
        # an archive has no pages, and those that leave out what was not traded tell where theirs go on
        while self._source.terms.authority and not self._source.terms.trades_only:
            longest = max(self._longest.get(series.timeframe, 0), *map(len, pages), 0)
            self._longest[series.timeframe] = longest
            rest = _rest(joined(pages).open_time, span, timeframe_ms(series.timeframe), empty)
            # a host that has told more at once has cut nothing off
            if rest is None or 0 < len(pages[-1]) < longest:
                break
            if len(pages) >= ASKED_MAX:
                raise Unavailable(f"{self._source.source}: {series.symbol} {series.timeframe}: its pages have no end")
            more = await self._source.bars(series, rest)
            if not len(more):
                empty.add(rest)
            pages.append(more)
        return joined(pages)


def elsewhere(rows: Bars, step: int) -> int:
    """Return how many ms after the grid bars begin, when more than half of them do; 0 when they do not."""
    off = rows.open_time[rows.open_time >= 0] % step
    return int(np.median(off[off > 0])) if len(off) and (off > 0).mean() > 1 / 2 else 0


def _rest(told: np.ndarray, span: Span, step: int, empty: set[Span]) -> Span | None:
    """Return the longest stretch at either end of the span of which nothing was told."""
    times = np.unique(told[(told >= span.start) & (told < span.end) & (told % step == 0)])
    holes = [hole for hole in missing(times, span, step) if hole.start <= span.start or hole.end >= span.end]
    least = len(times) * REST_MOST * step
    ends = [hole for hole in holes if hole not in empty and hole.end - hole.start > least]
    return max(ends, key=lambda hole: hole.end - hole.start, default=None) if len(times) else None

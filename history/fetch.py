"""Asks one source for what is missing of one series, and judges the answer by what it covers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import structlog
import tenacity

from domain.candle import timeframe_ms
from domain.coverage import Span, bars_in, merged, missing, without
from domain.durations import MINUTE_MS
from domain.errors import Rejected, RevenantError, Unavailable
from history.calendar import closed, together
from history.deposit import deposit
from history.pages import Pages, elsewhere

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from domain.candle import Series, Times
    from history.port import CandleSource, Store

log = structlog.get_logger(__name__)

ATTEMPTS = 4
PAUSE_MAX_S = 8.0
CONFIRMED_MAX = 500
"""Second askings in one go; holes beyond them wait for the next."""


@dataclass(slots=True)
class Fetched:
    """What one source gave.

    Attributes:
        told: open times of all bars that were stored, ascending.
        absent: spans that the source has confirmed not to have.
        begins: open time of the first bar there ever was, when the answers have shown that.
        error: why not everything was asked for, "" when all was.
    """

    processed: int = 0
    added: int = 0
    updated: int = 0
    refused: int = 0
    told: Times = field(default_factory=lambda: np.empty(0, np.int64))
    absent: list[Span] = field(default_factory=list)
    begins: int | None = None
    error: str = ""
    reasons: set[str] = field(default_factory=set)


class Fetch:
    """One source asked for one series.

    ``now`` returns UTC ms, and ``progress`` is told after each answer how many more bars have been asked for.
    """

    def __init__(
        self, source: CandleSource, store: Store, series: Series, now: Callable[[], int],
        progress: Callable[[int], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self._source, self._store, self._series = source, store, series
        self._now, self._progress = now, progress
        self._step = timeframe_ms(series.timeframe)
        self._told: list[Times] = []
        self._pages = Pages(source)
        self.result = Fetched()

    async def run(self, spans: Sequence[Span], *, confirm: bool = True) -> Fetched:
        """Ask for the spans; what of them is not told is asked for once more, and then believed to be absent.

        Whatever came before a failure is stored and counted.
        """
        asked: list[Span] = []
        try:
            for span in together(spans, self._series):
                for part in self._source.parts(self._series, span):
                    await self._ask(part)
                    asked.append(part)
                    self._progress(bars_in([part], self._step))
            if confirm:
                await self._ask_again(merged(asked))
        except RevenantError as error:
            self.result.error = str(error)
        self.result.told = self._times()
        return self.result

    async def _ask(self, part: Span) -> Times:
        """Ask for a part, store what can be, return the times that were told."""
        async for attempt in tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            wait=tenacity.wait_random_exponential(multiplier=0.25, max=PAUSE_MAX_S),
            retry=tenacity.retry_if_exception_type(Unavailable),
            reraise=True,
        ):
            with attempt:
                rows = await self._pages.ask(self._series, part)
        kept = await asyncio.to_thread(deposit, self._store, self._source.source, self._series, rows, self._now(), part)
        result = self.result
        result.processed += kept.processed
        result.added += kept.added
        result.updated += kept.updated
        result.refused += kept.refused
        result.reasons |= set(kept.reasons)
        if kept.processed and kept.refused == kept.processed:
            late = elsewhere(rows, self._step) / MINUTE_MS
            raise Rejected(
                f"{self._source.source}: {self._series.symbol} {self._series.timeframe}: "
                f"none of {kept.processed} rows can be believed: {'; '.join(kept.reasons)}"
                + (f"; its bars begin {late:g} minutes after ours, and are not made of hours" if late else "")
            )
        self._told.append(kept.bars.open_time)
        return kept.bars.open_time

    async def _ask_again(self, asked: Sequence[Span]) -> None:
        times = self._times()
        holes = [hole for span in asked for hole in missing(times, span, self._step)]
        if holes:
            holes = without(holes, closed(self._series, Span(holes[0].start, holes[-1].end)))
        page = self._source.terms.page * self._step
        for group in _near(holes, page, self._step)[:CONFIRMED_MAX]:
            around = Span(group[0].start - self._step, group[-1].end + self._step)
            pieces = [Span(at, min(around.end, at + page)) for at in range(around.start, around.end, page)]
            # of a hole that fills many pages only the two ends are asked for
            again = [await self._ask(piece) for piece in dict.fromkeys((pieces[0], pieces[-1]))]
            rows = np.unique(np.concatenate(again))
            for hole in group:
                self._judge(hole, rows, times)

    def _judge(self, hole: Span, found: Times, told: Times) -> None:
        """Conclude from a second asking what a hole is; ``told`` are the times of the first."""
        before, after = hole.start - self._step in found, hole.end in found
        inside = found[(found >= hole.start) & (found < hole.end)]
        if before and after:
            self.result.absent += missing(inside, hole, self._step)
        elif after and not len(inside) and not (told < hole.start).any():
            # nothing came before the first bar that is told: the market begins there
            self.result.begins = hole.end
            self.result.absent.append(hole)

    def _times(self) -> Times:
        return np.unique(np.concatenate(self._told)) if self._told else np.empty(0, np.int64)


def _near(holes: Sequence[Span], page: int, step: int) -> list[list[Span]]:
    """Return the holes in groups, each of which one page covers together with its neighbours."""
    groups: list[list[Span]] = []
    for hole in holes:
        if groups and hole.end + 2 * step - groups[-1][0].start <= page:
            groups[-1].append(hole)
        else:
            groups.append([hole])
    return groups

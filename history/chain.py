"""Several sources in order of priority: each is asked for what those before it could not give."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog

from domain.candle import timeframe_ms
from domain.coverage import Span, bars_in, missing, on_grid, without
from domain.errors import BadData, Rejected, RevenantError
from history.calendar import closed
from history.fetch import Fetch
from history.port import why_not

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from domain.candle import Series
    from domain.source import Source
    from history.fetch import Fetched
    from history.port import CandleSource, Store

    Progress = Callable[[Series, str, int, int], None]
    """Told: the series, the source being asked, bars asked for so far, bars wanted."""

log = structlog.get_logger(__name__)

REST_S = 300.0
FAILURES = 2
SETTLED_MS = 60_000
"""A bar is asked for when it has been over for so long: clocks differ, and exchanges finish late."""


@dataclass(slots=True)
class Filled:
    """What came of filling one series.

    Attributes:
        window: the stretch, cut to the market's life and to closed bars.
        wanted: bars that were missing before.
        lacking: spans that are missing still.
        absent: bars that the first source confirmed not to have.
        used: bars that each source added.
        errors: what each source that failed said.
    """

    series: Series
    window: Span
    wanted: int = 0
    added: int = 0
    updated: int = 0
    refused: int = 0
    absent: int = 0
    lacking: list[Span] = field(default_factory=list)
    used: dict[str, int] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether nothing is missing now."""
        return not self.lacking

    @property
    def status(self) -> str:
        """COMPLETED, PARTIAL or FAILED, in the sync log's words."""
        if self.complete:
            return "COMPLETED"
        return "PARTIAL" if self.used or not self.errors else "FAILED"


class Chain:
    """Asks sources in order; the first is the one whose table is to be filled, the others stand in for it.

    ``facts`` tells of a symbol from when and until when it can have bars at all, however long it has been gone.
    Every source's bars go into its own table. A source that fails twice in a row is left alone for five minutes.
    """

    def __init__(
        self, sources: Sequence[CandleSource], store: Store, log_sync: Callable[..., None],
        now: Callable[[], int] = lambda: int(time.time() * 1000),
        facts: Callable[[str], tuple[int | None, int | None]] = lambda _: (None, None),
    ) -> None:  # fmt: skip
        self._facts = facts
        if not sources:
            raise BadData("no source to ask; name one")
        self._sources, self._store, self._log_sync, self._now = sources, store, log_sync, now
        self._failures: dict[int, int] = {}
        self._resting: dict[int, float] = {}

    @property
    def source(self) -> Source:
        """Whose table is to be filled."""
        return self._sources[0].source

    async def close(self) -> None:
        """Close all connections."""
        for source in self._sources:
            await source.close()

    async def fill(
        self, series: Series, window: Span, progress: Progress | None = None, *, kind: str = "backfill"
    ) -> Filled:
        """Ask for everything missing in a window; what the exchange itself lacks is kept as absent.

        Raises:
            Rejected: when no source has such a market.
            Unavailable: when the store does not answer.
        """
        window, unknown = await self._lived(series, window)
        step, refusals = timeframe_ms(series.timeframe), []
        left = await self._holes(self.source, series, [window])
        filled = Filled(series, window, bars_in(await self._owed(self.source, series, left), step))
        for number, source in enumerate(self._sources):
            reason = why_not(source, series, self._now(), window) or self._rests(number)
            if reason or number in unknown:
                refusals.append(reason or unknown[number])
                continue
            wanted = await self._owed(source.source, series, await self._holes(source.source, series, left))
            if reach := source.terms.reach_ms:
                wanted = without(wanted, [Span(0, on_grid(Span(self._now() - reach, window.end), step).start)])
            if wanted:
                counted = _counted(progress, series, source, bars_in(wanted, step))
                fetched = await self._fetch(number, series, wanted, counted, kind)
                await self._believe(source, series, fetched)
                _count(filled, source, fetched, primary=source.source is self.source)
            left = await self._holes(source.source, series, left)
        filled.lacking = await self._owed(self.source, series, left)
        if filled.lacking and not filled.used and not filled.errors:
            filled.errors += filter(None, refusals)
        return filled

    async def _fetch(
        self, number: int, series: Series, spans: Sequence[Span], progress: Callable[[int], None], kind: str
    ) -> Fetched:
        source, started = self._sources[number], datetime.now(UTC)
        fetch = Fetch(source, self._store, series, self._now, progress)
        fetched = await fetch.run(spans, confirm=source.terms.authority)
        if fetched.error:
            log.warning("a source failed", source=source.source.value, symbol=series.symbol, error=fetched.error)
            self._failures[number] = self._failures.get(number, 0) + 1
            if self._failures[number] >= FAILURES:
                self._resting[number] = time.monotonic() + REST_S
        else:
            self._failures[number] = 0
        message = "; ".join(filter(None, [fetched.error, *sorted(fetched.reasons), source.terms.lacks]))
        status = "COMPLETED" if not fetched.error else "PARTIAL" if len(fetched.told) else "FAILED"
        span = Span(spans[0].start, spans[-1].end) if spans else Span(0, 0)
        await asyncio.to_thread(self._log_sync, kind, source.source, series, span, status, fetched, message, started)
        return fetched

    async def _believe(self, source: CandleSource, series: Series, fetched: Fetched) -> None:
        """Keep what a source has confirmed: that it lacks bars, and when the market began."""
        if fetched.absent:
            await asyncio.to_thread(self._store.confirm_absent, source.source, series, fetched.absent)
        if fetched.begins is not None:
            before = await asyncio.to_thread(self._store.times, source.source, series, Span(0, fetched.begins))
            if not len(before):
                await asyncio.to_thread(self._store.note_life, source.source, series, fetched.begins, None)

    async def _holes(self, source: Source, series: Series, within: Sequence[Span]) -> list[Span]:
        """Return what of the spans is not in a source's table."""
        if not within:
            return []
        whole = Span(within[0].start, within[-1].end)
        times = await asyncio.to_thread(self._store.times, source, series, whole)
        step = timeframe_ms(series.timeframe)
        return [hole for span in within for hole in missing(times, span, step)]

    async def _owed(self, source: Source, series: Series, holes: Sequence[Span]) -> list[Span]:
        """Return what of the holes a source may still have."""
        if not holes:
            return []
        absent = await asyncio.to_thread(self._store.absent, source, series)
        return without(holes, [*absent, *closed(series, Span(holes[0].start, holes[-1].end))])

    async def _lived(self, series: Series, window: Span) -> tuple[Span, dict[int, str]]:
        """Cut a window to closed bars and to the market's life, as the first source that knows tells it.

        Also returns the numbers of the sources that have no such market, with what they said.
        """
        step = timeframe_ms(series.timeframe)
        settled = (self._now() - SETTLED_MS) // step * step
        refused: dict[int, str] = {}
        since, until = self._facts(series.symbol)
        for number, source in enumerate(self._sources):
            if why_not(source, series, self._now(), window) or self._rests(number):
                continue
            try:
                listed, delisted = await source.life(series.symbol)
            except Rejected as error:
                refused[number] = str(error)
                continue
            except RevenantError:
                # whether it can be asked for bars will show
                continue
            if (listed, delisted) != (None, None):
                await asyncio.to_thread(self._store.note_life, source.source, series, listed, delisted)
                since, until = listed or since, delisted or until
                break
        if until is None:
            # an archive may have what its exchange no longer lists, but only of coins that are known to have existed
            names = {self._sources[number].source for number in refused}
            refused |= {n: "" for n, source in enumerate(self._sources) if source.source in names and n not in refused}
        if len(refused) == len(self._sources):
            raise Rejected("; ".join(filter(None, refused.values())))
        # the bar in which a market was listed is its first
        window = Span(max(window.start, (since or 0) // step * step), min(window.end, until or window.end))
        cut = on_grid(Span(window.start, min(window.end, settled)), step)
        return Span(cut.start, max(cut.start, cut.end)), refused

    def _rests(self, number: int) -> str:
        left = self._resting.get(number, 0.0) - time.monotonic()
        return f"{self._sources[number].source} rests for {left:.0f} s after failing" if left > 0 else ""


def _counted(progress: Progress | None, series: Series, source: CandleSource, wanted: int) -> Callable[[int], None]:
    done = [0]

    def more(bars: int) -> None:
        done[0] += bars
        if progress is not None:
            progress(series, source.source.value, min(done[0], wanted), wanted)

    return more


def _count(filled: Filled, source: CandleSource, fetched: Fetched, *, primary: bool) -> None:
    filled.added += fetched.added
    filled.updated += fetched.updated
    filled.refused += fetched.refused
    if fetched.added or fetched.updated:
        name = source.source.value
        filled.used[name] = filled.used.get(name, 0) + fetched.added + fetched.updated
    if fetched.error:
        filled.errors.append(fetched.error)
    if primary:
        filled.absent += bars_in(fetched.absent, timeframe_ms(filled.series.timeframe))


def statistics(results: Sequence[Filled], failed: int = 0) -> dict[str, Any]:
    """Return the totals of a run: symbols, how many succeeded and failed, records, and what each source gave."""
    used: dict[str, int] = {}
    for result in results:
        for name, count in result.used.items():
            used[name] = used.get(name, 0) + count
    good = sum(result.complete for result in results)
    return {
        "total_symbols": len({result.series.symbol for result in results}) + failed, "successful": good,
        "failed": len(results) - good + failed, "total_records": sum(used.values()), "sources_used": used,
    }  # fmt: skip

"""Cuts a job into parts that workers take one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from domain.candle import Series, timeframe_ms
from domain.coverage import Span
from domain.source import Source

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SERIES_MAX = 40
BARS_MAX = 500_000
"""What a part holds at most, in windows: a few minutes at an exchange's pace; a single series may be more."""


class Part(msgspec.Struct, frozen=True):
    """What one worker is to do: fill series from sources in their order, or, without series, the whole job.

    Attributes:
        kind: what is noted in the sync log: the job's name, or backfill.
        order: the sources; the first is the one whose table is filled.
        series: symbol, timeframe, and start and end of the window (UTC ms) of each.
    """

    kind: str
    order: tuple[Source, ...] = ()
    series: tuple[tuple[str, str, int, int], ...] = ()

    @property
    def wanted(self) -> dict[Series, Span]:
        """Each series with its window."""
        return {Series(symbol, timeframe): Span(start, end) for symbol, timeframe, start, end in self.series}

    @property
    def names(self) -> list[str]:
        """The series, for people."""
        return [f"{symbol} {timeframe}" for symbol, timeframe, *_ in self.series]

    def only(self, left: Sequence[Series]) -> Part:
        """Return the same part with those of its series that are left."""
        kept = set(left)
        return msgspec.structs.replace(self, series=tuple(one for one in self.series if Series(*one[:2]) in kept))


class PartOutcome(msgspec.Struct, frozen=True):
    """How an attempt at a part ended.

    Attributes:
        status: COMPLETED, PARTIAL, FAILED or SKIPPED, of what is not left.
        said: what went wrong, or what a whole job says of itself.
        left: what is worth another attempt, since somebody did not answer; None for nothing.
        failed: series that failed for good.
        records: bars that were stored.
    """

    status: str
    said: str = ""
    left: Part | None = None
    failed: int = 0
    records: int = 0


def cut(kind: str, order: Sequence[Source], wanted: Mapping[Series, Span], now: int) -> list[Part]:
    """Cut what is wanted into parts; windows that end later than ``now`` (UTC ms) count up to then."""
    return [
        Part(kind, tuple(order), tuple((*series, *wanted[series]) for series in together))
        for together in _together(wanted, now)
    ]


def _together(wanted: Mapping[Series, Span], now: int) -> Iterator[list[Series]]:
    held: list[Series] = []
    bars = 0
    for series in sorted(wanted):
        span = wanted[series]
        more = max(0, min(span.end, now) - span.start) // timeframe_ms(series.timeframe)
        if held and (len(held) == SERIES_MAX or bars + more > BARS_MAX):
            yield held
            held, bars = [], 0
        held.append(series)
        bars += more
    if held:
        yield held

"""The stored bars that a backtest trades on, or which of them are missing and how to get them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from app.mapped_bars import mapped
from domain.candle import Bars, Series, resample, timeframe_ms
from domain.coverage import Span, cover, parts
from domain.errors import BadData
from domain.ids import SHORT
from history.calendar import closed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bootstrap.history import History
    from domain.source import Source

FOREVER = 2**53
PART = 250_000
"""Bars that are read at once; more than these are kept on disk and mapped."""


class StoredBars:
    """Reads one source's bars; what is not stored in a timeframe is made of the coarsest finer one that is.

    Args:
        history: where they are stored.
        source: whose.
        needs: how many bars before the span windows look back on, by timeframe.
        progress: told how many series have been read, of how many.
    """

    def __init__(
        self, history: History, source: Source, needs: Mapping[str, int], progress: Callable[[int, int], None]
    ) -> None:
        self._history, self._source, self._needs, self._progress = history, source, needs, progress
        self._entries = {entry.series: entry for entry in history.candles.entries(source) if entry.rows}

    @property
    def symbols(self) -> list[str]:
        """Every symbol of which bars are stored."""
        return sorted({series.symbol for series in self._entries})

    def load(
        self, symbols: Sequence[str], asked: Span, *, allow_gaps: bool = False
    ) -> tuple[dict[Series, Bars], Span, list[str]]:
        """Return the bars of every symbol in every timeframe, the span, and what is missing where that is allowed.

        The span's open ends become those of the store.

        Raises:
            BadData: when bars are missing: of what, how many, and the command that brings them in.
        """
        wanted = [Series(symbol, frame) for symbol in symbols for frame in self._needs]
        span = self.bounded(symbols, asked)
        bars, faults = {}, []
        for place, series in enumerate(wanted):
            self._progress(place, len(wanted))
            before = (self._needs[series.timeframe] + 1) * timeframe_ms(series.timeframe)
            bars[series] = self._read(series, Span(max(0, span.start - before), span.end))
            if fault := self._fault(series, bars[series], span):
                faults.append(fault)
        if faults and not allow_gaps:
            raise BadData("\n".join(faults))
        return bars, span, faults

    def bounded(self, symbols: Sequence[str], asked: Span) -> Span:
        """Return the asked span, its open ends those of what is stored of everything. Raises BadData."""
        starts, ends = [], []
        for series in (Series(symbol, frame) for symbol in symbols for frame in self._needs):
            entry = self._entries.get(self._base(series))
            if entry is None or entry.earliest is None or entry.latest is None:
                raise BadData(f"{self._source}: nothing is stored of {series.symbol}; {self._remedy(series, asked)}")
            starts.append(entry.earliest)
            ends.append(entry.latest + timeframe_ms(entry.series.timeframe))
        # what is to come cannot be fetched
        now = max(int(time.time() * 1000), *ends)
        end = min(asked.end, now) if asked.end < FOREVER else min(ends)
        start = asked.start or max(starts)
        if end <= start:
            raise BadData(f"{self._source}: nothing to trade on from {minute(start)} to {minute(end)} UTC")
        return Span(start, end)

    def need_serving(self, symbols: Sequence[str], strategies: Mapping[str, Sequence[str]]) -> None:
        """Raise BadData when the stored bars serve some of the strategies, given by their timeframes, and not others.

        Where they serve none, what is missing is told as such.
        """
        poor = {
            name: frames for name, frames in strategies.items()
            if any(self._base(Series(symbol, frame)) not in self._entries for symbol in symbols for frame in frames)
        }  # fmt: skip
        if not poor or len(poor) == len(strategies):
            return
        held = {entry.series.timeframe for entry in self._entries.values() if entry.series.symbol in symbols}
        served = [name for name in strategies if name not in poor]
        needs = "; ".join(f"{name} needs {' and '.join(sorted(set(frames)))}" for name, frames in poor.items())
        raise BadData(
            f"{self._source}: stored of {', '.join(symbols[:5])} are {', '.join(sorted(held, key=timeframe_ms))}: "
            f"these bars serve {', '.join(served)}; give --strategy "
            f"{','.join(SHORT.get(name, name) for name in served)} ({needs})"
        )

    def _base(self, series: Series) -> Series:
        """Return the stored series that a wanted one is, or is made of; itself when there is none."""
        step = timeframe_ms(series.timeframe)
        finer = [
            held for held in self._entries if held.symbol == series.symbol and step % timeframe_ms(held.timeframe) == 0
        ]
        return max(finer, key=lambda held: timeframe_ms(held.timeframe), default=series)

    def _read(self, series: Series, span: Span) -> Bars:
        base, step = self._base(series), timeframe_ms(series.timeframe)
        # a bar that is made of others needs the first of them
        whole = Span(span.start // step * step, span.end)
        entry, base_step = self._entries.get(base), timeframe_ms(base.timeframe)
        if entry is None or entry.earliest is None or entry.latest is None:
            return Bars.empty()
        held = Span(max(whole.start, entry.earliest // step * step), min(whole.end, entry.latest + base_step))
        pieces = list(parts(held, max(1, PART * base_step // step) * step))
        loaded = (self._history.candles.load(self._source, base, piece) for piece in pieces)
        absent = self._absent(base, held) if base != series else []
        bars = (one if base == series else resample(one, step, base_step, absent) for one in loaded)
        return mapped(bars, self._history.settings.data_dir) if len(pieces) > 1 else next(bars, Bars.empty())

    def _absent(self, base: Series, span: Span) -> list[Span]:
        """Return the stretches of which nobody has bars: never told, outside of sessions and of the market's life."""
        step, entry = timeframe_ms(base.timeframe), self._entries.get(base)
        found = [*self._history.candles.absent(self._source, base), *closed(base, span)]
        if entry is not None and entry.listed is not None:
            found.append(Span(0, entry.listed // step * step))
        if entry is not None and entry.delisted is not None:
            found.append(Span(-(-entry.delisted // step) * step, FOREVER))
        return found

    def _fault(self, series: Series, held: Bars, span: Span) -> str:
        base = self._base(series)
        absent = [*self._absent(base, span), *closed(series, span)]
        # a bar that does not end within the time is not needed
        step = timeframe_ms(series.timeframe)
        whole = Span(min(span.start, span.end // step * step), span.end // step * step)
        found = cover(held.open_time, whole, series.timeframe, absent)
        if not found.missing:
            return ""
        first = found.missing[0]
        return (
            f"{self._source} {series.symbol} {series.timeframe}: {found.lacking} bars are missing in "
            f"{len(found.missing)} ranges, the first from {minute(first.start)} to {minute(first.end)} UTC; "
            f"{self._remedy(base, span)}"
        )

    def _remedy(self, series: Series, span: Span) -> str:
        named = f"-s {self._source} -p {series.symbol} -t {series.timeframe}"
        if self._source.made_up:
            return f"bring them in with\n  manage.py data import FILE {named}"
        bounds = f" --since {minute(span.start)}" if span.start else ""
        bounds += f" --until {minute(span.end)}" if span.end < FOREVER else ""
        return f"fetch them with\n  manage.py data download {named}{bounds}"


def minute(when: int) -> str:
    """Return a time (UTC ms) to the minute, as commands take it."""
    return str(np.datetime64(when, "ms").astype("datetime64[m]"))

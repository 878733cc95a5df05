"""Whether prices that somebody hands in are those of the market that they are said to be of."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from domain.candle import timeframe_ms
from domain.coverage import Span
from history.port import EQUITY, market_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from domain.candle import Bars, Series
    from domain.source import Source

APART_MAX = 0.03
"""Markets of one coin are closer to each other than this in the median, but for one in distress."""
COMPARED_MAX = 20_000
SILENT_LEAST = 3
DOLLARS = frozenset({"USD", "USDT", "USDC", "BUSD", "FDUSD", "TUSD", "DAI"})


class Stored(NamedTuple):
    """A series that is stored, and its span in open times (UTC ms)."""

    source: Source
    series: Series
    earliest: int
    latest: int


class Distance(NamedTuple):
    """How far prices are from stored ones: the median of their ratios less 1, over how many bars, and of what."""

    median: float
    bars: int
    other: Stored


def distance(
    bars: Bars, series: Series, source: Source, stored: Iterable[Stored], load: Callable[[Stored, Span], Bars]
) -> Distance | None:
    """Compare closes with the nearest relative that is stored of the same time; None where there is none.

    Nearest are the series itself, the same symbol in other timeframes, other markets of the coin, other sources.
    """
    if not len(bars):
        return None
    step = timeframe_ms(series.timeframe)
    first, end = int(bars.open_time.min()), int(bars.open_time.max()) + step
    near = [
        one for one in stored
        if _pair(one.series.symbol) == _pair(series.symbol) and one.earliest < end and one.latest >= first - step
        and (one.source is source or not (source.made_up or one.source.made_up))
    ]  # fmt: skip
    for one in sorted(near, key=lambda one: _farness(one, series, source)):
        length = timeframe_ms(one.series.timeframe)
        window = Span(first - length, min(end, first + COMPARED_MAX * max(step, length)))
        measured = _compared(bars, step, load(one, window), length)
        if measured is not None:
            return Distance(*measured, one)
    return None


def _pair(symbol: str) -> tuple[str, str]:
    """Return coin and quote of a market, one dollar being as good as the other."""
    base, _, quote = symbol.partition(":")[0].partition("/")
    return (base, EQUITY) if market_of(symbol) == EQUITY else (base, "USD" if quote in DOLLARS else quote)


def _farness(one: Stored, series: Series, source: Source) -> tuple[bool, bool, float]:
    ratio = timeframe_ms(one.series.timeframe) / timeframe_ms(series.timeframe)
    return one.source is not source, one.series.symbol != series.symbol, abs(np.log(ratio))


def _compared(bars: Bars, step: int, other: Bars, length: int) -> tuple[float, int] | None:
    """Compare each close with the last one of the others at that time, which must be recent."""
    if not len(other):
        return None
    ends, theirs = bars.open_time + step, other.open_time + length
    at = np.searchsorted(theirs, ends, side="right") - 1
    recent = (at >= 0) & (ends - theirs[np.maximum(at, 0)] < max(step, length))
    if not recent.any():
        return None
    ratios = bars.close[recent] / other.close[at[recent]]
    return float(np.median(np.abs(np.log(ratios)))), int(recent.sum())


def silent(bars: Bars) -> bool:
    """Return whether there is no volume in any of several bars: those are prices of an index, not trades."""
    return len(bars) >= SILENT_LEAST and not bool((bars.volume > 0).any())

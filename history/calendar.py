"""When stock exchanges are open: outside of their sessions nothing is missing."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from domain.candle import timeframe_ms
from domain.coverage import Span, merged, without
from domain.durations import DAY_MS
from history.port import EQUITY, market_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.candle import Series

CALENDAR = "XNYS"
"""New York's: Nasdaq keeps the same days and hours."""
APART_MS = 5 * DAY_MS
"""Sessions nearer than this are asked for in one go: a long weekend lies between them at most."""


def closed(series: Series, window: Span) -> list[Span]:
    """Return the stretches of a window in which no bar of a series can be, on the grid; none for what never closes.

    Times beyond what the calendar knows count as open.
    """
    if market_of(series.symbol) != EQUITY or window.end <= window.start:
        return []
    step, (opens, closes) = timeframe_ms(series.timeframe), _sessions()
    if not len(opens):
        return []
    known = Span(int(opens[0]) // step * step, -(-int(closes[-1]) // step) * step)
    near = (closes > window.start) & (opens < window.end)
    # a bar belongs to a session when any of it does
    open_spans = [
        Span(int(begin) // step * step, -(-int(end) // step) * step)
        for begin, end in zip(opens[near], closes[near], strict=True)
    ]
    inside = Span(max(window.start, known.start), min(window.end, known.end))
    return without([inside] if inside.end > inside.start else [], open_spans)


def together(spans: Sequence[Span], series: Series) -> list[Span]:
    """Return what to ask for so that all spans are answered: of stocks, near sessions in one go."""
    if market_of(series.symbol) != EQUITY:
        return list(spans)
    wide = merged(Span(span.start, span.end + APART_MS) for span in spans)
    return [Span(span.start, span.end - APART_MS) for span in wide]


@lru_cache(maxsize=1)
def _sessions() -> tuple[np.ndarray, np.ndarray]:
    """Return when each session opened and closed, in UTC ms."""
    import exchange_calendars  # noqa: PLC0415  half a second that only stocks need to pay

    with warnings.catch_warnings():
        # the library's own use of pandas, which it warns about for its next version
        warnings.simplefilter("ignore")
        calendar = exchange_calendars.get_calendar(CALENDAR)
        opens, closes = (
            np.asarray(nanos, np.int64) // 1_000_000 for nanos in (calendar.opens_nanos, calendar.closes_nanos)
        )
    return opens, closes

"""Closed bars over Bybit's REST interface."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

from broker.bybit.public_messages import INTERVALS
from domain.candle import Bar, Bars, Series, check_bar, join, timeframe_ms
from domain.errors import BadData, Rejected, Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from domain.coverage import Span

PAGE = 1_000


class Rest(Protocol):
    """Sends a request and returns the ``result`` part of the answer; raises Unavailable or Rejected."""

    async def get(self, path: str, params: dict[str, Any]) -> dict[str, Any]:
        """Send a GET request."""
        ...


class BybitKlines:
    """Fetches bars page by page; ``venue_ids`` maps unified symbols to the exchange's ids."""

    def __init__(self, rest: Rest, venue_ids: Mapping[str, str]) -> None:
        self._rest, self._venue_ids = rest, venue_ids
        self.invalid = 0

    async def closed(self, series: Series, start: int, end: int) -> Bars:
        """Return the bars with open times in [start, end), all of which must have closed."""
        step = timeframe_ms(series.timeframe)
        pages = []
        for first in range(start, end, PAGE * step):
            last = min(end, first + PAGE * step) - step
            pages.append(await self._page(series, {"start": first, "end": last}))
        bars = join(pages) if pages else Bars.empty()
        inside = (bars.open_time >= start) & (bars.open_time < end)
        return Bars(*(column[inside] for column in bars.columns()))

    def resting(self, series: Series, span: Span) -> Sequence[Span]:  # noqa: ARG002  see Klines
        """Return nothing: these markets never close."""
        return ()

    async def newest(self, series: Series, count: int) -> Bars:
        """Return the newest ``count`` bars, oldest first, the unfinished one included as the last."""
        return await self._page(series, {"limit": min(PAGE, count)})

    async def latest(self, series: Series, count: int) -> Bars:
        """Return the newest ``count`` closed bars: a bar counts as closed when a later one exists."""
        step = timeframe_ms(series.timeframe)
        newest = await self._page(series, {"limit": min(PAGE, count + 1)})
        if not len(newest):
            return newest
        pages, end = [newest[:-1]], int(newest.open_time[0])
        for _ in range(math.ceil(max(0, count + 1 - PAGE) / PAGE)):
            page = await self._page(series, {"start": end - PAGE * step, "end": end - step})
            if not len(page):
                break
            pages.insert(0, page)
            end = int(page.open_time[0])
        return join(pages)[-count:]

    async def _page(self, series: Series, window: dict[str, int]) -> Bars:
        step = timeframe_ms(series.timeframe)
        if series.symbol not in self._venue_ids:
            raise Rejected(f"the exchange has no symbol {series.symbol}")
        params = {
            "category": "linear", "symbol": self._venue_ids[series.symbol], "limit": PAGE,
            "interval": INTERVALS[series.timeframe], **window,
        }  # fmt: skip
        result = await self._rest.get("v5/market/kline", params)
        rows, listed = [], result.get("list") or []
        if not isinstance(listed, list):
            raise Unavailable(f"candles of {series.symbol}: unreadable answer {str(result)[:120]}")
        for row in listed:
            try:
                bar = Bar(int(row[0]), *map(float, row[1:7]))
                check_bar(bar, step)
            except (BadData, ValueError, TypeError, LookupError, ArithmeticError):
                # an impossible row is as good as none: the hole stays visible
                self.invalid += 1
            else:
                rows.append(bar)
        return join([Bars.of(rows[::-1])])

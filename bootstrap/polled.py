"""A source of history as the live market of a paper bot."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from domain.assumed_rules import assumed
from domain.candle import Bars, Series, join, timeframe_ms
from domain.coverage import Span, reach
from domain.errors import Rejected
from domain.sifting import sift
from domain.symbols import Symbols, in_full
from history.calendar import closed
from history.chain import SETTLED_MS
from history.pages import Pages
from history.port import PERPETUAL, SPOT
from history.sources.exchange import ExchangeSource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.instrument import Instrument
    from history.port import CandleSource

CLOSE_MS = 1_000
PRICED_BY = ("1d", "1h", "15m", "1m")
"""Bars that a price is looked for in, one after the other."""


class SourceKlines:
    """Implements Klines on a source of history; what cannot be a bar is left out, as if it had not been told."""

    def __init__(self, source: CandleSource) -> None:
        self._source, self._pages = source, Pages(source)

    async def closed(self, series: Series, start: int, end: int) -> Bars:
        """Return the bars with open times in [start, end), all of which must have closed."""
        told = [Bars.empty()]
        step = timeframe_ms(series.timeframe)
        for part in self._source.parts(series, Span(start, end)):
            rows = await self._pages.ask(series, part)
            told.append(sift(rows, step, int(time.time() * 1000) + CLOSE_MS, part).bars)
        return join(told)

    async def latest(self, series: Series, count: int) -> Bars:
        """Return the newest closed bars, up to ``count``: those that have been over for a minute."""
        step = timeframe_ms(series.timeframe)
        end = (int(time.time() * 1000) - SETTLED_MS) // step * step
        # the first look at a calendar takes a second
        start = await asyncio.to_thread(reach, end, count, step, lambda span: self.resting(series, span))
        return (await self.closed(series, start, end))[-count:]

    def resting(self, series: Series, span: Span) -> Sequence[Span]:
        """Return the stretches of a span outside of the sessions of stocks; other markets never close."""
        return closed(series, span)


class PolledMarket:
    """The trading rules of the symbols that a paper bot follows on a source."""

    def __init__(self, source: CandleSource, symbols: Sequence[str]) -> None:
        self.source, self._symbols = source, symbols

    async def instruments(self) -> dict[str, Instrument]:
        """Return the rules by symbol, of those that the source has. Raises Unavailable."""
        found, asked = {}, self.source
        for symbol in await self._meant(asked) if isinstance(asked, ExchangeSource) else self._symbols:
            with contextlib.suppress(Rejected):
                if isinstance(asked, ExchangeSource) and asked.lists_markets:
                    found[symbol] = await asked.rules(symbol)
                else:
                    found[symbol] = await self._assumed(symbol)
        return found

    async def _assumed(self, symbol: str) -> Instrument:
        """Return rules that follow the newest price: the source reports none."""
        klines = SourceKlines(self.source)
        for timeframe in [one for one in PRICED_BY if one in self.source.terms.timeframes]:
            newest = await klines.latest(Series(symbol, timeframe), 1)
            if len(newest):
                return assumed(symbol, float(newest.close[-1]))
        raise Rejected(f"{self.source.source}: no price of {symbol} is known")

    async def _meant(self, source: ExchangeSource) -> list[str]:
        """Return the symbols that are meant; what the source does not have is left out."""
        if source.source.stocks or all(in_full(entry) for entry in self._symbols):
            return list(self._symbols)
        names = Symbols([one.symbol for kind in (PERPETUAL, SPOT) for one in await source.markets(kind)])
        meant = [[entry] if in_full(entry) else names.listed(entry) for entry in self._symbols]
        return list(dict.fromkeys(name for one in meant for name in one))

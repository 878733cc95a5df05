"""Which symbols are followed: those chosen, at the start or since, and others as long as something is held there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from domain.candle import TIME_MAX, Series, decimal_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from engine.parts import Parts

log = structlog.get_logger(__name__)


class Following:
    """Follows what is held in symbols that nobody has chosen: no position may be left to itself because a list, or a
    ranking by turnover, is another one since it was opened. No entries are made there, and the next start lets go of
    a symbol in which nothing is held any more.

    Attributes:
        chosen: the symbols that are traded.
    """  # noqa: D205  one thought

    def __init__(self, parts: Parts) -> None:
        self._p = parts
        self._needs = {series.timeframe: count for series, count in parts.wanted.items()}
        self._unknown: set[str] = set()
        self.chosen = sorted({series.symbol for series in parts.wanted}.difference(parts.looked_at))

    def begin(self) -> None:
        """Follow what is held when the bot starts; its bars are loaded with those of the others."""
        self._p.feed.follow(list(self._extend()))

    async def keep_up(self) -> None:
        """Follow what has come to be held since, such as a position taken over."""
        fresh = self._extend()
        if not fresh:
            return
        try:
            await self._p.candles.run(fresh)
            self.show(fresh)
            for symbol in sorted({series.symbol for series in fresh}.difference(self.chosen)):
                self._p.trader.warm_up(symbol, TIME_MAX, leaving=True)
            for held in self._p.trader.book.positions():
                series = Series(held.symbol, held.opening.timeframe)
                if series in fresh:
                    held.show(self._p.windows.bars(series))
        finally:
            # not before: what came in between is a hole then, and filled like any other
            self._p.feed.follow(list(fresh))

    async def take_on(self, symbols: Sequence[str]) -> list[str]:
        """Follow symbols that are chosen from now on, and have the strategies decide there too; return them.

        One of which some timeframe has no bars is left out, as if nobody had asked: strategies would decide on
        nothing there.
        """
        p = self._p
        series = [Series(symbol, timeframe) for symbol in symbols for timeframe in self._needs]
        fresh = {one: self._needs[one.timeframe] for one in series if one not in p.wanted}
        p.windows.follow(fresh)
        await p.candles.run(fresh)
        lacking = {one.symbol for one in fresh if not len(p.windows.bars(one))}
        # what has come to be followed meanwhile, for a position, is streamed already
        loaded = {one: count for one, count in fresh.items() if one.symbol not in lacking and one not in p.wanted}
        p.wanted.update(loaded)
        self.show(loaded)
        taken = [symbol for symbol in symbols if symbol not in lacking]
        for symbol in taken:
            # where only a position was followed, strategies may do more than leave from now on
            p.trader.decisions.leaving.discard(symbol)
            p.trader.warm_up(symbol, TIME_MAX)
            await asyncio.sleep(0)
        p.feed.follow(list(loaded))
        self.chosen = sorted({*self.chosen, *taken})
        return taken

    def _extend(self) -> dict[Series, int]:
        """Make room for what is held and not followed; return which series that adds, and how many bars of each."""
        p, fresh = self._p, dict[Series, int]()
        for held in p.trader.book.positions():
            if p.trader.rules(held.symbol) is None:
                self._miss(held.symbol)
                continue
            needs = {held.opening.timeframe: max(self._needs.values()), **self._needs}
            lacking = {Series(held.symbol, timeframe): count for timeframe, count in needs.items()}
            lacking = {series: count for series, count in lacking.items() if series not in p.wanted}
            if lacking and held.symbol not in self.chosen:
                log.warning("followed until its position is closed, though it is not chosen", symbol=held.symbol)
            p.wanted.update(lacking)
            fresh |= lacking
        p.windows.follow(fresh)
        return fresh

    def show(self, wanted: Iterable[Series]) -> None:
        """Tell trader and broker of the bars that have been loaded of some series."""
        p = self._p
        for series in wanted:
            bars = p.windows.bars(series)
            if len(bars):
                p.trader.situation.prices[series.symbol] = decimal_of(bars.close.item(-1))
            if series.timeframe == p.finest:
                p.broker.on_bars(series.symbol, bars)

    def _miss(self, symbol: str) -> None:
        if symbol not in self._unknown:
            self._unknown.add(symbol)
            log.error("a position is held where nobody tells the rules: only its orders on the exchange guard it",
                      symbol=symbol, way_out="add it to trading.symbols, or close it by hand")  # fmt: skip

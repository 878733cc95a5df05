"""Builds what history needs from the settings."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Self

import structlog

from bootstrap import parts
from bootstrap.place import refuse_if_held
from bootstrap.rules import funding_told
from bootstrap.sources import Budgets, sources
from domain import retention
from domain.candle import Series
from domain.coverage import Span
from domain.errors import ConfigError, Rejected, RevenantError
from domain.funding import gaps
from domain.source import Source
from history import symbols
from history.backfill import backfill
from history.chain import Chain
from history.port import PERPETUAL, SPOT
from history.sources import dialects
from history.sources.exchange import ExchangeSource
from history.sources.web import CoinGecko
from persistence.history import CandleHistory, SyncNote
from persistence.perpetuals import FundingHistory, MarkHistory
from persistence.symbols import SymbolRegistry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from domain.instrument import Instrument
    from history import fetch
    from history.backfill import Backfilled
    from history.chain import Progress
    from history.symbols import Market
    from persistence.history import Entry
    from settings import Settings

log = structlog.get_logger(__name__)

MARKS: Mapping[Source, Callable[[], dialects.Dialect]] = MappingProxyType({
    Source.BINANCE: dialects.BinanceMarks, Source.BYBIT: dialects.BybitMarks, Source.OKX: dialects.OkxMarks
})  # fmt: skip


@dataclass(slots=True)
class Fetched:
    """What was fetched of a perpetual: new mark prices, funding payments, and why not all, "" when all."""

    marks: int = 0
    payments: int = 0
    error: str = ""


class History:
    """All that is stored of candles under one configuration, and what fetches more of them; to be closed.

    Attributes:
        database: where everything rests.
        candles: the candles of every source, and the books about them.
        marks: mark prices of perpetuals.
        funding: funding payments of perpetuals.
        markets: the markets that each source has said to have.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = parts.database(settings)
        self.candles = CandleHistory(self.database)
        self.marks = MarkHistory(self.database, self.candles)
        self.funding = FundingHistory(self.database)
        self.markets = SymbolRegistry(self.database)
        self._budgets = Budgets(settings)

    def __enter__(self) -> Self:
        """Return itself, to be closed in the end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close everything."""
        self.close()

    def close(self) -> None:
        """Close the connections to the database and the files of the budgets."""
        self._budgets.close()
        self.database.close()

    def chain(self, wanted: Sequence[Source], ahead_ms: int = 0) -> Chain:
        """Return the sources as a chain whose every request is noted in the sync log.

        ``ahead_ms`` is how far this host's clock is ahead: a bar that is not over yet must not be taken for absent.
        """
        asked = sources(self.settings, wanted, self._budgets)
        now = lambda: int(time.time() * 1000) - ahead_ms  # noqa: E731  a clock
        return Chain(asked, self.candles, self._log_sync, now, symbols.renamed_life)

    async def fill(
        self, order: Sequence[Source], wanted: Mapping[Series, Span], kind: str, progress: Progress | None = None
    ) -> Backfilled:
        """Fetch what is missing of every series in its window; the first source's table is the one that is filled."""
        asked = self.chain(order)
        try:
            return await backfill(asked, wanted, progress, kind=kind)
        finally:
            await asked.close()

    async def fetch_perpetual(self, source: Source, symbol: str, asked: Span) -> Fetched:
        """Fetch the mark prices (1h) and the funding of a perpetual that are missing of a span.

        Raises:
            ConfigError: when the source has none.
        """
        if source not in MARKS:
            raise ConfigError(f"source {source}: mark prices and funding come from {', '.join(MARKS)}")
        address, got = self.settings.history.addresses.get(source, ""), Fetched()
        fetcher = ExchangeSource(MARKS[source](), self._budgets, address=address)
        marks = Chain([fetcher], self.marks, self._log_sync)
        try:
            filled = await marks.fill(Series(symbol, "1h"), asked, kind="marks")
            got.marks = filled.added
            known = await asyncio.to_thread(self.funding.load, source, symbol, filled.window)
            due = funding_told(self.settings, source).get(symbol, ())
            for gap in gaps(*known, filled.window, due):
                async for page in fetcher.funding(symbol, gap.span):
                    got.payments += await asyncio.to_thread(self.funding.save, source, symbol, page)
        except RevenantError as error:
            got.error = str(error)
        finally:
            await fetcher.close()
        return got

    async def fetch_rules(self, source: Source, wanted: Sequence[str]) -> tuple[dict[str, Instrument], dict[str, str]]:
        """Return the trading rules that a source reports of symbols now, and why not of the others.

        Raises:
            ConfigError: for a source that reports none. Unavailable: when it does not answer.
        """
        asked = sources(self.settings, [source], self._budgets)
        fetcher = next((one for one in asked if isinstance(one, ExchangeSource) and one.lists_markets), None)
        found: dict[str, Instrument] = {}
        refused: dict[str, str] = {}
        try:
            if fetcher is None:
                raise ConfigError(f"source {source}: reports no trading rules; binance, okx and bybit do")
            for symbol in wanted:
                try:
                    found[symbol] = await fetcher.rules(symbol)
                except Rejected as error:
                    refused[symbol] = str(error)
        finally:
            for one in asked:
                await one.close()
        return found, refused

    async def refresh_markets(self, source: Source) -> int:
        """Ask a source for its markets, and CoinGecko for their coins' ranks; keep both, return how many markets.

        Raises:
            ConfigError: for a source that lists no markets. Unavailable, Rejected: when it does not answer.
        """
        asked = sources(self.settings, [source], self._budgets)
        fetcher = next((one for one in asked if isinstance(one, ExchangeSource)), None)
        if fetcher is None or source is Source.ALPACA:
            raise ConfigError(f"source {source}: lists no markets; binance, okx and bybit do")
        (gecko,) = sources(self.settings, [Source.COINGECKO], self._budgets)
        assert isinstance(gecko, CoinGecko)
        try:
            markets = [one for kind in (PERPETUAL, SPOT) for one in await fetcher.markets(kind)]
            try:
                ranks = await gecko.ranks()
            except RevenantError as error:
                log.warning("symbols have no ranks: CoinGecko does not answer", reason=str(error))
                ranks = {}
            await asyncio.to_thread(self.markets.replace, source, symbols.ranked(markets, ranks))
        finally:
            await fetcher.close()
            await gecko.close()
        return len(markets)

    def known_markets(self, source: Source) -> list[Market]:
        """Return the markets that a source has said to have."""
        return [symbols.Market(*row) for row in self.markets.load(source)]

    def _log_sync(
        self, kind: str, source: Source, series: Series, span: Span, status: str, got: fetch.Fetched, said: str,
        at: datetime,
    ) -> None:  # fmt: skip
        counts = (got.processed, got.added, got.updated, got.refused)
        self.candles.log(SyncNote(kind, source, series, span, status, *counts, said, at))


def spans_to_prune(settings: Settings, entry: Entry, pins: Sequence[retention.Pin]) -> list[Span]:
    """Return the spans of a stored series that are older than the settings keep, pinned ones excepted."""
    if entry.earliest is None or entry.latest is None:
        return []
    held = settings.history
    keep = {**held.keep_days, **held.keep_days_of.get(entry.source, {})}
    stored = Span(entry.earliest, entry.latest + 1)
    return retention.due(entry.source, entry.series, stored, keep, pins, int(time.time() * 1000))


def bot_runs(settings: Settings) -> bool:
    """Say whether a bot holds the data folder."""
    try:
        refuse_if_held(settings, "this")
    except RevenantError:
        return True
    return False

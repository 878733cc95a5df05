"""Builds what history needs from the settings."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import structlog

from bootstrap import control, parts
from bootstrap.sources import Budgets, sources
from domain.candle import Series
from domain.coverage import Span
from domain.errors import ConfigError, RevenantError
from domain.source import Source
from history import retention, symbols
from history.backfill import backfill
from history.chain import Chain
from history.export import FUNDING_MAX_MS
from history.port import PERPETUAL, SPOT
from history.sources import dialects
from history.sources.exchange import ExchangeSource
from history.sources.web import CoinGecko
from persistence.history import CandleHistory, SyncNote
from persistence.perpetuals import FundingHistory, MarkHistory
from persistence.symbols import SymbolRegistry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import date

    from domain.candle import Times
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
FOREVER = 2**53


@dataclass(frozen=True, slots=True)
class Stores:
    """Where history rests: candles and their books, mark prices, funding."""

    candles: CandleHistory
    marks: MarkHistory
    funding: FundingHistory


def stores(settings: Settings) -> Stores:
    """Return where history rests."""
    database = parts.database(settings)
    candles = CandleHistory(database)
    return Stores(candles, MarkHistory(database, candles), FundingHistory(database))


def history(settings: Settings) -> CandleHistory:
    """Return the candles of every source."""
    return CandleHistory(parts.database(settings))


def spans_to_prune(settings: Settings, entry: Entry) -> list[Span]:
    """Return the spans of a stored series that are older than the settings keep."""
    if entry.earliest is None or entry.latest is None:
        return []
    held = settings.history
    pins = [
        retention.Pin(one.source, one.symbol, one.timeframe, Span(_day(one.since, 0), _day(one.until, FOREVER)))
        for one in held.pinned
    ]
    keep = {**held.keep_days, **held.keep_days_of.get(entry.source, {})}
    stored = Span(entry.earliest, entry.latest + 1)
    return retention.due(entry.source, entry.series, stored, keep, pins, int(time.time() * 1000))


def _day(day: date | None, otherwise: int) -> int:
    return otherwise if day is None else int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)


def bot_runs(settings: Settings) -> bool:
    """Say whether a bot holds the data folder."""
    try:
        control.refuse_if_held(settings, "this")
    except RevenantError:
        return True
    return False


@dataclass(slots=True)
class Fetched:
    """What was fetched of a perpetual: new mark prices, funding payments, and why not all, "" when all."""

    marks: int = 0
    payments: int = 0
    error: str = ""


async def fetch_perpetual(settings: Settings, source: Source, symbol: str, asked: Span) -> Fetched:
    """Fetch the mark prices (1h) and the funding of a perpetual that are missing of a span.

    Raises:
        ConfigError: when the source has none.
    """
    if source not in MARKS:
        raise ConfigError(f"source {source}: mark prices and funding come from {', '.join(MARKS)}")
    held, store, got = settings.history, stores(settings), Fetched()
    fetcher = ExchangeSource(MARKS[source](), Budgets(settings), address=held.addresses.get(source, ""))
    marks = Chain([fetcher], store.marks, _logger(store.candles))
    try:
        filled = await marks.fill(Series(symbol, "1h"), asked, kind="marks")
        got.marks = filled.added
        known, _ = await asyncio.to_thread(store.funding.load, source, symbol, filled.window)
        for hole in _unpaid(known, filled.window):
            async for page in fetcher.funding(symbol, hole):
                got.payments += await asyncio.to_thread(store.funding.save, source, symbol, page)
    except RevenantError as error:
        got.error = str(error)
    finally:
        await fetcher.close()
    return got


def _unpaid(known: Times, window: Span) -> list[Span]:
    """Return the stretches without a payment that are longer than any exchange here leaves."""
    times = np.concatenate(([window.start], known, [window.end]))
    wide = np.flatnonzero(np.diff(times) > FUNDING_MAX_MS)
    return [Span(int(times[i]), int(times[i + 1])) for i in wide]


def chain(settings: Settings, wanted: Sequence[Source], store: CandleHistory) -> Chain:
    """Return the sources as a chain whose every request is noted in the sync log."""
    return Chain(sources(settings, wanted), store, _logger(store), facts=symbols.renamed_life)


async def refresh_symbols(settings: Settings, source: Source) -> int:
    """Ask a source for its markets, and CoinGecko for their coins' ranks; keep both, return how many markets.

    Raises:
        ConfigError: for a source that lists no markets. Unavailable, Rejected: when it does not answer.
    """
    fetcher = next((one for one in sources(settings, [source]) if isinstance(one, ExchangeSource)), None)
    if fetcher is None or source is Source.ALPACA:
        raise ConfigError(f"source {source}: lists no markets; binance, okx and bybit do")
    gecko = CoinGecko(Budgets(settings), settings.history.addresses.get(Source.COINGECKO, ""))
    try:
        markets = [one for kind in (PERPETUAL, SPOT) for one in await fetcher.markets(kind)]
        try:
            ranks = await gecko.ranks()
        except RevenantError as error:
            log.warning("symbols have no ranks: CoinGecko does not answer", reason=str(error))
            ranks = {}
        held = symbols.ranked(markets, ranks)
        await asyncio.to_thread(SymbolRegistry(parts.database(settings)).replace, source, held)
    finally:
        await fetcher.close()
        await gecko.close()
    return len(markets)


def symbols_are_fresh(settings: Settings, source: Source) -> bool:
    """Say whether a source was asked for its markets in the last 24 hours."""
    return SymbolRegistry(parts.database(settings)).fresh(source)


def known_symbols(settings: Settings, source: Source) -> list[Market]:
    """Return the markets that a source has said to have."""
    return [symbols.Market(*row) for row in SymbolRegistry(parts.database(settings)).load(source)]


async def fill(
    settings: Settings, order: Sequence[Source], wanted: Mapping[Series, Span], kind: str,
    progress: Progress | None = None,
) -> Backfilled:  # fmt: skip
    """Fetch what is missing of every series in its window, the first source's table being the one that is filled."""
    asked = chain(settings, order, history(settings))
    try:
        return await backfill(asked, wanted, progress, kind=kind)
    finally:
        await asked.close()


def _logger(store: CandleHistory) -> Callable[..., None]:
    def log_sync(
        kind: str, source: Source, series: Series, span: Span, status: str, got: fetch.Fetched, said: str, at: datetime
    ) -> None:
        counts = (got.processed, got.added, got.updated, got.refused)
        store.log(SyncNote(kind, source, series, span, status, *counts, said, at))

    return log_sync

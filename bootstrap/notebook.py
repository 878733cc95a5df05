"""Stored candles as tables, for notebooks and scripts; the configuration is the bot's own.

from bootstrap.notebook import get_ohlcv, update_recent_data

update_recent_data("BTC/USDT:USDT", "1h")
frame = get_ohlcv("binance", "BTC/USDT:USDT", "1h", since="2024-01-01", until="2024-02-01")
frame.close.plot()
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

import settings as settings_module
from bootstrap import parts
from bootstrap.history import History
from bootstrap.moments import milliseconds
from domain.candle import Series
from domain.coverage import Span, known_timeframe
from domain.errors import BadData
from domain.source import MERGE_ORDER, Source
from persistence.candle_reader import read_best

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from bootstrap.moments import Moment
    from history.backfill import Backfilled

BEST = "best"
FOREVER = 2**53


def get_ohlcv(
    source: str,
    symbol: str,
    timeframe: str,
    since: Moment | None = None,
    until: Moment | None = None,
    limit: int | None = None,
    *,
    config: Path | None = None,
) -> pd.DataFrame:
    """Return stored bars, oldest first, with an index of UTC open times.

    Args:
        source: whose bars, such as ``binance``; ``best`` merges all real sources, the best first, and adds a column
            ``source`` that says whose each bar is.
        symbol: such as ``BTC/USDT:USDT``.
        timeframe: such as ``15m``.
        since: first open time: text such as ``2024-01-31``, a date, datetime, pandas timestamp, ``datetime64`` or a
            number of s, ms, us or ns since 1970; UTC where it says no zone.
        until: the first open time that is outside.
        limit: the newest so many of them; None for all.
        config: configuration file; without it the bot's.

    Returns:
        Columns open, high, low, close (quote per base), volume (base), turnover (quote); empty when nothing is stored.

    Raises:
        BadData: for a source, timeframe or time that is none.
        Unavailable: when the database does not answer.
    """
    if source != BEST and source not in set(Source):
        raise BadData(f"source {source!r} is not known; there are {', '.join(Source)} and {BEST}")
    span = Span(milliseconds(since, 0), milliseconds(until, FOREVER))
    series, database = (
        Series(symbol, known_timeframe(timeframe)),
        parts.database(settings_module.load(config, trading=False)),
    )
    try:
        wanted = MERGE_ORDER if source == BEST else (Source(source),)
        bars, places = read_best(database, wanted, series, span)
    finally:
        database.close()
    frame = bars.to_frame()
    if source == BEST:
        frame["source"] = np.array([one.value for one in wanted], dtype=object)[places]
    return frame if limit is None else frame.tail(limit)


def update_recent_data(symbol: str, timeframe: str, *, config: Path | None = None) -> dict[str, Any]:
    """Fetch what has closed since the newest stored bar, from the configured chain of sources; return the totals.

    Works inside a notebook too, whose event loop is running already.

    Raises:
        BadData: when nothing of the series is stored yet; download it first.
    """
    settings = settings_module.load(config, trading=False)
    series, primary = Series(symbol, known_timeframe(timeframe)), settings.history.chain[0]
    found: list[Backfilled] = []
    with History(settings) as history:
        entry = history.candles.entry(primary, series)
        if entry is None or entry.latest is None:
            raise BadData(f"{symbol} {timeframe}: nothing stored from {primary}; use manage.py data download first")
        window = Span(entry.latest, FOREVER)

        def work() -> None:
            found.append(asyncio.run(history.fill(settings.history.chain, {series: window}, "update")))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    if not found:
        raise BadData(f"{symbol} {timeframe}: the update failed; look at manage.py data status")
    totals: dict[str, Any] = found[0].statistics
    return totals

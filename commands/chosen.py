"""Which stored series a command is about."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from commands.shared import SYMBOLS
from commands.times import FOREVER
from domain.candle import timeframe_ms
from domain.coverage import Span, known_timeframe
from domain.errors import BadData
from domain.source import Source
from domain.symbols import Symbols as Names
from domain.symbols import base_of

if TYPE_CHECKING:
    from bootstrap.history import History
    from persistence.history import CandleHistory, Entry

OneSource = Annotated[Source | None, typer.Option("-s", "--source", help="One source only.")]
Symbols = Annotated[
    list[str] | None,
    typer.Option(*SYMBOLS, help="Such as BTC, BTC/USDT:USDT or 1000*; repeated or with commas."),
]
Timeframes = Annotated[
    list[str] | None, typer.Option("-t", "--timeframes", "--timeframe", help="Such as 15m; repeated or with commas.")
]
Top = Annotated[
    int, typer.Option("--top", "--limit", "--max-coins", min=0, help="The so many highest ranked coins; 0 for all.")
]


def chosen(
    store: CandleHistory, source: Source | None, symbols: list[str] | None, timeframes: list[str] | None
) -> list[Entry]:
    """Return the stored series that are named, all where none is. Raises BadData when there are none."""
    names, frames = several(symbols), [known_timeframe(one) for one in several(timeframes)]
    held = [entry for entry in store.entries(source) if entry.rows]
    stored = sorted({entry.series.symbol for entry in held})
    known, wanted = Names(stored), set[str]()
    for name in names:
        meant = known.matches(name)
        if not meant:
            where = f" from {source}" if source else ""
            raise BadData(f"{name}: nothing stored of it{where}; stored are {', '.join(stored[:20]) or 'none'}")
        wanted.update(meant)
    found = [
        entry for entry in held
        if (not names or entry.series.symbol in wanted) and (not frames or entry.series.timeframe in frames)
    ]  # fmt: skip
    if not found:
        raise BadData(
            f"nothing stored{f' from {source}' if source else ''}; bring some in with data import or download"
        )
    return found


def highest(history: History, entries: list[Entry], top: int) -> list[Entry]:
    """Return the entries of the ``top`` highest ranked coins, by name where no rank is known; all for 0."""
    if not top:
        return entries
    ranks = {
        base_of(market.symbol): market.rank
        for source in {entry.source for entry in entries} for market in history.known_markets(source) if market.rank
    }  # fmt: skip
    coins = {base_of(entry.series.symbol) for entry in entries}
    first = sorted(coins, key=lambda coin: (coin not in ranks, ranks.get(coin, 0), coin))[:top]
    return [entry for entry in entries if base_of(entry.series.symbol) in first]


def several(told_once_or_more: list[str] | None) -> list[str]:
    """Return what was given by repeating an option, by commas, or both."""
    return [one.strip() for text in told_once_or_more or [] for one in text.replace(" ", ",").split(",") if one.strip()]


def judged_window(entry: Entry, asked: Span) -> Span:
    """Return the span that a series is judged on: from a moment that was asked for on, it should reach up to now.

    Without such a moment it ends with the last stored bar; so it does on a practice exchange, whose market has times
    of its own.
    """
    if not asked.start or entry.source.practice:
        return window_of(entry, asked)
    step = timeframe_ms(entry.series.timeframe)
    closed = int(time.time() * 1000) // step * step
    return window_of(entry, Span(asked.start, min(asked.end, closed)))


def window_of(entry: Entry, asked: Span) -> Span:
    """Cut the asked span to the market's life; where it is open, to the first or the last stored bar."""
    assert entry.earliest is not None
    assert entry.latest is not None
    # the bar in which a market was listed is its first
    step = timeframe_ms(entry.series.timeframe)
    listed = entry.listed // step * step if entry.listed is not None else entry.earliest
    start = max(asked.start, listed) if asked.start else entry.earliest
    last = entry.latest + step
    end = last if asked.end == FOREVER else min(asked.end, int(time.time() * 1000))
    return Span(start, max(start, min(end, entry.delisted or end)))

"""What somebody asks of a backtest, by command or on the page, made a request of what is stored."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from app.backtest import Request, stored_span
from app.names import to_read
from bootstrap.history import History
from domain import dates
from domain.coverage import Span
from domain.errors import BadData, ConfigError, Rejected
from domain.source import Source
from settings import with_values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from settings import Settings

FOREVER = 2**53
COSTS = {"fee": "paper.taker_fee", "slippage": "paper.slippage", "wallet": "paper.wallet"}


def requested(
    settings: Settings, source: Source | None, symbols: Sequence[str], strategies: Sequence[str], span: Span,
    where: str = "--symbols",
) -> Request:  # fmt: skip
    """Return a request; symbols that nobody names are those of ``trading.symbols``, or all that the bot has stored.

    Raises ConfigError when no symbol is named anywhere, or one that means nothing; ``where`` says who named it.
    """
    written, place = list(symbols) or settings.trading.symbols, where if symbols else "trading.symbols"
    whose = source or default_source(settings)
    with History(settings) as history:
        written = written or _own(history, whose)
        chosen = tuple(to_read(history, whose, written, place))
    return Request(whose, chosen, tuple(strategies), span)


def default_source(settings: Settings) -> Source:
    """Return whose bars are meant: of made-up markets, and of sources beside the chain, there are their own only."""
    own, chain = settings.source, settings.history.chain
    return own if own.practice or (own.polled and own not in chain) else chain[0]


def checked(settings: Settings, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the form of the page asks for, its names in full, once it is sure that a backtest can begin.

    Raises Rejected for what is wrong: where, and what to write. Whether bars are missing inside the time the backtest
    itself finds out.
    """
    given = {name: str(asked[field]) for field, name in COSTS.items() if asked[field]}
    if asked["source"] and asked["source"] not in list(Source):
        raise Rejected(f"source: {asked['source'][:40]!r} is none; there are {', '.join(Source)}")
    source = Source(asked["source"]) if asked["source"] else None
    try:
        span = _span(asked["since"], asked["until"])
        request = requested(
            with_values(settings, given), source, asked["symbols"], asked["strategies"], span, "symbols"
        )
        stored_span(settings, request)
    except (BadData, ConfigError) as error:
        raise Rejected(str(error)) from error
    return {**asked, "source": request.source.value, "symbols": list(request.symbols)}


def _span(since: str, until: str) -> Span:
    now = int(time.time() * 1000)
    start, end = (dates.moment(text, now) if text else otherwise for text, otherwise in ((since, 0), (until, FOREVER)))
    if start >= end:
        raise BadData(f"the time from {since or '...'} to {until or '...'} is empty or reversed")
    return Span(start, end)


def _own(history: History, whose: Source) -> list[str]:
    """Return the symbols that a bot without a list of them has stored. Raises ConfigError where there are none."""
    own = history.settings.source
    stored = sorted({one.series.symbol for one in history.candles.entries(whose) if one.rows}) if whose is own else []
    if not stored:
        hint = "; the bot stores bars while it runs (python live_bot.py)" if whose is own else f", or give -s {own}"
        raise ConfigError(f"name symbols with --symbols BTC/USDT:USDT, or set trading.symbols in config.yaml{hint}")
    return stored

"""Builds what chooses the symbols from the settings, and asks it for the first time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from broker.bybit.klines import BybitKlines
from domain.candle import Series
from domain.durations import DAY_MS
from domain.errors import ConfigError, Rejected
from domain.pairlists import DAILY, METHODS
from engine import universe
from engine.selection import Selection, Universe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bootstrap.parts import Venue
    from domain.instrument import Instrument
    from domain.pairlists import Pairlist
    from domain.ports import Klines
    from settings import Settings

log = structlog.get_logger(__name__)


def pairlists_of(settings: Settings) -> list[Pairlist]:
    """Return the filters that the settings name, in their order."""
    return [METHODS[one.method](**one.given) for one in settings.pairlists]


def klines_of(venue: Venue, instruments: Mapping[str, Instrument]) -> Klines:
    """Return what tells closed bars of the symbols of a venue."""
    if venue.client is None:
        # the first look at a source's calendar loads what others need not
        from bootstrap.polled import SourceKlines  # noqa: PLC0415

        return SourceKlines(venue.source)
    return BybitKlines(venue.client, {symbol: rules.venue_id for symbol, rules in instruments.items()})


def selection_of(
    settings: Settings, venue: Venue, instruments: Mapping[str, Instrument], known: Mapping[str, Instrument]
) -> Selection | None:
    """Return what chooses the symbols, None where no pairlists are configured. Raises ConfigError."""
    if not settings.pairlists:
        return None
    trading = settings.trading
    blacklist = frozenset(universe.banned({**known, **instruments}, trading.blacklist))
    return Selection(
        pairlists_of(settings),
        lambda rules: universe.candidates(rules, trading.symbols, blacklist, trading.allow),
        klines_of(venue, instruments),
    )


async def first(selection: Selection, instruments: Mapping[str, Instrument]) -> Universe:
    """Return what a selection says before anything else is known. Raises ConfigError, Unavailable."""
    candidates = selection.candidates(instruments)
    if not candidates:
        raise ConfigError("trading.symbols: none of them can be traded; list symbols such as BTC/USDT:USDT")
    return await selection.choose(instruments, await _today(selection, candidates[0]))


async def _today(selection: Selection, symbol: str) -> int:
    """Return when the market's day began (UTC ms): a practice market has a time of its own."""
    try:
        newest = await selection.klines.latest(Series(symbol, DAILY), 1)
    except Rejected as error:
        log.warning("no daily candles", symbol=symbol, reason=str(error))
    else:
        if len(newest):
            return int(newest.open_time.item(-1)) + DAY_MS
    return int(time.time() * 1000)


def followed(selection: Selection, chosen: Universe, instruments: Mapping[str, Instrument], most: int) -> list[str]:
    """Return the symbols to follow from the start: those kept; where none is, the first candidates.

    The bot has positions to guard, and goes on asking the filters; entries are refused until they keep something.
    """
    if chosen.kept:
        return list(chosen.kept)
    log.warning("the pairlists keep no symbol: no entries", removed=len(chosen.removed), way_out="manage.py symbols")
    return selection.candidates(instruments)[:most]

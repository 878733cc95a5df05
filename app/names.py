"""What people call symbols, in settings and on command lines: which ones they mean of those that are known here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bootstrap.parts import known_rules
from domain.errors import ConfigError
from domain.symbols import Symbols, in_full
from history.port import market_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bootstrap.history import History
    from domain.source import Source

LISTED = "trading.symbols"


def to_fetch(history: History, source: Source, entries: Sequence[str], where: str, kind: str = "") -> list[str]:
    """Return the symbols that a list names, each once, of which bars are to be had from a source.

    One written in full (``BTC/USDT`` is the spot market) is taken as it is; ``BTC`` and ``BTCUSDT`` are the likeliest
    symbol of that name, a pattern all that match: of those that the source has told of or that are stored of it, else
    of those that the bot here may trade. ``kind`` is the kind of market that is meant where it is not written out. At
    a source of stocks a word that is not known may be one.

    Raises:
        ConfigError: beginning with ``where``, naming an entry that matches nothing. So do the others here.
    """
    known = [*_stored(history, source), *(one.symbol for one in history.known_markets(source))]
    known = [name for name in known if not kind or market_of(name) == kind]
    groups = [Symbols(known), Symbols(known_rules(history.settings, history.settings.source))]
    if source.stocks:
        return _each(groups[0].listed(entry) or entry for entry in entries)
    return _each(entry if in_full(entry) else _meant(entry, groups, where) for entry in entries)


def to_keep(history: History) -> list[str]:
    """Return the symbols of the bot's own list, by which the regular jobs go."""
    settings = history.settings
    source, entries = settings.history.chain[0], settings.trading.symbols
    groups = [Symbols(known_rules(settings, settings.source)), Symbols(_stored(history, source))]
    if settings.source.stocks:
        return _each(groups[0].listed(entry) or entry for entry in entries)
    return _each(_meant(entry, groups, LISTED) for entry in entries)


def to_read(history: History, source: Source, entries: Sequence[str], where: str) -> list[str]:
    """Return the symbols that a list names, each once, of those that are stored of a source."""
    groups = [Symbols(_stored(history, source))]
    return _each(_meant(entry, groups, where) for entry in entries)


def _stored(history: History, source: Source) -> list[str]:
    return [entry.series.symbol for entry in history.candles.entries(source) if entry.rows]


def _meant(entry: str, groups: Sequence[Symbols], where: str) -> str | list[str]:
    found = next(filter(None, (names.listed(entry) for names in groups)), [])
    if found or in_full(entry):
        # of what is written in full whoever is asked for it says whether it is there
        return found or entry
    hint = next(filter(None, (names.hint(entry) for names in groups)), "")
    raise ConfigError(f"{where}: {entry!r} matches no symbol that is known; {hint or 'write BTC/USDT:USDT in full'}")


def _each(found: Iterable[str | list[str]]) -> list[str]:
    return list(dict.fromkeys(name for one in found for name in ([one] if isinstance(one, str) else one)))

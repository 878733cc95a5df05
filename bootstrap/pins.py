"""The ranges of stored bars that are never deleted, as the settings name them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from domain.coverage import Span
from domain.errors import ConfigError
from domain.retention import Pin
from domain.symbols import Symbols

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from persistence.history import Entry
    from settings import Settings

FOREVER = 2**53


def pins_of(settings: Settings, entries: Sequence[Entry]) -> list[Pin]:
    """Return the ranges that are never pruned, of all that is stored.

    Raises:
        ConfigError: naming a pinned symbol that matches nothing: what was to be kept would be deleted.
    """
    pins = []
    for one in settings.history.pinned:
        span = Span(_day(one.since, 0), _day(one.until, FOREVER))
        stored = Symbols(entry.series.symbol for entry in entries if one.source in {None, entry.source})
        meant = stored.matches(one.symbol) if one.symbol else [""]
        if not meant and entries:
            said = f"history.pinned: {one.symbol!r} matches no symbol that is stored; {stored.hint(one.symbol)}"
            raise ConfigError(said.rstrip("; "))
        pins += [Pin(one.source, symbol, one.timeframe, span) for symbol in meant]
    return pins


def _day(day: date | None, otherwise: int) -> int:
    return otherwise if day is None else int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)

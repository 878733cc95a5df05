"""Bars of other symbols that a strategy looks at and does not trade: how they are named, and whether they are there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from domain.candle import timeframe_ms
from domain.symbols import Symbols

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from domain.candle import Bars


def written(strategy: Any) -> tuple[str, ...]:
    """Return the other symbols that a strategy looks at, as it writes them; most look at none."""
    return tuple(getattr(strategy, "informative", ()))


def key(name: str, timeframe: str) -> str:
    """Return under which key a strategy is given the bars of another symbol."""
    return f"{name} {timeframe}"


def meant(strategies: Iterable[Any], symbols: Iterable[str]) -> dict[str, str]:
    """Return which of the symbols of a market the names that strategies write stand for; what it lacks is left out."""
    names = {name for strategy in strategies for name in written(strategy)}
    known = Symbols(symbols) if names else None
    found = {name: known.one(name) for name in sorted(names)} if known is not None else {}
    return {name: symbol for name, symbol in found.items() if symbol is not None}


def lacking(strategy: Any, symbols: Mapping[str, str]) -> str:
    """Return the first name that stands for no symbol of a market, "" when each does."""
    return next((name for name in written(strategy) if name not in symbols), "")


def late(strategy: Any, frames: Mapping[str, Bars], close_time: int) -> str:
    """Return the first of a strategy's other series whose bar up to a close (UTC ms) is not there, "" when all are."""
    for name in written(strategy):
        for timeframe in strategy.timeframes:
            bars, step = frames[key(name, timeframe)], timeframe_ms(timeframe)
            if not len(bars) or bars.open_time.item(-1) + step != close_time // step * step:
                return key(name, timeframe)
    return ""

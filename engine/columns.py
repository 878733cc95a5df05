"""Has strategies compute: of bars that they cannot change, and of which symbol where one wants to know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from domain.candle import Bars


def columns_of(strategy: Any, symbol: str, frames: Mapping[str, Bars]) -> Any:
    """Return a strategy's columns of a symbol's bars, by timeframe.

    Most compute alike for all symbols and are not told which; one that has a method ``columns_of`` is.
    """
    held = {timeframe: bars.read_only() for timeframe, bars in frames.items()}
    told = getattr(strategy, "columns_of", None)
    return told(symbol, held) if told is not None else strategy.columns(held)


def newest_of(strategy: Any, frames: Mapping[str, Bars]) -> dict[str, Bars]:
    """Return as many of the newest bars as a strategy wants for deciding on the last; all of them without a wish."""
    most: Mapping[str, int] = getattr(strategy, "newest_bars", {})
    return {timeframe: held[-most[timeframe] :] if timeframe in most else held for timeframe, held in frames.items()}

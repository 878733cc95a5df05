"""What strategies have computed of bars, for a chart: their columns, a value for each bar."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from domain import informative
from domain.candle import Bars, Series, timeframe_ms
from engine import columns as computing
from engine.foreign_code import naming

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from strategies.strategy import Columns

    Load = Callable[[Series, int, int], Bars]

DIGITS = 8
"""Significant digits of a value: more than a picture shows."""


def columns_of(
    strategies: Iterable[Any], series: Series, before: int, count: int, load: Load, symbols: Iterable[str] = ()
) -> list[dict[str, Any]]:  # fmt: skip
    """Return the columns of the strategies that decide on a series, for its newest bars before a time.

    Args:
        strategies: those in use.
        series: whose bars are shown.
        before: open time (UTC ms) that the bars are older than.
        count: how many bars.
        load: returns the newest bars of a series before a time, so many at most.
        symbols: those of which there are bars; a strategy that looks at another one is left out.

    Raises:
        BadData: when a strategy fails, with its name.
        Unavailable: when bars cannot be had.
    """
    deciding = [one for one in strategies if one.timeframes[0] == series.timeframe]
    others = informative.meant(deciding, symbols)
    whole = [one for one in deciding if not informative.lacking(one, others)]
    return [row for one in whole if (row := _row(one, series, before, count, load, others))]


def _row(
    strategy: Any, series: Series, before: int, count: int, load: Load, others: Mapping[str, str]
) -> dict[str, Any] | None:  # fmt: skip
    frames = {name: _frame(strategy, Series(series.symbol, name), series, before, count, load)
              for name in strategy.timeframes}  # fmt: skip
    frames |= {informative.key(other, name): _frame(strategy, Series(others[other], name), series, before, count, load)
               for other in informative.written(strategy) for name in strategy.timeframes}  # fmt: skip
    if not all(map(len, frames.values())):
        return None
    own = frames[series.timeframe]
    with naming(strategy.name):
        found: Columns = computing.columns_of(strategy, series.symbol, frames)
        lines = {name: _values(held[-count:]) for name, held in found.items() if _is_own(name, held, own)}
    drawn = {name: held for name, held in lines.items() if held is not None}
    return {"strategy": strategy.name, "times": own.open_time[-count:].tolist(), "columns": drawn}


def _is_own(name: str, column: Any, bars: Bars) -> bool:
    """Return whether a column is a value of each bar, and none that the bars themselves have."""
    return len(column) == len(bars) and not np.array_equal(column, getattr(bars, name, ()))


def _frame(strategy: Any, wanted: Series, shown: Series, before: int, count: int, load: Load) -> Bars:
    spans = -(-count * timeframe_ms(shown.timeframe) // timeframe_ms(wanted.timeframe))
    return load(wanted, before, spans + strategy.warmup_bars.get(wanted.timeframe, 0))


def _values(column: Any) -> list[float | None] | None:
    """Return a column as JSON can say it: nothing where it has no value; None for one that is no line of numbers."""
    held = np.asarray(column)
    if held.ndim != 1 or held.dtype.kind not in "fiu":
        return None
    numbers = held.astype(float).tolist()
    return [float(f"{one:.{DIGITS}g}") if np.isfinite(one) else None for one in numbers]

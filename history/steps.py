"""Moments from which on prices count in other units: splits, redenominations, tickers that another coin took over."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from domain.candle import timeframe_ms
from domain.durations import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from domain.candle import Bars, Series

STEP_LEAST = 1.4
"""A smaller factor from one bar's close to the next one's open may be news."""
USUAL_TIMES = 12.0
AROUND_BARS = 50
WHOLE_MOST = 0.03
"""A ratio is a whole one, or one of two small numbers, up to what a night moves."""
RATIOS = (1.5, 2.5, *range(2, 11), 15, 20, 25, 30, 40, 50, 100, 1_000, 10_000, 100_000, 1_000_000, 24_000)
TOLD_MOST = 5
"""So many steps of a symbol are told; more make nobody wiser."""
AWAY_MS = 5 * DAY_MS
"""No weekend is longer; whoever takes a ticker over begins later than that."""


class Step(NamedTuple):
    """A lasting step: its kind, the number of the first bar after it, and what of it."""

    kind: str
    at: int
    detail: str


def steps(bars: Bars, step_ms: int) -> list[Step]:
    """Find where the level of prices changes between two bars and stays changed.

    ``reused_ticker`` after a silence of days, else ``split`` for a whole ratio, else ``step``. Moves inside of bars
    are trading, however large.
    """
    if len(bars) < 2:  # noqa: PLR2004  nothing is between
        return []
    with np.errstate(all="ignore"):
        jumps = np.log(bars.open[1:] / bars.close[:-1])
        moves = np.abs(np.diff(np.log(bars.close)))
    if not np.isfinite([jumps, moves]).all():
        # such bars are told as what they are
        return []
    waited = np.diff(bars.open_time) / step_ms
    usual = float(np.median(moves[moves > 0])) if (moves > 0).any() else 0.0
    away = np.diff(bars.open_time) - step_ms >= AWAY_MS
    # who has not traded for long comes back where chance has gone meanwhile
    least = np.maximum(np.log(STEP_LEAST), USUAL_TIMES * usual * np.sqrt(waited))
    far = np.flatnonzero(np.abs(jumps) > least).tolist()
    return [
        _named(i + 1, float(jumps[i]), int(waited[i]) - 1, away=bool(away[i]))
        for i in far if _stays(bars, i, float(jumps[i]))
    ]  # fmt: skip


def describe(held: Mapping[Series, Bars]) -> list[str]:
    """Return what whoever trades on these bars should know of lasting steps in them, one line each.

    Of a symbol with several timeframes the finest bars tell, and coarser ones of the time before those begin.
    """
    by_symbol: dict[str, list[str]] = {}
    begins: dict[str, int] = {}
    for series in sorted(held, key=lambda one: (one.symbol, timeframe_ms(one.timeframe))):
        bars, symbol = held[series], series.symbol
        for step in steps(bars, timeframe_ms(series.timeframe)):
            opened = int(bars.open_time[step.at])
            if opened <= begins.get(symbol, opened):
                by_symbol.setdefault(symbol, []).append(f"{step.kind} in {symbol} at {_minute(opened)}: {step.detail}")
        if len(bars):
            begins[symbol] = min(begins.get(symbol, 2**62), int(bars.open_time[0]))
    return [
        line for symbol, lines in by_symbol.items()
        for line in (*lines[:TOLD_MOST], *_more(symbol, len(lines) - TOLD_MOST))
    ]  # fmt: skip


def _more(symbol: str, count: int) -> list[str]:
    return [f"and {count} more steps in {symbol}; data quality lists them"] if count > 0 else []


def _minute(when: int) -> str:
    return str(np.datetime64(when, "ms").astype("datetime64[m]")).replace("T", " ") + " UTC"


def _stays(bars: Bars, i: int, jump: float) -> bool:
    """Return whether the closes after bar i are at another level than those before, as the jump says."""
    before = np.median(np.log(bars.close[max(0, i + 1 - AROUND_BARS) : i + 1]))
    after = np.median(np.log(bars.close[i + 1 : i + 1 + AROUND_BARS]))
    return bool((after - before) / jump > 1 / 2)


def _named(at: int, jump: float, silent: int, *, away: bool) -> Step:
    factor, word = float(np.exp(abs(jump))), "higher" if jump > 0 else "lower"
    near = min(RATIOS, key=lambda ratio: abs(np.log(ratio) - abs(jump)))
    whole = abs(np.log(near) - abs(jump)) <= WHOLE_MOST
    if away:
        detail = f"after {silent} bars without trades prices are {factor:.4g} times {word}: another coin of this name?"
        return Step("reused_ticker", at, detail)
    if whole:
        return Step("split", at, f"prices are {near:g} times {word} from here on: a split or a redenomination")
    return Step("step", at, f"prices are {factor:.4g} times {word} from here on, from one bar to the next")

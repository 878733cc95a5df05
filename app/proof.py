"""Evaluations of strategies: what a backtest has found is kept, and what is kept can be looked at."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from bootstrap.strategy_code import code_hash, terms_hash
from domain.dates import EPOCH, MILLISECOND
from domain.errors import ConfigError
from domain.proof import Evaluation, doubt
from ml.weeks import Weeks
from persistence.evaluations import Evaluations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.backtest import Result
    from domain.trade import Trade
    from ml.weeks import Interval
    from settings import Settings

SEED = 1


def mean_r(trades: Sequence[Trade]) -> Interval:
    """Return the mean result of trades in R with its 95 % interval; trades entered in one week are drawn together."""
    times = np.array([(one.entry_time - EPOCH) // MILLISECOND for one in trades], dtype=np.int64)
    results = np.array([float(one.r_multiple) for one in trades])
    every = np.ones(len(trades), dtype=bool)
    weeks = Weeks(times, SEED)
    return weeks.interval(weeks.means(results, every), every)


def evaluations_of(settings: Settings, result: Result) -> list[Evaluation]:
    """Return what a backtest has found for each of its strategies. Raises ConfigError when one is gone."""
    return [_evaluation(settings, result, name) for name in result.strategies]


def register(settings: Settings, result: Result) -> list[Evaluation]:
    """Keep what a backtest has found for each of its strategies; return that.

    One whose signals a model has chosen is not kept: it is not of the strategy alone. Raises ConfigError, Unavailable.
    """
    if result.request.ml != "off" or result.request.who is not None:
        return []
    found, kept = evaluations_of(settings, result), Evaluations(settings.data_dir)
    for one in found:
        kept.keep(one)
    return found


def rows(settings: Settings) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the evaluations that are kept, each with whether it is of what would run now; and what cannot be read."""
    found, faults = Evaluations(settings.data_dir).load()
    return [as_row(settings, one) for one in found], faults


def as_row(settings: Settings, one: Evaluation) -> dict[str, Any]:
    """Return an evaluation for a report, with whether it is of the code and the terms that would run now."""
    return {**msgspec.to_builtins(one), "current": _current(settings, one)}


def _current(settings: Settings, one: Evaluation) -> bool:
    """Return whether an evaluation is of the code and the terms that would run now."""
    try:
        return one.fits(code_hash(settings, one.strategy), terms_hash(settings, one.strategy, one.source))
    except ConfigError:
        return False


def _evaluation(settings: Settings, result: Result, name: str) -> Evaluation:
    request, span = result.request, result.span
    trades = [one for one in result.outcome.trades if one.strategy_name == name]
    found = mean_r(trades) if trades else None
    low, high = (None, None) if found is None or math.isnan(found.low) else (found.low, found.high)
    why_not = doubt(
        low, len(trades), span.end - span.start, real=not request.source.made_up,
        liquidated=bool(result.outcome.liquidated_at),
    )  # fmt: skip
    return Evaluation(
        strategy=name, code_hash=code_hash(settings, name), terms_hash=terms_hash(settings, name, request.source),
        bars_hash=result.data_hash, source=request.source, symbols=tuple(request.symbols),
        beside=tuple(one for one in result.strategies if one != name), since=span.start, until=span.end,
        signals=len(trades), mean_r=found.value if found is not None else 0.0, low=low, high=high,
        proven=not why_not, reason=why_not or "the interval of its mean R lies above zero",
        made_at=int(time.time() * 1000),
    )  # fmt: skip

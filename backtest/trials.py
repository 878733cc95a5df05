"""Many settings tried on the same past, and how much of the best one's result is owed to trying."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from domain.coverage import Span
from domain.durations import DAY_MS
from domain.errors import BadData

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from domain.candle import Floats

TRIALS_MAX = 100_000
EULER = 0.5772156649015329
NEARLY = 1e-9
OBJECTIVES = ("sharpe", "sortino", "calmar", "profit_percent", "expectancy_r", "profit_factor")
"""Figures that settings can be ranked by."""


@dataclass(frozen=True, slots=True)
class Fold:
    """A time to choose the best settings on, and the time after it to try them on."""

    chosen_on: Span
    tried_on: Span


def choices(text: str) -> tuple[str, list[str]]:
    """Return the name and the values of ``name=1,2,3``, or of ``name=from:to:step``.

    The end is one of them where the steps meet it.

    Raises:
        BadData: when it is neither.
    """
    name, found, told = text.partition("=")
    if not (name and found and told):
        raise BadData(f"{text!r} names no values to try; write mr.touch_atr=0.3,0.5 or mr.touch_atr=0.2:0.8:0.1")
    if ":" not in told:
        values = [one.strip() for one in told.split(",") if one.strip()]
        if not values or any(_endless(one) for one in values):
            raise BadData(f"{text!r}: values to try are finite; write mr.touch_atr=0.3,0.5")
        return name.strip(), values
    try:
        low, high, step = (float(part) for part in told.split(":"))
        # a step that ends at the end, but for what fractions lose, is one of them
        count = math.floor((high - low) / step + NEARLY)
    except (ValueError, OverflowError, ZeroDivisionError) as error:
        raise BadData(f"{text!r}: write from:to:step in finite numbers, such as 0.2:0.8:0.1") from error
    if not math.isfinite(low + high + step) or step <= 0 or count < 0 or count > TRIALS_MAX:
        raise BadData(f"{text!r}: leads from {low:g} to {high:g} in no sensible steps of {step:g}")
    return name.strip(), [f"{low + number * step:.12g}" for number in range(count + 1)]


def _endless(text: str) -> bool:
    try:
        return not math.isfinite(float(text))
    except ValueError:
        return False


def trials(values: Mapping[str, Sequence[str]], draws: int = 0, seed: int = 1) -> list[dict[str, str]]:
    """Return every combination of the values, or so many of them drawn by chance, none twice.

    Raises:
        BadData: when there are more than anybody can wait for.
    """
    count = math.prod(len(one) for one in values.values())
    if not draws and count > TRIALS_MAX:
        raise BadData(f"{count} combinations are too many; draw some of them with --draws 200")
    names, columns = list(values), list(values.values())
    if not draws or draws >= count:
        return [dict(zip(names, one, strict=True)) for one in itertools.product(*columns)]
    drawn = _drawn(count, draws, np.random.default_rng(seed))
    return [dict(zip(names, _combination(number, columns), strict=True)) for number in drawn]


def _drawn(count: int, draws: int, rng: np.random.Generator) -> list[int]:
    """Return so many different numbers below ``count``."""
    if count <= TRIALS_MAX:
        return [int(number) for number in rng.permutation(count)[:draws]]
    found: dict[int, None] = {}
    while len(found) < draws:
        found |= dict.fromkeys(rng.integers(count, size=draws).tolist())
    return list(found)[:draws]


def _combination(number: int, columns: Sequence[Sequence[str]]) -> list[str]:
    found = []
    for column in reversed(columns):
        number, place = divmod(number, len(column))
        found.append(column[place])
    return found[::-1]


def folds(span: Span, count: int) -> list[Fold]:
    """Return ``count`` folds: what is tried on is always later than all that was chosen on, which grows.

    Raises:
        BadData: when the time is too short to be cut.
    """
    edges = np.linspace(span.start, span.end, count + 2).astype(np.int64)
    # midnights, so that no fold ends within a bar
    edges = edges // DAY_MS * DAY_MS
    edges[0], edges[-1] = span
    if (np.diff(edges) <= 0).any():
        raise BadData(f"the time is too short for {count} folds of a day at least")
    return [Fold(Span(span.start, int(edges[i])), Span(int(edges[i]), int(edges[i + 1]))) for i in range(1, count + 1)]


def deflated_sharpe(returns: Floats, sharpes: Sequence[float]) -> float | None:
    """Return the probability that the best of many trials has a Sharpe ratio above zero at all.

    ``returns`` are the best one's daily returns, ``sharpes`` the daily (not yearly) ratios of all that were tried. None
    when there is too little to say so.

    Source: D. H. Bailey and M. Lopez de Prado, The Deflated Sharpe Ratio, Journal of Portfolio Management 40 (5), 2014.
    """
    deviation = float(np.std(returns, ddof=1)) if len(returns) > 2 else 0.0  # noqa: PLR2004  degrees of freedom
    if not deviation:
        return None
    centred = (returns - np.mean(returns)) / np.std(returns)
    ratio, skew, tails = float(np.mean(returns)) / deviation, float(np.mean(centred**3)), float(np.mean(centred**4))
    normal, many = NormalDist(), len(sharpes)
    luck = 0.0
    if many > 1:
        high, higher = (normal.inv_cdf(1 - 1 / (many * scale)) for scale in (1.0, math.e))
        luck = float(np.std(sharpes, ddof=1)) * ((1 - EULER) * high + EULER * higher)
    spread = 1 - skew * ratio + (tails - 1) / 4 * ratio**2
    return normal.cdf((ratio - luck) * math.sqrt(len(returns) - 1) / math.sqrt(spread)) if spread > 0 else None

"""Trading rules of a market that nobody has reported any of: they follow the price, as an exchange's do.

Ticks have so many significant digits, steps and largest orders so much value. So nothing depends on the unit that a
price is told in, and a coin that falls a million-fold keeps rules that fit it.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from domain.durations import DAY_MS, HOUR_MS
from domain.instrument import Instrument
from domain.margin import tiers
from domain.rule_history import RuleHistory
from domain.trade import ZERO

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.candle import Bars

DIGITS = 6
"""Significant digits of a price: exchanges give four to six, and with six no stored price is changed noticeably."""
STEPS_MAX = Decimal(10**9)
"""How many quantity steps the largest order has: it is worth a hundred million and more, as no guess is to cut one."""
COARSE = Decimal(1_000)
"""Reported rules fit a price while their tick is at most so many assumed ones: a hundredth of the price."""
SLACK = 1e-10
"""Floats just below a power of ten, as multiplying leaves them, count as that power."""
LOWEST_LIMIT = Decimal(50_000)
NEVER_MS = 2**62


def assumed(symbol: str, price: float, turnover: Decimal = ZERO) -> Instrument:
    """Return the rules of a symbol at a price; ``turnover`` is that of a day, in quote units."""
    return _rules(symbol, _decade(price), turnover)


def fitting(symbol: str, bars: Bars) -> Instrument:
    """Return rules that fit all bars, for who can have one set only.

    The tick is that of the lowest price, the step that of the highest.
    """
    low, high = (_rules(symbol, _decade(float(edge)), _turnover(bars)) for edge in (bars.low.min(), bars.high.max()))
    return low.finer(high)


def following(symbol: str, bars: Bars, step: int) -> RuleHistory:
    """Return the rules of a symbol over time: those of each moment by the last close before it."""
    decades = np.floor(np.log10(bars.close) + SLACK).astype(np.int64)
    changed = np.flatnonzero(np.diff(decades)) + 1
    turnover = _turnover(bars)
    starts = [0, *(bars.open_time[changed] + step).tolist()]
    return RuleHistory(starts, [_rules(symbol, int(decades[row]), turnover) for row in [0, *changed.tolist()]])


def reported_or(assumed_rules: RuleHistory, reported: Sequence[tuple[int, Instrument]]) -> RuleHistory:
    """Return reported rules where they fit the price, the assumed ones elsewhere.

    ``reported`` are (since, rules), the oldest first; the first also count for what was before.
    """
    if not reported:
        return assumed_rules
    known = RuleHistory([0, *(since for since, _ in reported[1:])], [rules for _, rules in reported])
    starts = sorted({*assumed_rules.starts, *known.starts})
    return RuleHistory(starts, [_fitting(known.at(at), assumed_rules.at(at)) for at in starts])


def first_limit(turnover: Decimal) -> Decimal:
    """Return the limit of a contract's lowest risk tier, in one digit: the more is traded a day, the higher."""
    limit = max(LOWEST_LIMIT, turnover / 600)
    return limit.quantize(Decimal(1).scaleb(limit.adjusted()))


def _fitting(known: Instrument, guess: Instrument) -> Instrument:
    return known if known.tick <= guess.tick * COARSE else guess


def _rules(symbol: str, decade: int, turnover: Decimal) -> Instrument:
    base, _, rest = symbol.partition("/")
    perpetual, step = ":" in symbol, Decimal(1).scaleb(-decade - 1)
    most = Decimal(50) if perpetual else Decimal(1)
    return Instrument(
        symbol, base + rest.split(":")[0], Decimal(1).scaleb(decade - DIGITS + 1), step, step, step * STEPS_MAX,
        Decimal(5 if perpetual else 1), most, turnover_24h=turnover, shortable=perpetual,
        funding_interval_ms=8 * HOUR_MS if perpetual else NEVER_MS,
        tiers=tiers(most, first_limit(turnover)) if perpetual else (), assumed=True,
    )  # fmt: skip


def _decade(price: float) -> int:
    return math.floor(math.log10(price) + SLACK)


def _turnover(bars: Bars) -> Decimal:
    """Return the mean turnover of a day, in whole quote units."""
    step = int(bars.open_time[1] - bars.open_time[0]) if len(bars) > 1 else DAY_MS
    return Decimal(round(float(np.mean(bars.turnover)) * DAY_MS / max(1, step)))

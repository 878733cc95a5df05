"""Margin arithmetic of linear perpetuals: tiers, maintenance, where a position is liquidated and where it is bankrupt.

Values are in quote units; ``qty`` is signed. Maintenance is valued at the mark price, as Bybit's unified account does.
Source: Bybit's help center, "Liquidation Price Calculation under Isolated Mode (Unified Trading Account)" and "Risk
Limit (Perpetual and Futures)"; rows of /v5/market/risk-limit.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from domain.instrument import RiskTier

if TYPE_CHECKING:
    from collections.abc import Iterable

    from domain.instrument import Instrument

TIERS = 8
ZERO, ONE, CENT = Decimal(0), Decimal(1), Decimal("0.01")
INITIAL_STEP, MAINTENANCE_STEP = Decimal("0.75"), Decimal("0.5")


def tiers(max_leverage: Decimal, first_limit: Decimal) -> tuple[RiskTier, ...]:
    """Return risk tiers in the shape that Bybit publishes.

    The lowest asks an initial margin of one over the highest leverage and half of it as maintenance. Each further one
    is as wide again, and asks 0.75 and 0.5 of the first's initial margin more (BTCUSDT once: 1 % and 0.5 % up to 2
    million, 1.75 % and 1 % up to 4 million). Deductions make the maintenance margin continuous at each limit.
    """
    rows, deduction, before = list[RiskTier](), ZERO, ZERO
    for number in range(TIERS):
        initial = (ONE + INITIAL_STEP * number) / max_leverage
        if initial > 1:
            break
        rate = MAINTENANCE_STEP * (number + 1) / max_leverage
        deduction += first_limit * number * (rate - before) if number else ZERO
        rows.append(RiskTier(first_limit * (number + 1), rate, (ONE / initial).quantize(CENT), deduction))
        before = rate
    return tuple(rows)


def tier_of(rules: Instrument, value: Decimal) -> int:
    """Return the number of the tier that a position of a value belongs to, 0 for the lowest."""
    within = (number for number, tier in enumerate(rules.tiers) if value <= tier.limit)
    return next(within, max(0, len(rules.tiers) - 1))


def maintenance(rules: Instrument, value: Decimal) -> Decimal:
    """Return the margin that a position of a value must keep."""
    return value * rules.maintenance_rate(value)


def rates(rules: Instrument) -> list[tuple[Decimal, Decimal]]:
    """Return maintenance rate and deduction of each tier."""
    return [(tier.maintenance, tier.deduction) for tier in rules.tiers] or [(rules.maintenance_rate(ZERO), ZERO)]


def liquidation_price(
    qty: Decimal, mark: Decimal, equity: Decimal, steps: Iterable[tuple[Decimal, Decimal]], other: Decimal = ZERO
) -> Decimal:
    """Return the mark price at which equity no longer exceeds the maintenance margin; not positive when there is none.

    ``equity`` is what stands behind the position at ``mark``: its margin and open profit when it is isolated, all of
    the account's equity when margin is shared, with ``other`` the maintenance margin of everything else. The margin
    that a position needs is the greatest that any tier's rate and deduction (``steps``) give, because it is continuous
    and its rates grow; so the tier that is met first decides.
    """
    sign, size = (1, qty) if qty > 0 else (-1, -qty)
    met = [(other - less - equity + sign * size * mark) / (size * (sign - rate)) for rate, less in steps]
    return max(met) if sign > 0 else min(met)


def bankruptcy_price(qty: Decimal, mark: Decimal, equity: Decimal, fee_rate: Decimal = ZERO) -> Decimal:
    """Return the price at which nothing is left of the equity behind a position, after a fee for closing it there."""
    return (qty * mark - equity) / (qty - abs(qty) * fee_rate)


def ladder(
    rules: Instrument, qty: Decimal, mark: Decimal, equity: Decimal, *, other: Decimal = ZERO, shared: bool = False
) -> Decimal:
    """Return how much of a position must go so that a lower tier's maintenance margin suffices; zero when none does.

    ``equity`` stands behind all of the position: when it is isolated it goes down with it in the same proportion, when
    it is ``shared`` it stays, and must cover ``other`` maintenance margin too.
    """
    size = abs(qty)
    for tier in reversed(rules.tiers[: tier_of(rules, size * mark)]):
        left = rules.floor_qty(tier.limit / mark)
        behind = equity if shared else equity * left / size
        if left >= rules.min_qty and behind > other + maintenance(rules, left * mark):
            return size - left
    return ZERO

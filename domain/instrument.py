"""What an exchange allows for a symbol: price ticks, quantity steps, limits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

from domain.candle import decimal_of
from domain.durations import HOUR_MS
from domain.errors import BadData

SIZES = ("tick", "step", "min_qty", "max_qty", "max_leverage")
SIZE_MIN, SIZE_MAX = Decimal("1e-20"), Decimal("1e20")
"""With sizes beyond these prices and quantities cannot be rounded."""


@dataclass(frozen=True, slots=True)
class RiskTier:
    """Margin rules for positions of a value up to ``limit`` (quote units); rates are fractions of the value.

    ``deduction`` is subtracted from the maintenance margin, so that it grows without steps.
    """

    limit: Decimal
    maintenance: Decimal
    max_leverage: Decimal
    deduction: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Quote:
    """What the exchange quoted of a symbol when its rules were asked for: last price, best bid and ask; 0 for none."""

    last: Decimal
    bid: Decimal = Decimal(0)
    ask: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Instrument:
    """Trading rules of one symbol; prices in quote units, quantities in base units.

    ``symbol`` is the unified name (``BTC/USDT:USDT``), ``venue_id`` the exchange's own (``BTCUSDT``).
    What is not ``shortable`` can only be sold once it has been bought. ``category`` is what is behind it where that is
    no coin (``stock``, ``commodity``), or ``innovation``; ``pre_listing`` marks a contract that is not fully listed;
    ``listed_at`` is since when it is traded (UTC ms), 0 where nobody says so; ``delivery_time`` is when it will be
    delisted and settled (UTC ms), 0 for never. ``tiers`` are its margin rules, smallest positions first; empty when
    they are not known. ``assumed`` rules follow the price: nobody reported them. ``quote`` came with them.
    """

    symbol: str
    venue_id: str
    tick: Decimal
    step: Decimal
    min_qty: Decimal
    max_qty: Decimal
    min_notional: Decimal
    max_leverage: Decimal
    trading: bool = True
    turnover_24h: Decimal = Decimal(0)
    funding_interval_ms: int = 8 * HOUR_MS
    shortable: bool = True
    category: str = ""
    pre_listing: bool = False
    delivery_time: int = 0
    tiers: tuple[RiskTier, ...] = ()
    listed_at: int = 0
    assumed: bool = False
    quote: Quote | None = None

    def __post_init__(self) -> None:
        """Raise BadData for rules that no order could be made by."""
        for name in SIZES:
            size = getattr(self, name)
            if not (size.is_finite() and SIZE_MIN <= size <= SIZE_MAX):
                raise BadData(f"{self.symbol}: {name} is {size}")

    def finer(self, other: Instrument) -> Instrument:
        """Return the other's rules with the finer ticks and steps of both, and the larger order."""
        return replace(
            other, tick=min(self.tick, other.tick), step=min(self.step, other.step),
            min_qty=min(self.min_qty, other.min_qty), max_qty=max(self.max_qty, other.max_qty),
        )  # fmt: skip

    def maintenance_rate(self, value: Decimal) -> Decimal:
        """Return the maintenance margin of a position of a value (quote units), as a fraction of it.

        Without tiers it is half of the initial margin at the highest leverage, which is what Bybit's lowest tier asks.
        """
        for tier in self.tiers:
            if value <= tier.limit:
                return tier.maintenance - (tier.deduction / value if value else Decimal(0))
        return self.tiers[-1].maintenance if self.tiers else 1 / (2 * self.max_leverage)

    def leverage_limit(self, value: Decimal) -> Decimal:
        """Return the highest leverage that a position of a value (quote units) may have."""
        allowed = next((tier.max_leverage for tier in self.tiers if value <= tier.limit), None)
        if allowed is None:
            return self.tiers[-1].max_leverage if self.tiers else self.max_leverage
        return min(self.max_leverage, allowed)

    def floor_qty(self, qty: Decimal) -> Decimal:
        """Round a quantity down to the step, so that a size never exceeds its risk."""
        return (qty / self.step).to_integral_value(ROUND_FLOOR) * self.step

    def fits(self, qty: Decimal) -> bool:
        """Return whether an order may have a quantity, as far as step and least order go."""
        return qty >= self.min_qty and self.floor_qty(qty) == qty

    def slice_qty(self, qty: Decimal) -> Decimal:
        """Return how much of a quantity one market order may take, so that what is left can be taken by others."""
        if qty <= self.max_qty:
            return qty
        most = self.floor_qty(self.max_qty)
        return most if qty - most >= self.min_qty else self.floor_qty(qty - self.min_qty)

    def price(self, value: Decimal | float) -> Decimal:
        """Round a price to the nearest tick."""
        return self._to_tick(value, ROUND_HALF_EVEN)

    def price_up(self, value: Decimal | float) -> Decimal:
        """Round a price up to a tick."""
        return self._to_tick(value, ROUND_CEILING)

    def price_down(self, value: Decimal | float) -> Decimal:
        """Round a price down to a tick."""
        return self._to_tick(value, ROUND_FLOOR)

    def _to_tick(self, value: Decimal | float, rounding: str) -> Decimal:
        tick = self.tick
        exact = value if isinstance(value, Decimal) else decimal_of(value)
        rounded = (exact / tick).to_integral_value(rounding) * tick
        return max(tick, rounded)


def unified_symbol(base: str, quote: str, settle: str) -> str:
    """Return the unified name of a perpetual contract, ``BASE/QUOTE:SETTLE``."""
    return f"{base}/{quote}:{settle}"

"""What an exchange allows for a symbol: price ticks, quantity steps, limits."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal


@dataclass(frozen=True, slots=True)
class Instrument:
    """Trading rules of one symbol; prices in quote units, quantities in base units.

    ``symbol`` is the unified name (``BTC/USDT:USDT``), ``venue_id`` the exchange's own (``BTCUSDT``).
    What is not ``shortable`` can only be sold once it has been bought.
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
    funding_interval_ms: int = 8 * 3_600_000
    shortable: bool = True

    def floor_qty(self, qty: Decimal) -> Decimal:
        """Round a quantity down to the step, so that a size never exceeds its risk."""
        return (qty / self.step).to_integral_value(ROUND_FLOOR) * self.step

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
        exact = value if isinstance(value, Decimal) else Decimal(repr(float(value)))
        rounded = (exact / tick).to_integral_value(rounding) * tick
        return max(tick, rounded)


def unified_symbol(base: str, quote: str, settle: str) -> str:
    """Return the unified name of a perpetual contract, ``BASE/QUOTE:SETTLE``."""
    return f"{base}/{quote}:{settle}"

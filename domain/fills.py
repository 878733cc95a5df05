"""The only matching rules: what a resting order gets out of a bar, and what it costs.

A bar is read in a fixed order: orders already through at the open fill at the open; then stops; then limits and
targets. So a bar that touches both stop and target is a stop, and a gap fills at the open.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from domain.order import OrderKind, OrderSide

if TYPE_CHECKING:
    from domain.candle import Bar
    from domain.instrument import Instrument


@dataclass(frozen=True, slots=True)
class Costs:
    """Trading costs as fractions of the price: fees, half the spread, slippage."""

    taker: Decimal = Decimal("0.00055")
    maker: Decimal = Decimal("0.0002")
    half_spread: Decimal = Decimal("0.0001")
    slippage: Decimal = Decimal("0.0002")

    def fee(self, qty: Decimal, price: Decimal, *, maker: bool) -> Decimal:
        """Return the fee of an execution in quote units."""
        return qty * price * (self.maker if maker else self.taker)


class BarPrices(NamedTuple):
    """The prices of a bar that orders are matched on, rounded to the exchange's ticks."""

    open: Decimal
    high: Decimal
    low: Decimal


def bar_prices(bar: Bar, instrument: Instrument) -> BarPrices:
    """Return a bar's prices on the exchange's ticks."""
    return BarPrices(instrument.price(bar.open), instrument.price(bar.high), instrument.price(bar.low))


def market_price(side: OrderSide, reference: Decimal, instrument: Instrument, costs: Costs) -> Decimal:
    """Return what a market order pays when the last price is ``reference``: spread and slippage against it."""
    worse = reference * (1 + side.sign * (costs.half_spread + costs.slippage))
    return instrument.price_up(worse) if side is OrderSide.BUY else instrument.price_down(worse)


def price_at_open(
    kind: OrderKind, side: OrderSide, level: Decimal | None, bar: BarPrices, instrument: Instrument, costs: Costs
) -> Decimal | None:
    """Return the price at which an order fills at the bar's open, None when it does not.

    ``level`` is the limit or trigger price; market orders have none.
    """
    if kind is OrderKind.MARKET or level is None:
        return market_price(side, bar.open, instrument, costs)
    if not _through(kind, side, level, bar.open):
        return None
    return bar.open if kind is OrderKind.LIMIT else market_price(side, bar.open, instrument, costs)


def price_inside(
    kind: OrderKind, side: OrderSide, level: Decimal | None, bar: BarPrices, instrument: Instrument, costs: Costs
) -> Decimal | None:
    """Return the price at which an order fills after the open, None when the bar does not reach it.

    A market order has no price to wait for and fills at the open only.
    """
    if level is None or not _through(kind, side, level, bar.high if _needs_rise(kind, side) else bar.low):
        return None
    return level if kind is OrderKind.LIMIT else market_price(side, level, instrument, costs)


def is_maker(kind: OrderKind, *, at_open: bool) -> bool:
    """Return whether a fill added liquidity: only a limit order that the price came to does."""
    return kind is OrderKind.LIMIT and not at_open


def is_touch(kind: OrderKind, side: OrderSide, level: Decimal, bar: BarPrices) -> bool:
    """Return whether a bar's price came to a limit order's level and no further, so that nobody knows what filled."""
    return kind is OrderKind.LIMIT and level == (bar.low if side is OrderSide.BUY else bar.high)


def turn(kind: OrderKind) -> int:
    """Return an order's turn inside a bar: stops come before everything else."""
    return 0 if kind is OrderKind.STOP else 1


def funding_payment(qty: Decimal, mark: Decimal, rate: Decimal) -> Decimal:
    """Return what a signed position pays at a funding time, in quote units; negative when it receives.

    Source: Bybit's funding fee, position value times funding rate, longs paying shorts at positive rates.
    """
    return qty * mark * rate


def _needs_rise(kind: OrderKind, side: OrderSide) -> bool:
    # a buy stop and a sell limit or target wait above the price, their opposites below
    return (side is OrderSide.BUY) == (kind is OrderKind.STOP)


def _through(kind: OrderKind, side: OrderSide, level: Decimal, price: Decimal) -> bool:
    return price >= level if _needs_rise(kind, side) else price <= level

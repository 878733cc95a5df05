"""A plain order book around the last price, the same for the same market."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from domain.instrument import Instrument

Level = tuple[Decimal, Decimal]
LEVELS_MAX = 1_000
SHARE = Decimal("0.05")
"""Of a minute's turnover, what waits at each of the best prices; further away there is more."""
STEEPNESS = 20


class OrderBook(NamedTuple):
    """Prices and sizes, best first."""

    bids: list[Level]
    asks: list[Level]


def simple_book(rules: Instrument, last: Decimal, half_spread: Decimal, depth: int) -> OrderBook:
    """Return ``depth`` levels a side, one tick apart; ``half_spread`` is a fraction of the price."""
    half = last * half_spread
    bid, ask = rules.price_down(last - half), rules.price_up(last + half)
    if ask <= bid:
        ask = bid + rules.tick
    best = rules.turnover_24h / 1440 * SHARE / last
    bids, asks = list[Level](), list[Level]()
    for number in range(min(depth, LEVELS_MAX)):
        size = max(rules.min_qty, rules.floor_qty(best * (STEEPNESS + number) / STEEPNESS))
        if bid > 0 and (not bids or bid < bids[-1][0]):
            bids.append((bid, size))
        asks.append((ask, size))
        bid, ask = bid - rules.tick, ask + rules.tick
    return OrderBook(bids, asks)

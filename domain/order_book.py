"""A small order book per symbol, made from its last bar: how an order is split, what it pays, what is left of it.

Nothing is stored and nothing is left to chance: the same bar makes the same book, and the same order on it gets the
same executions. The first level is where the cost model fills a market order and is about a minute's turnover deep, so
that what fits costs what a backtest says; beyond it each level is a little deeper and further away. Makers come back at
once: an order leaves no mark on the book.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from domain import fills
from domain.account_state import Batch, EndReason, OrderStatus, Remainder, Slice
from domain.durations import MINUTE_MS
from domain.order import OrderKind, OrderSide
from domain.order_checks import worst_price
from domain.trade import ZERO

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from domain.account_state import VenueOrder
    from domain.fills import Costs
    from domain.instrument import Instrument

LEVELS = 50
"""Levels on each side; what they cannot take finds no maker."""
MAKERS = 8
"""Makers on one level at most; all but the last are small."""
MAKER_SHARE = 0.02
"""The largest of the small makers, as a share of its level."""
GAP = Decimal("0.0002")
"""From the first level to the second, as a fraction of the price; the gaps widen with each level."""
QUIET = 200
"""The first level holds at least so many times the smallest order's value, however little is traded."""
QUIET_SHARE = Decimal("0.25")
"""... and at least this share of an average minute of the contract's day."""

AT_ONCE = ("IOC", "FOK")
"""Times in force that do not rest."""


class Level(NamedTuple):
    """What is offered at one price."""

    price: Decimal
    qty: Decimal


class Taken(NamedTuple):
    """What an order gets out of a book; ``left`` found nobody, for ``reason``."""

    slices: list[Slice]
    left: Decimal
    reason: str


class OrderBooks:
    """The book of every symbol; ``pace`` shortens the waits between messages, for a market slower than the clock."""

    def __init__(self, instruments: Mapping[str, Instrument], costs: Costs, pace: float = 1.0) -> None:
        self._instruments, self._costs, self._pace = instruments, costs, pace
        self._bars: dict[str, tuple[int, float]] = {}

    def on_bar(self, symbol: str, open_time: int, length_ms: int, turnover: float) -> None:
        """Make a symbol's book anew from a bar; ``turnover`` in quote units."""
        self._bars[symbol] = open_time, turnover * MINUTE_MS / length_ms

    def book(self, symbol: str, last: Decimal, depth: int) -> tuple[list[Level], list[Level]]:
        """Return the bids and asks around a last price, best first, as an order that comes now meets them."""
        rules = self._instruments[symbol]
        sides = [
            list(islice(self._levels(symbol, side, fills.market_price(side, last, rules, self._costs)), depth))
            for side in (OrderSide.SELL, OrderSide.BUY)
        ]
        return sides[0], sides[1]

    def plan(
        self, order: VenueOrder, qty: Decimal, first: Decimal, now: int, *, maker: bool, spread: bool
    ) -> Remainder:
        """Return what becomes of an order that trades for ``qty`` from the price ``first`` on.

        What a limit order does not get it goes on waiting for; of all others it is cancelled. With ``spread`` the
        messages may come apart.
        """
        symbol, key = order.symbol, f"{order.link_id or order.stop_type}|{order.filled}"
        if maker:
            taken = Taken(self.split(symbol, qty, first, key=key), ZERO, "")
        else:
            limit = order.price if order.kind is OrderKind.LIMIT else None
            worst = worst_price(order, first) if limit is None else limit
            taken = self.take(symbol, order.side, first, qty, worst=worst, key=key)
        if taken.left and order.time_in_force == "FOK":
            taken = Taken([], qty, EndReason.NOT_WHOLE)
        batches = self.batches(symbol, taken.slices, now, key=key, spread=spread)
        rests = order.kind is OrderKind.LIMIT and order.time_in_force not in AT_ONCE
        if rests or not taken.left:
            return Remainder(batches, maker)
        return Remainder(batches, maker, OrderStatus.CANCELLED, taken.reason, batches[-1].due if batches else now)

    def take(
        self, symbol: str, side: OrderSide, first: Decimal, qty: Decimal, *, worst: Decimal, key: str
    ) -> Taken:  # fmt: skip
        """Return what an order gets that starts at the price ``first`` and accepts prices up to ``worst``."""
        slices: list[Slice] = []
        left, reason = qty, EndReason.NO_MAKER
        for level in self._levels(symbol, side, first):
            if not left:
                break
            if side.sign * (level.price - worst) > 0:
                reason = EndReason.PRICE_BAND
                break
            part = min(left, level.qty)
            slices += self._makers(symbol, level, part, f"{key}|{len(slices)}")
            left -= part
        return Taken(slices, left, reason if left else "")

    def split(self, symbol: str, qty: Decimal, price: Decimal, *, key: str) -> list[Slice]:
        """Return the executions of a resting order that trades for ``qty`` at its own price."""
        depth = max(qty, self._instruments[symbol].floor_qty(self._value(symbol) / price))
        return self._makers(symbol, Level(price, depth), qty, key)

    def touched(self, symbol: str, qty: Decimal, *, key: str) -> Decimal:
        """Return how much of a resting order fills when the price comes to it and no further: one step to all of it.

        Others stand in the queue before it, which no bar tells of.
        """
        (draw,) = _draws(f"touch|{self._name(symbol)}|{key}", 1)
        rules = self._instruments[symbol]
        return min(qty, max(rules.step, rules.floor_qty(qty * Decimal(draw * draw))))

    def batches(self, symbol: str, slices: Sequence[Slice], now: int, *, key: str, spread: bool) -> list[Batch]:
        """Return executions as the messages that report them: mostly one, else two or three.

        With ``spread`` those after the first come up to three seconds apart, without all of them at ``now``.
        """
        chance, *waits = _draws(f"batches|{self._name(symbol)}|{key}", 3)
        count = min(len(slices), 1 if chance < 0.6 else 2 if chance < 0.9 else 3)  # noqa: PLR2004
        made, due = [], now
        for number in range(count):
            first, end = number * len(slices) // count, (number + 1) * len(slices) // count
            made.append(Batch(due, tuple(slices[first:end])))
            due += int((200 + 2_800 * waits[number % 2]) * self._pace) if spread else 0
        return made

    def _levels(self, symbol: str, side: OrderSide, first: Decimal) -> Iterator[Level]:
        rules = self._instruments[symbol]
        value = self._value(symbol)
        draws = _draws(f"levels|{self._name(symbol)}|{side}", LEVELS)
        for number, draw in enumerate(draws):
            away = max(first * GAP * number * (10 + number) / 10, rules.tick * number)
            price = rules.price_up(first + away) if side is OrderSide.BUY else rules.price_down(first - away)
            if number and side is OrderSide.SELL and first - away < rules.tick:
                return
            size = value * Decimal(1 + draw) * (20 + number) / 20
            yield Level(price, max(rules.min_qty, rules.floor_qty(size / price)))

    def _makers(self, symbol: str, level: Level, qty: Decimal, key: str) -> list[Slice]:
        rules, slices, left = self._instruments[symbol], list[Slice](), qty
        for draw in _draws(f"makers|{self._name(symbol)}|{key}", MAKERS - 1):
            size = max(rules.step, rules.floor_qty(level.qty * Decimal(MAKER_SHARE * draw * draw)))
            if size >= left:
                break
            slices.append(Slice(size, level.price))
            left -= size
        return [*slices, Slice(left, level.price)]

    def _value(self, symbol: str) -> Decimal:
        rules = self._instruments[symbol]
        least = max(QUIET * rules.min_notional, QUIET_SHARE * rules.turnover_24h / 1_440)
        _, turnover = self._bars.get(symbol, (0, 0.0))
        return max(least, Decimal(turnover))

    def _name(self, symbol: str) -> str:
        return f"{symbol}|{self._bars.get(symbol, (0, 0.0))[0]}"


def _draws(text: str, count: int) -> list[float]:
    """Return numbers in [0, 1) that depend on a text alone."""
    made = hashlib.shake_128(text.encode()).digest(4 * count)
    return [int.from_bytes(made[at : at + 4]) / 2**32 for at in range(0, 4 * count, 4)]

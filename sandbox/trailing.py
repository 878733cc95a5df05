"""Trailing stops of positions: a stop that follows the price at a distance, bar by bar."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from domain.account import Event, VenueOrder
from domain.errors import Rejected
from domain.order import OrderKind, OrderSide
from domain.trade import ZERO
from sandbox.codes import BAD_REQUEST, SAME_STOPS

if TYPE_CHECKING:
    from sandbox.exchange import Exchange

TYPE = "TrailingStop"


class Trailing(msgspec.Struct):
    """A stop ``distance`` away from the best price; it waits for ``active`` where that is given."""

    distance: Decimal
    best: Decimal
    active: Decimal | None = None


class TrailingStops:
    """The trailing stops of one account; the stop itself is a conditional order of the account.

    It moves at the close of each base bar: what a real one does inside a bar is not known here.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._held = msgspec.json.decode(exchange.store.get("trailing") or "{}", type=dict[str, Trailing])

    def distance(self, symbol: str) -> Decimal:
        """Return how far a position's stop follows, 0 where none does."""
        return self._held[symbol].distance if symbol in self._held else ZERO

    def set(self, symbol: str, distance: Decimal, active: Decimal | None) -> list[Event]:
        """Let a stop follow a position, or with a distance of 0 do without.

        Raises:
            Rejected: without a position, with a distance that no tick fits, with an active price behind the market, and
                when it is so already.
        """
        account, rules = self._exchange.account, self._exchange.tape.instruments[symbol]
        last = account.last_price(symbol)
        if not account.position(symbol).qty or last is None:
            raise Rejected("can not set tp/sl/ts for zero position", BAD_REQUEST)
        known = self._held.get(symbol)
        if (known.distance if known else ZERO) == distance and active == (known.active if known else None):
            raise Rejected("not modified", SAME_STOPS)
        if distance and (rules.price(distance) != distance or distance >= last):
            raise Rejected("TrailingStop invalid", BAD_REQUEST)
        if active is not None and (active - last) * account.position(symbol).qty <= 0:
            raise Rejected(f"ActivePrice:{active} set for position should be beyond base_price:{last}", BAD_REQUEST)
        self._held.pop(symbol, None)
        if distance:
            self._held[symbol] = Trailing(distance, last, active)
        return self._place(symbol)

    def follow(self) -> list[Event]:
        """Move every trailing stop after a bar has closed; those of closed positions end."""
        events = list[Event]()
        for symbol, trailing in list(self._held.items()):
            qty, last = self._exchange.account.position(symbol).qty, self._exchange.account.last_price(symbol)
            cancelled = trailing.active is None and self._order(symbol) is None
            if not qty or last is None or cancelled:
                del self._held[symbol]
                self._keep()
                continue
            if trailing.active is not None and (last - trailing.active) * qty >= 0:
                trailing.active, trailing.best = None, last
            trailing.best = max(trailing.best, last) if qty > 0 else min(trailing.best, last)
            events += self._place(symbol)
        return events

    def _place(self, symbol: str) -> list[Event]:
        """Make the account's order what the trailing stop asks for now."""
        account, now = self._exchange.account, self._exchange.now()
        waiting = self._order(symbol)
        trailing, qty = self._held.get(symbol), account.position(symbol).qty
        self._keep()
        if trailing is None or trailing.active is not None:
            return self._exchange.keep(account.cancel(waiting.id, now)) if waiting else []
        if waiting and waiting.rest is not None:
            # triggered, and being filled
            return []
        rules, sign = self._exchange.tape.instruments[symbol], 1 if qty > 0 else -1
        level = rules.price(trailing.best - sign * trailing.distance)
        if waiting and waiting.side.sign != sign:
            if (waiting.trigger, waiting.qty) == (level, abs(qty)):
                return []
            return self._exchange.keep(account.amend(waiting.id, now, qty=abs(qty), price=None, trigger=level))
        side = OrderSide.SELL if sign > 0 else OrderSide.BUY
        return self._exchange.place(
            VenueOrder(
                id="", link_id="", symbol=symbol, side=side, kind=OrderKind.STOP, qty=abs(qty), trigger=level,
                reduce_only=True, stop_type=TYPE, create_type="CreateByTrailingStop",
            )
        )  # fmt: skip

    def _order(self, symbol: str) -> VenueOrder | None:
        orders = self._exchange.account.state.orders.values()
        return next((one for one in orders if one.symbol == symbol and one.stop_type == TYPE), None)

    def _keep(self) -> None:
        self._exchange.store.put("trailing", msgspec.json.encode(self._held).decode())

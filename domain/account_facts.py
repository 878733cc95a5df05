"""What can be asked of a simulated account beside its orders: legs, margin, and where a position is liquidated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain import margin
from domain.refusal import Reason, Refused
from domain.trade import ZERO

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from domain.account_state import AccountState, VenuePosition
    from domain.instrument import Instrument

PRICES = 20_000_000
"""How many ticks the highest price has that an instrument allows."""


class AccountFacts:
    """Answers from the state of an account; nothing is changed."""

    state: AccountState
    _instruments: Mapping[str, Instrument]

    def position(self, symbol: str) -> VenuePosition:
        """Return the position in a symbol."""
        raise NotImplementedError

    def mark_price(self, held: VenuePosition) -> Decimal:
        """Return the price that a position is valued at."""
        raise NotImplementedError

    def unrealised(self, symbol: str) -> Decimal:
        """Return the open profit of a position at the last price."""
        return self.profit(self.position(symbol))

    def equity(self) -> Decimal:
        """Return wallet plus open profit."""
        held = (one for one in self.state.positions.values() if one.qty)
        return sum((self.profit(one) for one in held), self.state.wallet)

    def margin(self) -> Decimal:
        """Return the initial margin of all positions."""
        held = self.state.positions.values()
        return sum((abs(one.qty) * one.avg_price / one.leverage for one in held if one.qty), ZERO)

    def order_margin(self) -> Decimal:
        """Return the margin of resting orders that would open or grow a position; conditional ones tie nothing up.

        Source: docs v5, order/create-order.
        """
        total = ZERO
        for order in self.state.orders.values():
            if order.price is None or order.reduce_only or order.trigger is not None:
                continue
            held = self.position(order.symbol)
            if held.qty * order.side.sign >= 0:
                total += (order.qty - order.filled) * order.price / held.leverage
        return total

    def available(self) -> Decimal:
        """Return what neither positions nor resting orders tie up; less than zero when losses have used it up."""
        return self.equity() - self.margin() - self.order_margin()

    def rules(self, symbol: str) -> Instrument:
        """Return a symbol's trading rules."""
        return self._instruments[symbol]

    def legs(self, symbol: str) -> list[VenuePosition]:
        """Return the positions of a symbol: one, or both legs in hedge mode."""
        return [leg for leg in self.state.legs if leg.symbol == symbol] or [self.position(symbol)]

    def leg(self, symbol: str, index: int) -> VenuePosition:
        """Return the position of that index; raises Refused when the position mode has none such."""
        leg = next((one for one in self.legs(symbol) if one.index == index), None)
        if leg is None:
            raise Refused("position idx not match position mode", Reason.MODE)
        return leg

    def open_positions(self) -> list[VenuePosition]:
        """Return all positions that are not flat, legs of hedge mode too, in a fixed order."""
        held = [*self.state.positions.values(), *self.state.legs]
        return sorted((one for one in held if one.qty), key=lambda one: (one.symbol, one.index))

    def maintenance(self, held: VenuePosition) -> Decimal:
        """Return the maintenance margin of a position at its mark price."""
        return margin.maintenance(self._instruments[held.symbol], abs(held.qty) * self.mark_price(held))

    def all_maintenance(self) -> Decimal:
        """Return the maintenance margin of the whole account."""
        return sum((self.maintenance(one) for one in self.open_positions()), ZERO)

    def liquidation_price(self, held: VenuePosition) -> Decimal | None:
        """Return the mark price at which a position is liquidated, None when there is no such price.

        When margin is shared it is an estimate: all other prices stay as they are.
        """
        if not held.qty:
            return None
        rules, (equity, other) = self._instruments[held.symbol], self.behind(held)
        price = margin.liquidation_price(held.qty, self.mark_price(held), equity, margin.rates(rules), other)
        return price if rules.tick < price < rules.tick * PRICES else None

    def profit(self, held: VenuePosition) -> Decimal:
        """Return the open profit of a position at its mark price."""
        return held.qty * (self.mark_price(held) - held.avg_price)

    def behind(self, held: VenuePosition) -> tuple[Decimal, Decimal]:
        """Return what stands behind a position, and what else it has to cover."""
        if self.state.isolated:
            return abs(held.qty) * held.avg_price / held.leverage + held.extra + self.profit(held), ZERO
        return self.equity(), self.all_maintenance() - self.maintenance(held)

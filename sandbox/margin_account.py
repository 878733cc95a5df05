"""An account with mark prices, margin modes and liquidation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from domain import fills, margin
from domain.account import ClosedPnl, Execution, SimulatedAccount, VenueOrder
from domain.errors import Rejected
from domain.order import OrderKind, OrderSide
from domain.trade import ZERO
from sandbox.codes import NO_MARGIN

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from domain.account import AccountState, Event, VenuePosition
    from domain.instrument import Instrument
    from sandbox.mark import MarkBar

REGULAR, ISOLATED = "REGULAR_MARGIN", "ISOLATED_MARGIN"
RISK_LIMIT, ABOVE_LIMIT, WOULD_LIQUIDATE = 110090, 110013, 110011
MARGIN_MODE, NOT_ISOLATED, NOTHING_HELD, NO_EXTRA = 3400045, 110015, 110033, 110014


class MarginAccount(SimulatedAccount):
    """A simulated account that is liquidated at the mark price.

    Everything that trades here goes through the same settlement as orders do, so wallet, closed profits and positions
    agree to the last digit, whatever happened.
    """

    def __init__(
        self, state: AccountState, instruments: Mapping[str, Instrument], costs: fills.Costs, **options: Any
    ) -> None:
        super().__init__(state, instruments, costs, **options)
        self._mark_prices: dict[str, Decimal] = {}

    def mark_price(self, held: VenuePosition) -> Decimal:
        """Return the mark price that a position is valued at."""
        return self._mark_prices.get(held.symbol) or super().mark_price(held)

    def take_mark(self, symbol: str, price: Decimal) -> None:
        """Take a symbol's mark price."""
        self._mark_prices[symbol] = price

    def equity(self) -> Decimal:
        """Return wallet plus open profit at the mark prices."""
        return super().equity() + sum((self.profit(leg) for leg in self.state.legs), ZERO)

    def margin(self) -> Decimal:
        """Return the initial margin of all positions, with what was added to them."""
        legs = sum((abs(leg.qty) * leg.avg_price / leg.leverage for leg in self.state.legs), ZERO)
        return super().margin() + legs + sum((position.extra for position in self.open_positions()), ZERO)

    def set_margin_mode(self, mode: str) -> None:
        """Switch between isolated and shared margin; raises Rejected for any other mode, or none that differs."""
        if mode not in {ISOLATED, REGULAR}:
            raise Rejected("Set margin mode failed", MARGIN_MODE)
        self.state.isolated = mode == ISOLATED

    def set_leverage(self, symbol: str, leverage: Decimal, now: int) -> list[Event]:
        """Set a symbol's leverage, where the position's value and margin allow it."""
        held, rules = self.position(symbol), self._instruments[symbol]
        if leverage > rules.leverage_limit(abs(held.qty) * self.mark_price(held)):
            raise Rejected("Cannot set leverage due to risk limit level.", ABOVE_LIMIT)
        if held.qty and self.state.isolated and leverage > 0:
            left = abs(held.qty) * held.avg_price / leverage + held.extra + self.profit(held)
            if left <= self.maintenance(held):
                raise Rejected("Liquidation will be triggered immediately by this adjustment", WOULD_LIQUIDATE)
        return super().set_leverage(symbol, leverage, now)

    def add_margin(self, symbol: str, amount: Decimal, now: int) -> list[Event]:
        """Add margin to an isolated position, or take some of it back; raises Rejected when that cannot be."""
        held = self.position(symbol)
        if not self.state.isolated:
            raise Rejected("The position is in cross margin mode.", NOT_ISOLATED)
        if not held.qty:
            raise Rejected("You can't set margin without an open position", NOTHING_HELD)
        if amount > self.state.wallet - self.margin() or held.extra + amount < 0:
            raise Rejected("Insufficient available balance to add additional margin.", NO_EXTRA)
        held.extra, held.updated = held.extra + amount, now
        self._emit(held)
        return self._drain()

    def on_mark(self, symbol: str, bar: MarkBar, now: int) -> list[Event]:
        """Liquidate what a bar's mark prices reach, unless a stop of the whole position comes first.

        To be called before the bar is matched; ``now`` is a time within it.
        """
        rules = self._instruments[symbol]
        low, high = rules.price(bar.low), rules.price(bar.high)
        for held in [one for one in self.open_positions() if one.symbol == symbol]:
            # each turn takes the position down by a tier at least, in the end all of it
            while (level := self.liquidation_price(held)) is not None:
                reached = low <= level if held.qty > 0 else high >= level
                if not reached or self._stopped_before(held, level):
                    break
                self.take_mark(symbol, level)
                self._liquidate(held, now)
        return self._drain()

    def check_margin(self, now: int) -> list[Event]:
        """Liquidate until what is left has the margin that it needs."""
        while True:
            doomed = self._doomed()
            if doomed is None:
                return self._drain()
            self._liquidate(doomed, now)

    def _stopped_before(self, held: VenuePosition, level: Decimal) -> bool:
        sign, size = (1 if held.qty > 0 else -1), abs(held.qty)
        resting = [held.stop] if held.index else [
            order.trigger for order in self._waiting(held.symbol)
            if order.reduce_only and order.kind is OrderKind.STOP and order.qty >= size
        ]  # fmt: skip
        return any(trigger and sign * (trigger - level) > 0 for trigger in resting)

    def _doomed(self) -> VenuePosition | None:
        held = sorted(self.open_positions(), key=self.profit)
        if self.state.isolated:
            return next((one for one in held if self.behind(one)[0] <= self.maintenance(one)), None)
        return held[0] if held and self.equity() <= self.all_maintenance() else None

    def _liquidate(self, held: VenuePosition, now: int) -> None:
        """Cancel orders, then reduce the position to a tier whose margin suffices, or take all of it over.

        Source: Bybit's help center, "Trading Rules: Liquidation Process (Unified Trading Account)".
        """
        rules, shared = self._instruments[held.symbol], not self.state.isolated
        held.status = "Liq"
        self._emit(held)
        self.cancel_orders(None if shared else held.symbol, "CancelAllBeforeLiq", now)
        (equity, other), mark = self.behind(held), self.mark_price(held)
        less = margin.ladder(rules, held.qty, mark, equity, other=other, shared=shared)
        if less:
            side = OrderSide.SELL if held.qty > 0 else OrderSide.BUY
            self.force(held, less, fills.market_price(side, mark, rules, self._costs), now, "Trade", "CreateByLiq")
        else:
            if shared:
                # of several positions each is taken over with its share of what is left
                equity *= self.maintenance(held) / (self.maintenance(held) + other)
            price = margin.bankruptcy_price(held.qty, mark, equity, self._costs.taker if shared else ZERO)
            # what a division left in the last digits is no reason for a whole tick
            price = round(price, 12)
            price = rules.price_up(price) if held.qty > 0 else rules.price_down(price)
            self.force(held, abs(held.qty), price, now, "BustTrade", "CreateByTakeOver_PassThrough")
        held.status = "Normal"
        self._emit(held)

    def cancel_orders(self, symbol: str | None, cancel_type: str, now: int, *, stops: bool = False) -> None:
        """Cancel the orders of a symbol, or all; stops and targets of positions only when asked to."""
        for order in list(self.state.orders.values()):
            if symbol in {None, order.symbol} and (stops or not order.stop_type):
                order.cancel_type = cancel_type
                self._end(order, order.cancelled, now)

    def force(
        self, held: VenuePosition, qty: Decimal, price: Decimal, now: int, kind: str, create_type: str, *,
        side: OrderSide | None = None, fee: Decimal | None = None, is_order: bool = True, stop_type: str = "",
    ) -> None:  # fmt: skip
        """Trade at a price without matching; by itself it reduces the position.

        ``kind`` and ``create_type`` are Bybit's execType and createType; what is no order leaves none in the lists.
        """
        side = side or (OrderSide.SELL if held.qty > 0 else OrderSide.BUY)
        number, against = self._next(), abs(held.qty) if held.qty * side.sign < 0 else ZERO
        order = VenueOrder(
            id=self._uuid(number), link_id="", symbol=held.symbol, side=side, kind=OrderKind.MARKET, qty=qty,
            created=now, updated=now, status="Filled", sequence=number, create_type=create_type, index=held.index,
            reduce_only=qty <= against, stop_type=stop_type, forced=True,
        )  # fmt: skip
        self._settle_forced(
            held, order, price, now, kind, self._costs.fee(qty, price, maker=False) if fee is None else fee
        )
        order.filled, order.value = qty, qty * price
        if is_order:
            self._emit(order)
        if qty > against > 0:
            held.stop = held.target = ZERO
        if held.index:
            self._emit(held)
        else:
            self._after_fill(held, order, now)

    def _settle_forced(
        self, held: VenuePosition, order: VenueOrder, price: Decimal, now: int, kind: str, fee: Decimal
    ) -> None:
        before, order.fee = len(self._events), fee
        against = abs(held.qty) if held.qty * order.side.sign < 0 else ZERO
        self._settle(held, order, order.qty, price, fee, now, maker=False, closed=min(order.qty, against))
        caused, self._events = self._events[before:], self._events[:before]
        rate = fee / (order.qty * price)
        for event in caused:
            if isinstance(event, Execution):
                self._events.append(msgspec.structs.replace(event, kind=kind, fee_rate=rate))
            elif isinstance(event, ClosedPnl):
                self._events.append(msgspec.structs.replace(event, kind=kind))
            else:
                self._events.append(event)

    def _check(self, order: VenueOrder) -> None:
        super()._check(order)
        held = self.position(order.symbol)
        after = held.qty + order.side.sign * order.qty
        if order.reduce_only or abs(after) <= abs(held.qty):
            return
        reference = order.price or order.trigger or self._marks[order.symbol]
        allowed = self._instruments[order.symbol].leverage_limit(abs(after) * reference)
        if held.leverage > allowed:
            raise Rejected(
                "Order placement failed as your position may exceed the max limit. Please adjust your leverage to "
                f"{allowed} or below to increase the max. position limit",
                RISK_LIMIT,
            )
        isolated = self.state.isolated
        free = self.state.wallet - self.margin() - self.order_margin()
        if isolated and order.qty * reference / held.leverage > free:
            raise Rejected("ab not enough for new order", NO_MARGIN)

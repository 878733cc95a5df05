"""All that changes a position without an order of its owner: settlement, splits, transfers, other people's legs."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from domain import fills, order_checks
from domain.account import VenuePosition
from domain.errors import Rejected
from domain.order import OrderKind, OrderSide
from domain.trade import ZERO
from sandbox.codes import BAD_REQUEST, DUPLICATE, REDUCE_ONLY
from sandbox.margin_account import MarginAccount

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.account import Event, VenueOrder
    from domain.account_state import Payment
    from domain.candle import Bar

AGREEMENT, HAS_POSITION = 110125, 110024
NEEDS_AGREEMENT = {"stock", "commodity"}


class PracticeAccount(MarginAccount):
    """The account of the practice exchange."""

    def set_legs(self, symbol: str, long: Decimal, short: Decimal, now: int) -> list[Event]:
        """Put a contract into hedge mode with two positions that came from elsewhere; both zero puts it back.

        Raises:
            Rejected: when there is a position or an order in the other mode.
        """
        orders = [one for one in self.state.orders.values() if one.symbol == symbol]
        if self.position(symbol).qty or orders:
            raise Rejected("You have an existing position, so the position mode cannot be switched.", HAS_POSITION)
        rules = self._instruments[symbol]
        if any(rules.floor_qty(size) != size for size in (long, short)):
            raise Rejected(f"Qty invalid: {long}, {short} (step {rules.step})", BAD_REQUEST)
        self.state.legs = [leg for leg in self.state.legs if leg.symbol != symbol]
        price, leverage = self._marks.get(symbol, ZERO), self.position(symbol).leverage
        for index, qty in ((1, long), (2, -short)) if long or short else ():
            leg = VenuePosition(
                symbol=symbol, qty=qty, avg_price=price, leverage=leverage, created=now, updated=now, index=index
            )
            self.state.legs.append(leg)
            self._emit(leg)
        return self._drain()

    def place(self, order: VenueOrder, now: int, *, at_once: bool) -> list[Event]:
        """Accept an order; for a leg of hedge mode only market orders are known, and those fill at once."""
        leg = self.leg(order.symbol, order.index)
        if not order.index:
            return super().place(order, now, at_once=at_once)
        rules, price = self._instruments[order.symbol], self._marks.get(order.symbol)
        if order.kind is not OrderKind.MARKET or price is None:
            raise Rejected("params error: the practice exchange takes market orders only in hedge mode", BAD_REQUEST)
        if order.link_id and order.link_id in self.state.link_ids:
            raise Rejected("OrderLinkedID is duplicate", DUPLICATE)
        if not order_checks.complete(order, leg.qty, rules.max_qty) and not rules.fits(order.qty):
            raise Rejected(f"Qty invalid: {order.qty} (min {rules.min_qty}, step {rules.step})", BAD_REQUEST)
        closing = (order.side is OrderSide.SELL) == (order.index == 1)
        if closing and not leg.qty:
            raise Rejected("current position is zero, cannot fix reduce-only order qty", REDUCE_ONLY)
        if order.reduce_only and not closing:
            raise Rejected("reduce-only order has the side of its position", REDUCE_ONLY)
        order.qty = min(order.qty, abs(leg.qty)) if closing else order.qty
        order.sequence, order.created = self._next(), now
        order.id = self._uuid(order.sequence)
        if order.link_id:
            self.state.link_ids[order.link_id] = order.id
        self._emit(order)
        price = fills.market_price(order.side, price, rules, self._costs)
        fee = self._costs.fee(order.qty, price, maker=False)
        self._settle_forced(leg, order, price, now, "Trade", fee)
        order.filled, order.value = order.qty, order.qty * price
        self._end(order, "Filled", now)
        self._emit(leg)
        return self._drain()

    def set_leg_stops(
        self, symbol: str, index: int, now: int, *, stop: Decimal | None, target: Decimal | None
    ) -> list[Event]:
        """Set (or with zero remove) stop and target of the position with a positionIdx; None leaves one as it is."""
        leg = self.leg(symbol, index)
        if not index:
            return self.set_stops(symbol, now, stop=stop, target=target)
        if not leg.qty:
            raise Rejected("can not set tp/sl/ts for zero position", BAD_REQUEST)
        stop, target = leg.stop if stop is None else stop, leg.target if target is None else target
        sign, last = (1 if leg.qty > 0 else -1), self._marks.get(symbol, leg.avg_price)
        if (stop and sign * (last - stop) <= 0) or (target and sign * (target - last) <= 0):
            raise Rejected(f"StopLoss:{stop} or TakeProfit:{target} is not beyond base_price:{last}", BAD_REQUEST)
        leg.stop, leg.target, leg.updated = stop, target, now
        self._emit(leg)
        return self._drain()

    def on_bar(self, symbol: str, bar: Bar, closes_at: int, payments: Sequence[Payment] = ()) -> list[Event]:
        """Match a bar; legs of hedge mode have their stops and targets filled too, stops first."""
        events = super().on_bar(symbol, bar, closes_at, payments)
        rules = self._instruments[symbol]
        for leg in [one for one in self.state.legs if one.symbol == symbol and one.qty]:
            worst, best = (bar.low, bar.high) if leg.qty > 0 else (bar.high, bar.low)
            sign, side = (1, OrderSide.SELL) if leg.qty > 0 else (-1, OrderSide.BUY)
            for level, reached, name in ((leg.stop, worst, "StopLoss"), (leg.target, best, "TakeProfit")):
                away = sign * (rules.price(reached) - level)
                if level and leg.qty and (away <= 0 if name == "StopLoss" else away >= 0):
                    price = fills.market_price(side, level, rules, self._costs)
                    self.force(
                        leg, abs(leg.qty), price, closes_at - 1, "Trade", f"CreateBy{name}", stop_type=name
                    )  # fmt: skip
                    leg.stop = leg.target = ZERO
        return events + self._drain()

    def settle(self, symbol: str, price: Decimal, now: int) -> list[Event]:
        """Close all positions of a contract that is delisted, at its delivery price; its orders end."""
        self.cancel_orders(symbol, "CancelBySettle", now, stops=True)
        for held in self._all_of(symbol):
            self.force(held, abs(held.qty), price, now, "Delivery", "CreateBySettle", is_order=False)
        return self._drain()

    def split(self, symbol: str, ratio: Decimal, now: int) -> list[Event]:
        """Turn each unit into ``ratio`` units at the price divided by it; what is no whole step is paid out."""
        rules = self._instruments[symbol]
        self.cancel_orders(symbol, "CancelByAdmin", now, stops=True)
        before, after = self._marks[symbol], rules.price(self._marks[symbol] / ratio)
        for held in self._all_of(symbol):
            qty, side = rules.floor_qty(abs(held.qty) * ratio), OrderSide.BUY if held.qty > 0 else OrderSide.SELL
            self.force(held, abs(held.qty), before, now, "CorporateAction", "", fee=ZERO, is_order=False)
            if qty:
                self.force(held, qty, after, now, "CorporateAction", "", side=side, fee=ZERO, is_order=False)
        self._marks[symbol] = after
        self.take_mark(symbol, after)
        return self._drain()

    def transfer(
        self, symbol: str, side: OrderSide, qty: Decimal, price: Decimal | None, now: int, kind: str
    ) -> list[Event]:
        """Change a position from elsewhere: ``MovePosition`` (no fee), ``BlockTrade``, or ``Trade`` on the website.

        Raises:
            Rejected: when the quantity or the price is not allowed.
        """
        rules, held, last = self._instruments[symbol], self.leg(symbol, 0), self._marks.get(symbol)
        mark = self._mark_prices.get(symbol, last)
        if last is None or mark is None or qty <= 0 or rules.floor_qty(qty) != qty:
            raise Rejected(f"Qty invalid: {qty} (step {rules.step})", BAD_REQUEST)
        if price is None:
            price = fills.market_price(side, last, rules, self._costs) if kind == "Trade" else rules.price(mark)
        elif abs(price - mark) * 20 > mark:
            raise Rejected(f"price {price} is not within 5 % of the mark price {mark}", BAD_REQUEST)
        create_type = {
            "MovePosition": "CreateByBlockTradeMovePosition_PassThrough", "BlockTrade": "CreateByBlock_PassThrough",
        }.get(kind, "CreateByClosing" if held.qty * side.sign < 0 else "CreateByUser")  # fmt: skip
        self.force(held, qty, price, now, kind, create_type, side=side, fee=ZERO if kind == "MovePosition" else None)
        return self._drain()

    def deleverage(self, symbol: str, share: Decimal, now: int) -> list[Event]:
        """Close a share of a profitable position against somebody who went bankrupt; raises Rejected for others."""
        rules, held = self._instruments[symbol], self.position(symbol)
        qty = rules.floor_qty(abs(held.qty) * min(share, Decimal(1)))
        if self.profit(held) <= 0 or not qty:
            raise Rejected(f"{rules.venue_id} has no profitable position to deleverage", BAD_REQUEST)
        held.status = "Adl"
        self._emit(held)
        self.cancel_orders(symbol, "CancelAllBeforeAdl", now)
        self.force(held, qty, rules.price(self.mark_price(held)), now, "AdlTrade", "CreateByAdl_PassThrough")
        held.status = "Normal"
        self._emit(held)
        return self._drain()

    def _all_of(self, symbol: str) -> list[VenuePosition]:
        return [one for one in self.open_positions() if one.symbol == symbol]

    def _check(self, order: VenueOrder) -> None:
        super()._check(order)
        entry = not order.reduce_only and self.position(order.symbol).qty * order.side.sign >= 0
        if entry and self._instruments[order.symbol].category in NEEDS_AGREEMENT and not self.state.agreed:
            raise Rejected("You must agree to the Trading Terms before trading this contract", AGREEMENT)

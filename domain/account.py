"""A simulated derivatives account: orders, positions and money, matched bar by bar.

One-way mode, linear contracts, isolated from any clock: every call says what time it is. The practice exchange and
the paper broker both trade on it, so their fills are the same. Each call returns the events it caused, in order.
With order books an order is filled in slices, some of them later (``on_time``); without, whole and at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from domain import fills, order_checks
from domain.account_facts import AccountFacts
from domain.account_state import (
    AccountState,
    ClosedPnl,
    EndReason,
    Event,
    Execution,
    OrderStatus,
    Payment,
    Slice,
    VenueOrder,
    VenuePosition,
    executions,
    merged,
    next_due,
    turn_of,
)
from domain.direction import fated, planned
from domain.ids import name_uuid
from domain.order import OrderKind, OrderSide
from domain.order_book import AT_ONCE
from domain.refusal import Reason, Refused
from domain.trade import ZERO

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from decimal import Decimal

    from domain.candle import Bar
    from domain.direction import Director
    from domain.instrument import Instrument
    from domain.order_book import OrderBooks

__all__ = (
    "AccountState", "ClosedPnl", "Event", "Execution", "SimulatedAccount", "VenueOrder", "VenuePosition", "executions",
)  # fmt: skip
SEVERAL = 2
STOP_LEVELS = {"StopLoss": "stop", "TakeProfit": "target"}


class SimulatedAccount(AccountFacts):
    """Applies orders, bars and funding to an AccountState; ``only_executions`` leaves all other events out.

    ``director``, when set, decides about orders in the books' place.
    """

    def __init__(
        self, state: AccountState, instruments: Mapping[str, Instrument], costs: fills.Costs, *,
        only_executions: bool = False, books: OrderBooks | None = None,
    ) -> None:  # fmt: skip
        self.state = state
        self.books = books
        self.director: Director | None = None
        self._only_executions = only_executions
        self._instruments = instruments
        self._costs = costs
        self._placing = False
        self._marks: dict[str, Decimal] = {}
        self._events: list[Event] = []

    def mark(self, symbol: str, price: Decimal) -> None:
        """Take the last price of a symbol."""
        self._marks[symbol] = price

    def mark_price(self, held: VenuePosition) -> Decimal:
        """Return the price that a position is valued at; here it is the last one."""
        return self._marks.get(held.symbol, held.avg_price)

    def position(self, symbol: str) -> VenuePosition:
        """Return the position in a symbol, a flat one where there is none."""
        held = self.state.positions.get(symbol)
        if held is None:
            held = self.state.positions[symbol] = VenuePosition(symbol=symbol)
        return held

    def last_price(self, symbol: str) -> Decimal | None:
        """Return the last price taken for a symbol."""
        return self._marks.get(symbol)

    def place(self, order: VenueOrder, now: int, *, at_once: bool) -> list[Event]:
        """Accept an order; a market order fills at the last price when ``at_once``, else at the next open.

        What may not rest (IOC, FOK, PostOnly) is decided about now in any case. A quantity of zero that only reduces
        and closes on trigger stands for the whole position.

        Raises:
            Refused: with the reason, when an exchange would refuse it.
        """
        self._check(order)
        order.sequence = self._next()
        order.created = order.updated = now
        order.id = order.id or self._uuid(order.sequence)
        if order.link_id:
            self.state.link_ids[order.link_id] = order.id
        order.status = OrderStatus.UNTRIGGERED if order.trigger is not None else OrderStatus.NEW
        self.state.orders[order.id] = order
        self._emit(order)
        asked = order.trigger is None and not order.forced
        fate = self.director.fate(order) if self.director is not None and asked else None
        if fate is not None:
            qty = self._executable(self.position(order.symbol), order)
            step = self._instruments[order.symbol].step
            price = order.price or self._marks.get(order.symbol, ZERO)
            order.rest = fated(fate, qty, price, now, step=step, maker=False)
            self._go_on(order, now)
        elif at_once or (order.kind is OrderKind.LIMIT and order.time_in_force != "GTC"):
            self._fill_at_once(order, now)
        return self._drain()

    def cancel(self, order_id: str, now: int) -> list[Event]:
        """Cancel an open order by exchange id; raises Refused when there is none."""
        order = self._open_order(order_id)
        self._end(order, order.cancelled, now)
        return self._drain()

    def amend(
        self, order_id: str, now: int, *, qty: Decimal | None, price: Decimal | None, trigger: Decimal | None,
        stop: Decimal | None = None, target: Decimal | None = None, at_once: bool = False,
    ) -> list[Event]:  # fmt: skip
        """Change an open order's quantity or prices; ``at_once`` fills it when its new price crosses the market.

        Raises:
            Refused: when there is no such order, or nothing would change.
        """
        order = self._open_order(order_id)
        wanted = {"qty": qty, "price": price, "trigger": trigger, "stop": stop, "target": target}
        changed = order_checks.amendment(order, self._instruments[order.symbol], **wanted)
        order_checks.check_price(order, changed.get("price"), self._marks.get(order.symbol))
        for name, value in changed.items():
            setattr(order, name, value)
        order.updated = now
        self._emit(order)
        if at_once and order.trigger is None:
            self._fill_at_once(order, now)
        return self._drain()

    def set_stops(self, symbol: str, now: int, *, stop: Decimal | None, target: Decimal | None) -> list[Event]:
        """Set (or with zero remove) a position's stop and target; None leaves one as it is."""
        held = self.position(symbol)
        if not held.qty:
            raise Refused("there is no position to protect", Reason.NO_POSITION)
        order_checks.check_tick(self._instruments[symbol], stop, target)
        new_stop = held.stop if stop is None else stop
        new_target = held.target if target is None else target
        if (new_stop, new_target) == (held.stop, held.target):
            raise Refused("stop and target are set already", Reason.SAME_STOPS)
        order_checks.check_sides(1 if held.qty > 0 else -1, self._marks.get(symbol), stop or ZERO, target or ZERO)
        self._protect(held, new_stop, new_target, now, "")
        self._emit(held)
        return self._drain()

    def set_leverage(self, symbol: str, leverage: Decimal, now: int) -> list[Event]:
        """Set a symbol's leverage; raises Refused when it is that already."""
        held = self.position(symbol)
        if not 1 <= leverage <= self._instruments[symbol].max_leverage:
            raise Refused(f"leverage {leverage} invalid", Reason.LEVERAGE)
        if held.leverage == leverage:
            raise Refused(f"leverage is {leverage} already", Reason.SAME_LEVERAGE)
        held.leverage, held.updated = leverage, now
        self._emit(held)
        return self._drain()

    def on_bar(self, symbol: str, bar: Bar, closes_at: int, payments: Sequence[Payment] = ()) -> list[Event]:
        """Match a symbol's resting orders against one bar that opened after they were accepted.

        Funding ``payments`` that fall due by its close, oldest first, are made in their turn: those inside of it by who
        holds something after its open, at the open's price.
        """
        self._pay(symbol, [one for one in payments if one.time <= bar.open_time])
        rules = self._instruments[symbol]
        prices = fills.bar_prices(bar, rules)
        if self.books is not None or self.director is not None:
            self._open_books(symbol, bar, closes_at)
        for order, price in self._reached(symbol, self._marks.get(symbol), prices, at_open=True):
            self._execute(order, price, bar.open_time, maker=False)
        if payments:
            self._marks[symbol] = prices.open
            self._pay(symbol, [one for one in payments if bar.open_time < one.time < closes_at])
        before = self.state.sequence
        for order, price in self._reached(symbol, prices.open, prices, at_open=False):
            if self.books is not None and fills.is_touch(order.kind, order.side, price, prices):
                self._touch(order, price, closes_at - 1, self.books)
            else:
                self._execute(order, price, closes_at - 1, maker=fills.is_maker(order.kind, at_open=False))
        if self.state.sequence > before:
            for order, price in self._reached(symbol, None, prices, at_open=False):
                # a position born inside the bar may already be stopped in it, but is not given its target
                if order.sequence > before and order.kind is OrderKind.STOP:
                    self._execute(order, price, closes_at - 1, maker=False)
        self._marks[symbol] = rules.price(bar.close)
        self._pay(symbol, [one for one in payments if one.time >= closes_at])
        return self._drain()

    def on_time(self, now: int) -> list[Event]:
        """Go on with the orders that are being filled, as far as they have come by ``now``."""
        for order in [one for one in self.state.orders.values() if one.rest is not None]:
            self._go_on(order, now)
        return self._drain()

    @property
    def next_due(self) -> int | None:
        """When ``on_time`` will have something to do (UTC ms), None for never."""
        return next_due(self.state.orders.values())

    def on_funding(self, symbol: str, rate: Decimal, now: int) -> list[Event]:
        """Charge or pay funding on an open position at the last price."""
        self._pay(symbol, [Payment(now, rate)])
        return self._drain()

    def _pay(self, symbol: str, payments: Iterable[Payment]) -> None:
        held = self.position(symbol)
        for due in payments if held.qty else ():
            mark = self.mark_price(held)
            paid = fills.funding_payment(held.qty, mark, due.rate)
            self.state.wallet -= paid
            held.realised -= paid
            number = self._next()
            self._emit(
                Execution(
                    id=self._uuid(number), sequence=number, time=due.time, order_id=self._uuid(-number), link_id="",
                    symbol=symbol, side=OrderSide.BUY if held.qty > 0 else OrderSide.SELL, order_type="UNKNOWN",
                    qty=abs(held.qty), price=mark, fee=paid, fee_rate=due.rate, maker=False, closed=ZERO, leaves=ZERO,
                    order_qty=ZERO, kind="Funding",
                )
            )  # fmt: skip

    def _check(self, order: VenueOrder) -> None:
        rules = self._instruments.get(order.symbol)
        if rules is None or not rules.trading:
            raise Refused(f"symbol invalid: {order.symbol}", Reason.UNKNOWN_SYMBOL)
        if order.link_id and order.link_id in self.state.link_ids:
            raise Refused(f"order id {order.link_id} is a duplicate", Reason.DUPLICATE)
        held = self.position(order.symbol)
        whole = order_checks.complete(order, held.qty, rules.max_qty)
        order_checks.check_size(order, rules, whole=whole)
        order_checks.check_price(order, order.price, self._marks.get(order.symbol))
        if order.reduce_only:
            order_checks.check_reduction(order, held.qty)
            return
        last = self._marks.get(order.symbol)
        free = self.available()
        if order_checks.initial_margin(order, rules, last, held.leverage) > free:
            raise Refused("the available balance is too small", Reason.NO_MARGIN)

    def _fill_at_once(self, order: VenueOrder, now: int) -> None:
        reference = self._marks.get(order.symbol)
        if reference is None:
            return
        self._placing = True
        best = fills.market_price(order.side, reference, self._instruments[order.symbol], self._costs)
        if order.kind is OrderKind.LIMIT and order.price:
            # without a book the last price is both sides of the market
            best = reference if self.books is None else best
            crosses = order.side.sign * (order.price - best) >= 0
            if crosses and order.time_in_force == "PostOnly":
                self._give_up(order, OrderStatus.CANCELLED, EndReason.POST_ONLY, now)
            elif crosses:
                self._execute(order, best, now, maker=False)
            elif order.time_in_force in AT_ONCE:
                self._give_up(order, OrderStatus.CANCELLED, EndReason.NO_MAKER, now)
        elif order.kind is OrderKind.MARKET:
            self._execute(order, best, now, maker=False)
        self._placing = False

    def _waiting(self, symbol: str) -> list[VenueOrder]:
        """Return a symbol's orders, stops first."""
        held = [order for order in self.state.orders.values() if order.symbol == symbol]
        return held if len(held) < SEVERAL else sorted(held, key=lambda one: (fills.turn(one.kind), one.sequence))

    def _reached(
        self, symbol: str, start: Decimal | None, prices: fills.BarPrices, *, at_open: bool
    ) -> list[tuple[VenueOrder, Decimal]]:
        """Return the orders that a bar reaches, with what they fill at, in the turn that it is read.

        Stops come first, then what lies nearest to ``start``.
        """
        rules, reached = self._instruments[symbol], []
        price_of = fills.price_at_open if at_open else fills.price_inside
        for order in self.state.orders.values():
            if order.symbol == symbol and order.rest is None:
                price = price_of(order.kind, order.side, order.level, prices, rules, self._costs)
                if price is not None:
                    reached.append((order, price))
        if len(reached) < SEVERAL:
            return reached
        return sorted(reached, key=lambda one: turn_of(one[0], start))

    def _execute(self, order: VenueOrder, price: Decimal, now: int, *, maker: bool) -> None:
        if order.id not in self.state.orders:
            return
        if order.trigger is not None and order.price is not None and not order.stop_type.endswith(("Loss", "Profit")):
            # a triggered stop-limit goes on as a limit order
            order.kind, order.trigger, order.status, order.updated = OrderKind.LIMIT, None, OrderStatus.NEW, now
            self._emit(order)
            return
        held = self.position(order.symbol)
        qty = self._executable(held, order)
        if not qty:
            self._end(order, OrderStatus.CANCELLED, now)
        elif (self.books is None and self.director is None) or order.forced:
            self._take(order, (Slice(qty, price),), now, maker=maker)
        else:
            self._match(order, qty, price, now, maker=maker)

    @staticmethod
    def _executable(held: VenuePosition, order: VenueOrder) -> Decimal:
        leaves = order.qty - order.filled
        if not order.reduce_only:
            return leaves
        return min(leaves, abs(held.qty)) if held.qty * order.side.sign < 0 else ZERO

    def _open_books(self, symbol: str, bar: Bar, closes_at: int) -> None:
        """Finish what the last bar's book was asked for, then take the new bar's."""
        for order in self._waiting(symbol):
            if order.rest is not None:
                self._go_on(order, closes_at - 1)
        if self.books is not None:
            self.books.on_bar(symbol, bar.open_time, closes_at - bar.open_time, bar.turnover)

    def _match(self, order: VenueOrder, qty: Decimal, price: Decimal, now: int, *, maker: bool) -> None:
        step = self._instruments[order.symbol].step
        order.rest = planned(
            self.books, self.director, order, qty, price, now, step=step, maker=maker, spread=self._placing
        )
        self._go_on(order, now)

    def _touch(self, order: VenueOrder, price: Decimal, now: int, books: OrderBooks) -> None:
        qty = self._executable(self.position(order.symbol), order)
        part = books.touched(order.symbol, qty, key=order.link_id) if qty else ZERO
        if part:
            self._take(order, (Slice(part, price),), now, maker=True)

    def _go_on(self, order: VenueOrder, now: int) -> None:
        """Fill and end an order that is being filled, as far as it has come by ``now``."""
        rest = order.rest
        while rest is not None and rest.batches and rest.batches[0].due <= now:
            batch = rest.batches.pop(0)
            self._take(order, batch.slices, batch.due, maker=rest.maker)
            rest = order.rest
        if rest is None or rest.batches or order.id not in self.state.orders:
            return
        if not rest.status:
            order.rest = None
        elif rest.due <= now:
            self._give_up(order, rest.status, rest.reason, rest.due)

    def _take(self, order: VenueOrder, slices: Iterable[Slice], now: int, *, maker: bool) -> None:
        """Execute slices of an order in one go; a position that it closes ends it as well."""
        held = self.position(order.symbol)
        for wanted, price in slices:
            qty = min(wanted, self._executable(held, order)) if order.reduce_only else wanted
            if not qty:
                break
            against = abs(held.qty) if held.qty * order.side.sign < 0 else ZERO
            fee = self._costs.fee(qty, price, maker=maker)
            self._settle(held, order, qty, price, fee, now, maker=maker, closed=min(qty, against))
            order.filled += qty
            order.value += qty * price
            order.fee += fee
        if order.rest is not None:
            self._events = merged(self._events)
        if order.filled >= order.qty or (order.reduce_only and not self._executable(held, order)):
            self._end(order, OrderStatus.FILLED if order.filled else OrderStatus.CANCELLED, now)
        else:
            order.status, order.updated = OrderStatus.PARTLY_FILLED, now
            self._emit(order)
        self._after_fill(held, order, now)

    def _give_up(self, order: VenueOrder, status: str, reason: str, now: int) -> None:
        """End an order that the exchange does not fill any further; a stop or target that has gone is not set again."""
        order.reject_reason = reason
        self._end(order, status, now)
        held, level = self.position(order.symbol), STOP_LEVELS.get(order.stop_type)
        if level is not None:
            setattr(held, level, ZERO)
            held.updated = now
            self._emit(held)

    def _settle(
        self, held: VenuePosition, order: VenueOrder, qty: Decimal, price: Decimal, fee: Decimal, now: int,
        *, maker: bool, closed: Decimal,
    ) -> None:  # fmt: skip
        number = self._next()
        self._emit(
            Execution(
                id=self._uuid(number), sequence=number, time=now, order_id=order.id, link_id=order.link_id,
                symbol=order.symbol, side=order.side, qty=qty, price=price, fee=fee, maker=maker, closed=closed,
                order_type="Limit" if order.kind is OrderKind.LIMIT else "Market",
                leaves=order.qty - order.filled - qty,
                fee_rate=self._costs.maker if maker else self._costs.taker, order_qty=order.qty,
                stop_type=order.stop_type, create_type=order.create_type,
            )
        )  # fmt: skip
        self.state.wallet -= fee
        if closed:
            self._reduce(held, order, closed, price, fee * closed / qty, now)
        opened = qty - closed
        if opened:
            held.add(order.side, opened, price, fee * opened / qty, now)
        held.updated = now

    def _reduce(
        self, held: VenuePosition, order: VenueOrder, closed: Decimal, price: Decimal, fee: Decimal, now: int
    ) -> None:
        share = closed / abs(held.qty)
        open_fee = held.open_fee * share
        gross = closed * (price - held.avg_price) * (1 if held.qty > 0 else -1)
        self.state.wallet += gross
        held.realised += gross - fee - open_fee
        held.open_fee -= open_fee
        held.qty += order.side.sign * closed
        self._emit(
            ClosedPnl(
                order_id=order.id, time=now, symbol=held.symbol, side=order.side, qty=closed, exit_price=price,
                entry_price=held.avg_price, pnl=gross - fee - open_fee, open_fee=open_fee, close_fee=fee,
                leverage=held.leverage,
            )
        )  # fmt: skip

    def _after_fill(self, held: VenuePosition, order: VenueOrder, now: int) -> None:
        if not held.qty:
            for resting in self._waiting(held.symbol):
                resting.attached = False
                if resting.reduce_only:
                    self._end(
                        resting,
                        resting.cancelled,
                        now,
                    )
            held.stop = held.target = ZERO
        elif (order.stop or order.target) and not order.attached and held.qty * order.side.sign > 0:
            order.attached = True
            self._protect(held, order.stop, order.target, now, order.link_id)
        elif any(one.stop_type and one.side.sign * held.qty > 0 for one in self._waiting(held.symbol)):
            # the order has turned the position round: what protected the old side goes with it
            self._protect(held, ZERO, ZERO, now, "")
        else:
            self._protect(held, held.stop, held.target, now, "")
        self._emit(held)

    def _protect(self, held: VenuePosition, stop: Decimal, target: Decimal, now: int, parent: str) -> None:
        wanted = {"StopLoss": (stop, OrderKind.STOP), "TakeProfit": (target, OrderKind.TOUCH)}
        side = OrderSide.SELL if held.qty > 0 else OrderSide.BUY
        for resting in self._waiting(held.symbol):
            if resting.stop_type not in wanted:
                continue
            if resting.rest is not None:
                # triggered, and being filled
                wanted.pop(resting.stop_type)
                continue
            level, _ = wanted[resting.stop_type]
            if resting.trigger != level or resting.side is not side:
                self._end(resting, OrderStatus.DEACTIVATED, now)
                continue
            wanted.pop(resting.stop_type)
            if resting.qty != abs(held.qty):
                # it goes on waiting, for as much as there is now
                resting.qty, resting.updated = abs(held.qty), now
                self._emit(resting)
        for stop_type, (level, kind) in wanted.items():
            if not level:
                continue
            number = self._next()
            order = VenueOrder(
                id=self._uuid(number), link_id="", symbol=held.symbol, side=side, kind=kind, qty=abs(held.qty),
                trigger=level, reduce_only=True, created=now, updated=now, sequence=number,
                status=OrderStatus.UNTRIGGERED, stop_type=stop_type, parent_link_id=parent,
            )  # fmt: skip
            self.state.orders[order.id] = order
            self._emit(order)
        held.stop, held.target, held.updated = stop, target, now

    def _open_order(self, order_id: str) -> VenueOrder:
        order = self.state.orders.get(order_id)
        if order is None:
            raise Refused("there is no such open order", Reason.NOT_FOUND)
        return order

    def _end(self, order: VenueOrder, status: str, now: int) -> None:
        order.status, order.updated, order.rest = status, now, None
        self.state.orders.pop(order.id, None)
        self._emit(order)

    def _next(self) -> int:
        self.state.sequence += 1
        return self.state.sequence

    def _uuid(self, number: int) -> str:
        return name_uuid(f"{self.state.name}:{number}")

    def _emit(self, event: Event) -> None:
        if self._only_executions and not isinstance(event, Execution):
            return
        # orders and positions go on changing: an event is what they were at this moment
        self._events.append(event if isinstance(event, Execution | ClosedPnl) else msgspec.structs.replace(event))

    def _drain(self) -> list[Event]:
        drained, self._events = self._events, []
        return drained

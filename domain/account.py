"""A simulated derivatives account: orders, positions and money, matched bar by bar.

One-way mode, linear contracts, isolated from any clock: every call says what time it is. The practice exchange and
the paper broker both trade on it, so their fills are the same. Each call returns the events it caused, in order.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from domain import fills
from domain.errors import Rejected
from domain.ids import name_uuid
from domain.order import OrderKind, OrderSide
from domain.trade import ZERO

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from domain.candle import Bar
    from domain.instrument import Instrument

NOT_FOUND, DUPLICATE, NO_MARGIN, BAD_REQUEST = 110001, 110072, 110007, 10001
REDUCE_ONLY, LEVERAGE_SAME, NOTIONAL, SAME_STOPS = 110017, 110043, 110094, 34040
SEVERAL = 2


class VenueOrder(msgspec.Struct, kw_only=True):
    """An order on the exchange's side; ``status`` and the type names are Bybit's."""

    id: str
    link_id: str
    symbol: str
    side: OrderSide
    kind: OrderKind
    qty: Decimal
    price: Decimal | None = None
    trigger: Decimal | None = None
    reduce_only: bool = False
    stop: Decimal = ZERO
    target: Decimal = ZERO
    created: int = 0
    updated: int = 0
    status: str = "New"
    filled: Decimal = ZERO
    value: Decimal = ZERO
    fee: Decimal = ZERO
    stop_type: str = ""
    create_type: str = "CreateByUser"
    parent_link_id: str = ""
    reject_reason: str = "EC_NoError"
    sequence: int = 0
    index: int = 0
    cancel_type: str = ""

    @property
    def level(self) -> Decimal | None:
        """The price that the order waits for."""
        return self.trigger if self.trigger is not None else self.price


class VenuePosition(msgspec.Struct, kw_only=True):
    """A position on the exchange's side; ``qty`` is signed, ``open_fee`` not yet charged to a close.

    ``index`` is 1 or 2 for a leg of hedge mode; ``extra`` is margin added to an isolated position.
    """

    symbol: str
    qty: Decimal = ZERO
    avg_price: Decimal = ZERO
    leverage: Decimal = Decimal(1)
    stop: Decimal = ZERO
    target: Decimal = ZERO
    open_fee: Decimal = ZERO
    realised: Decimal = ZERO
    created: int = 0
    updated: int = 0
    index: int = 0
    status: str = "Normal"
    extra: Decimal = ZERO


class Execution(msgspec.Struct, kw_only=True, frozen=True):
    """One fill, or one funding payment (``kind`` Funding, paid amount in ``fee``)."""

    id: str
    sequence: int
    time: int
    order_id: str
    link_id: str
    symbol: str
    side: OrderSide
    order_type: str
    qty: Decimal
    price: Decimal
    fee: Decimal
    fee_rate: Decimal
    maker: bool
    closed: Decimal
    leaves: Decimal
    order_qty: Decimal
    kind: str = "Trade"
    stop_type: str = ""
    create_type: str = "CreateByUser"


class ClosedPnl(msgspec.Struct, kw_only=True, frozen=True):
    """What one closing order realised, net of the opening and closing fees."""

    order_id: str
    time: int
    symbol: str
    side: OrderSide
    qty: Decimal
    entry_price: Decimal
    exit_price: Decimal
    pnl: Decimal
    open_fee: Decimal
    close_fee: Decimal
    leverage: Decimal
    kind: str = "Trade"


class AccountState(msgspec.Struct):
    """All that has to survive a restart; ``orders`` holds the open ones by exchange id, ``name`` seeds the ids.

    ``legs`` are positions of hedge mode, which only the practice exchange knows, as it does ``margin_mode`` and whether
    its terms for stocks and commodities were ``agreed`` to.
    """

    wallet: Decimal
    name: str = "account"
    positions: dict[str, VenuePosition] = {}
    orders: dict[str, VenueOrder] = {}
    sequence: int = 0
    link_ids: dict[str, str] = {}
    margin_mode: str = "REGULAR_MARGIN"
    legs: list[VenuePosition] = []
    agreed: bool = False


Event = VenueOrder | VenuePosition | Execution | ClosedPnl


class SimulatedAccount:
    """Applies orders, bars and funding to an AccountState; ``only_executions`` leaves all other events out."""

    def __init__(
        self, state: AccountState, instruments: Mapping[str, Instrument], costs: fills.Costs, *,
        only_executions: bool = False,
    ) -> None:  # fmt: skip
        self.state = state
        self._only_executions = only_executions
        self._instruments = instruments
        self._costs = costs
        self._marks: dict[str, Decimal] = {}
        self._events: list[Event] = []

    def mark(self, symbol: str, price: Decimal) -> None:
        """Take the last price of a symbol."""
        self._marks[symbol] = price

    def mark_price(self, held: VenuePosition) -> Decimal:
        """Return the price that a position is valued at; here it is the last one."""
        return self._marks.get(held.symbol, held.avg_price)

    def unrealised(self, symbol: str) -> Decimal:
        """Return the open profit of a position at the last price."""
        held = self.position(symbol)
        return held.qty * (self.mark_price(held) - held.avg_price)

    def equity(self) -> Decimal:
        """Return wallet plus open profit."""
        held = (one for one in self.state.positions.values() if one.qty)
        return sum((one.qty * (self.mark_price(one) - one.avg_price) for one in held), self.state.wallet)

    def margin(self) -> Decimal:
        """Return the initial margin of all positions."""
        held = self.state.positions.values()
        return sum((abs(p.qty) * p.avg_price / p.leverage for p in held if p.qty), ZERO)

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

        Raises:
            Rejected: with Bybit's code, when the exchange would refuse it.
        """
        self._check(order)
        order.sequence = self._next()
        order.created = order.updated = now
        order.id = order.id or self._uuid(order.sequence)
        if order.link_id:
            self.state.link_ids[order.link_id] = order.id
        order.status = "Untriggered" if order.trigger is not None else "New"
        self.state.orders[order.id] = order
        self._emit(order)
        reference = self._marks.get(order.symbol)
        if at_once and reference is not None:
            self._fill_at_once(order, reference, now)
        return self._drain()

    def cancel(self, order_id: str, now: int) -> list[Event]:
        """Cancel an open order by exchange id; raises Rejected 110001 when there is none."""
        order = self._open_order(order_id)
        self._end(order, "Deactivated" if order.status == "Untriggered" else "Cancelled", now)
        return self._drain()

    def amend(
        self, order_id: str, now: int, *, qty: Decimal | None, price: Decimal | None, trigger: Decimal | None
    ) -> list[Event]:
        """Change an open order's quantity or prices; raises Rejected 110001 when there is none."""
        order = self._open_order(order_id)
        rules = self._instruments[order.symbol]
        if qty is not None and (rules.floor_qty(qty) != qty or qty < rules.min_qty or qty <= order.filled):
            raise Rejected(f"Qty invalid: {qty}", BAD_REQUEST)
        order.qty = order.qty if qty is None else qty
        order.price = order.price if price is None else price
        order.trigger = order.trigger if trigger is None else trigger
        order.updated = now
        self._emit(order)
        return self._drain()

    def set_stops(self, symbol: str, now: int, *, stop: Decimal | None, target: Decimal | None) -> list[Event]:
        """Set (or with zero remove) a position's stop and target; None leaves one as it is."""
        held = self.position(symbol)
        if not held.qty:
            raise Rejected("can not set tp/sl/ts for zero position", BAD_REQUEST)
        new_stop = held.stop if stop is None else stop
        new_target = held.target if target is None else target
        if (new_stop, new_target) == (held.stop, held.target):
            raise Rejected("not modified", SAME_STOPS)
        self._check_sides(1 if held.qty > 0 else -1, self._marks.get(symbol), new_stop, new_target)
        self._protect(held, new_stop, new_target, now, "")
        self._emit(held)
        return self._drain()

    def set_leverage(self, symbol: str, leverage: Decimal, now: int) -> list[Event]:
        """Set a symbol's leverage; raises Rejected 110043 when it is that already."""
        held = self.position(symbol)
        if not 1 <= leverage <= self._instruments[symbol].max_leverage:
            raise Rejected(f"leverage {leverage} invalid", 110013)
        if held.leverage == leverage:
            raise Rejected("leverage not modified", LEVERAGE_SAME)
        held.leverage, held.updated = leverage, now
        self._emit(held)
        return self._drain()

    def on_bar(self, symbol: str, bar: Bar, closes_at: int) -> list[Event]:
        """Match a symbol's resting orders against one bar that opened after they were accepted."""
        rules = self._instruments[symbol]
        prices = fills.bar_prices(bar, rules)
        for order, price in self._reached(symbol, self._marks.get(symbol), prices, at_open=True):
            self._execute(order, price, bar.open_time, maker=False)
        before = self.state.sequence
        for order, price in self._reached(symbol, prices.open, prices, at_open=False):
            self._execute(order, price, closes_at - 1, maker=fills.is_maker(order.kind, at_open=False))
        if self.state.sequence > before:
            for order, price in self._reached(symbol, None, prices, at_open=False):
                # a position born inside the bar may already be stopped in it, but is not given its target
                if order.sequence > before and order.kind is OrderKind.STOP:
                    self._execute(order, price, closes_at - 1, maker=False)
        self._marks[symbol] = rules.price(bar.close)
        return self._drain()

    def on_funding(self, symbol: str, rate: Decimal, now: int) -> list[Event]:
        """Charge or pay funding on an open position at the last price."""
        held = self.position(symbol)
        if not held.qty:
            return []
        mark = self.mark_price(held)
        paid = fills.funding_payment(held.qty, mark, rate)
        self.state.wallet -= paid
        held.realised -= paid
        number = self._next()
        self._emit(
            Execution(
                id=self._uuid(number), sequence=number, time=now, order_id=self._uuid(-number), link_id="",
                symbol=symbol, side=OrderSide.BUY if held.qty > 0 else OrderSide.SELL, order_type="UNKNOWN",
                qty=abs(held.qty), price=mark, fee=paid, fee_rate=rate, maker=False, closed=ZERO, leaves=ZERO,
                order_qty=ZERO, kind="Funding", create_type="",
            )
        )  # fmt: skip
        return self._drain()

    def _check(self, order: VenueOrder) -> None:
        rules = self._instruments.get(order.symbol)
        if rules is None or not rules.trading:
            raise Rejected(f"symbol invalid: {order.symbol}", BAD_REQUEST)
        if order.link_id and order.link_id in self.state.link_ids:
            raise Rejected("OrderLinkedID is duplicate", DUPLICATE)
        if order.qty < rules.min_qty or rules.floor_qty(order.qty) != order.qty or order.qty > rules.max_qty:
            raise Rejected(f"Qty invalid: {order.qty} (min {rules.min_qty}, step {rules.step})", BAD_REQUEST)
        wrong = next(
            (p for p in (order.price, order.trigger, order.stop, order.target) if p and rules.price(p) != p), None
        )
        if wrong is not None:
            raise Rejected(f"price invalid: {wrong} is no multiple of tick {rules.tick}", BAD_REQUEST)
        self._check_money(order, rules)

    def _check_money(self, order: VenueOrder, rules: Instrument) -> None:
        held = self.position(order.symbol)
        if order.reduce_only:
            if held.qty * order.side.sign >= 0:
                raise Rejected("current position is zero, cannot fix reduce-only order qty", REDUCE_ONLY)
            return
        reference = order.price or order.trigger or self._marks.get(order.symbol)
        if reference is None:
            raise Rejected(f"no price yet for {order.symbol}", 10016)
        if order.qty * reference < rules.min_notional:
            raise Rejected(f"Order does not meet minimum order value {rules.min_notional}", NOTIONAL)
        self._check_sides(order.side.sign, reference, order.stop, order.target)
        if order.qty * reference / held.leverage > self.equity() - self.margin():
            raise Rejected("ab not enough for new order", NO_MARGIN)

    @staticmethod
    def _check_sides(sign: int, reference: Decimal | None, stop: Decimal, target: Decimal) -> None:
        if reference is None:
            return
        if stop and sign * (reference - stop) <= 0:
            raise Rejected(f"StopLoss:{stop} set for position should be beyond base_price:{reference}", BAD_REQUEST)
        if target and sign * (target - reference) <= 0:
            raise Rejected(f"TakeProfit:{target} set for position should be beyond base_price:{reference}", BAD_REQUEST)

    def _fill_at_once(self, order: VenueOrder, reference: Decimal, now: int) -> None:
        rules = self._instruments[order.symbol]
        if order.kind is OrderKind.MARKET:
            self._execute(order, fills.market_price(order.side, reference, rules, self._costs), now, maker=False)
        elif order.kind is OrderKind.LIMIT and order.price and order.side.sign * (order.price - reference) >= 0:
            self._execute(order, reference, now, maker=False)

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
            if order.symbol == symbol:
                price = price_of(order.kind, order.side, order.level, prices, rules, self._costs)
                if price is not None:
                    reached.append((order, price))
        if len(reached) < SEVERAL:
            return reached

        def turn(one: tuple[VenueOrder, Decimal]) -> tuple[int, Decimal, int]:
            level = one[0].level
            away = abs(level - start) if level is not None and start is not None else ZERO
            return fills.turn(one[0].kind), away, one[0].sequence

        return sorted(reached, key=turn)

    def _execute(self, order: VenueOrder, price: Decimal, now: int, *, maker: bool) -> None:
        if order.id not in self.state.orders:
            return
        if order.trigger is not None and order.price is not None and not order.stop_type.endswith(("Loss", "Profit")):
            # a triggered stop-limit goes on as a limit order
            order.kind, order.trigger, order.status, order.updated = OrderKind.LIMIT, None, "New", now
            self._emit(order)
            return
        held = self.position(order.symbol)
        leaves = order.qty - order.filled
        against = abs(held.qty) if held.qty * order.side.sign < 0 else ZERO
        qty = min(leaves, against) if order.reduce_only else leaves
        if not qty:
            self._end(order, "Cancelled", now)
            return
        fee = self._costs.fee(qty, price, maker=maker)
        self._settle(held, order, qty, price, fee, now, maker=maker, closed=min(qty, against))
        order.filled += qty
        order.value += qty * price
        order.fee += fee
        self._end(order, "Filled", now)
        self._after_fill(held, order, now)

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
            if not held.qty:
                held.created, held.avg_price = now, ZERO
            value = abs(held.qty) * held.avg_price + opened * price
            held.qty += order.side.sign * opened
            held.avg_price = value / abs(held.qty)
            held.open_fee += fee * opened / qty
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
                if resting.reduce_only:
                    self._end(resting, "Deactivated" if resting.status == "Untriggered" else "Cancelled", now)
            held.stop = held.target = ZERO
        elif order.stop or order.target:
            self._protect(held, order.stop, order.target, now, order.link_id)
        else:
            self._protect(held, held.stop, held.target, now, "")
        self._emit(held)

    def _protect(self, held: VenuePosition, stop: Decimal, target: Decimal, now: int, parent: str) -> None:
        wanted = {"StopLoss": (stop, OrderKind.STOP), "TakeProfit": (target, OrderKind.TOUCH)}
        side = OrderSide.SELL if held.qty > 0 else OrderSide.BUY
        for resting in self._waiting(held.symbol):
            if resting.stop_type not in wanted:
                continue
            level, _ = wanted[resting.stop_type]
            if resting.trigger != level or resting.side is not side:
                self._end(resting, "Deactivated", now)
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
                trigger=level, reduce_only=True, created=now, updated=now, status="Untriggered", sequence=number,
                stop_type=stop_type, create_type=f"CreateBy{stop_type}", parent_link_id=parent,
            )  # fmt: skip
            self.state.orders[order.id] = order
            self._emit(order)
        held.stop, held.target, held.updated = stop, target, now

    def _open_order(self, order_id: str) -> VenueOrder:
        order = self.state.orders.get(order_id)
        if order is None:
            raise Rejected("order not exists or too late to cancel", NOT_FOUND)
        return order

    def _end(self, order: VenueOrder, status: str, now: int) -> None:
        order.status, order.updated = status, now
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


def executions(events: Iterable[Event]) -> list[Execution]:
    """Return the executions among events."""
    return [event for event in events if isinstance(event, Execution)]

"""What a simulated account is made of: orders, positions, executions, closed profits."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from domain import fills
from domain.order import OrderKind, OrderSide
from domain.trade import ZERO

if TYPE_CHECKING:
    from collections.abc import Iterable


class OrderStatus(StrEnum):
    """How far an order has come; UNTRIGGERED waits for its trigger, DEACTIVATED ended before it came."""

    NEW = "New"
    UNTRIGGERED = "Untriggered"
    PARTLY_FILLED = "PartiallyFilled"
    FILLED = "Filled"
    CANCELLED = "Cancelled"
    DEACTIVATED = "Deactivated"


class EndReason(StrEnum):
    """Why an order ends unfilled: no maker is left, the price is out of its band, or the time in force asks for it."""

    NONE = ""
    NO_MAKER = "no_maker"
    PRICE_BAND = "price_band"
    POST_ONLY = "post_only"
    NOT_WHOLE = "not_whole"


class Slice(NamedTuple):
    """One execution to be: how much, at which price."""

    qty: Decimal
    price: Decimal


class Batch(NamedTuple):
    """Executions that are reported in one message, once ``due`` (UTC ms) has come."""

    due: int
    slices: tuple[Slice, ...]


class Remainder(msgspec.Struct):
    """What is still to happen to an order that is being filled.

    When the batches are through and something is left, the order ends with ``status`` and ``reason`` at ``due`` (UTC
    ms); an empty status leaves it working.
    """

    batches: list[Batch]
    maker: bool
    status: str = ""
    reason: str = ""
    due: int = 0


class Payment(NamedTuple):
    """A funding payment that falls due: when (UTC ms), and the rate that longs pay to shorts."""

    time: int
    rate: Decimal


class VenueOrder(msgspec.Struct, kw_only=True):
    """An order on the exchange's side.

    ``forced`` tells that the exchange itself takes the position over, whatever a book holds;
    ``create_type`` is what a venue calls an order's origin, where it has a name for it.
    ``attached`` tells that its stop and target have been given to the position; ``rest`` is what is
    still to happen to it while it is being filled.
    """

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
    status: str = OrderStatus.NEW
    filled: Decimal = ZERO
    value: Decimal = ZERO
    fee: Decimal = ZERO
    stop_type: str = ""
    create_type: str = ""
    forced: bool = False
    parent_link_id: str = ""
    reject_reason: str = EndReason.NONE
    sequence: int = 0
    index: int = 0
    cancel_type: str = ""
    time_in_force: str = "GTC"
    close_on_trigger: bool = False
    attached: bool = False
    rest: Remainder | None = None

    @property
    def cancelled(self) -> OrderStatus:
        """What cancelling makes of it."""
        return OrderStatus.DEACTIVATED if self.status == OrderStatus.UNTRIGGERED else OrderStatus.CANCELLED

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
    status: str = ""
    extra: Decimal = ZERO

    def add(self, side: OrderSide, qty: Decimal, price: Decimal, fee: Decimal, now: int) -> None:
        """Make the position larger by an execution."""
        if not self.qty:
            self.created, self.avg_price = now, ZERO
        value = abs(self.qty) * self.avg_price + qty * price
        self.qty += side.sign * qty
        self.avg_price = value / abs(self.qty)
        self.open_fee += fee


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
    create_type: str = ""


class ClosedPnl(msgspec.Struct, kw_only=True, frozen=True):
    """What one closing order realised in one go, in ``fills`` executions, net of the opening and closing fees."""

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
    fills: int = 1


class AccountState(msgspec.Struct):
    """All that has to survive a restart; ``orders`` holds the open ones by exchange id, ``name`` seeds the ids.

    ``legs`` are positions of hedge mode, which only the practice exchange knows, as it does ``isolated`` margin and
    whether its terms for stocks and commodities were ``agreed`` to.
    """

    wallet: Decimal
    name: str = "account"
    positions: dict[str, VenuePosition] = {}
    orders: dict[str, VenueOrder] = {}
    sequence: int = 0
    link_ids: dict[str, str] = {}
    isolated: bool = False
    legs: list[VenuePosition] = []
    agreed: bool = False


Event = VenueOrder | VenuePosition | Execution | ClosedPnl


def executions(events: Iterable[Event]) -> list[Execution]:
    """Return the executions among events."""
    return [event for event in events if isinstance(event, Execution)]


def next_due(orders: Iterable[VenueOrder]) -> int | None:
    """Return when the first of the orders that are being filled goes on (UTC ms), None when there is none."""
    waiting = (one.rest for one in orders if one.rest is not None)
    return min((rest.batches[0].due if rest.batches else rest.due for rest in waiting), default=None)


def turn_of(order: VenueOrder, start: Decimal | None) -> tuple[int, Decimal, int]:
    """Return an order's turn inside a bar that comes from the price ``start``."""
    level = order.level
    away = abs(level - start) if level is not None and start is not None else ZERO
    return fills.turn(order.kind), away, order.sequence


def merged(events: list[Event]) -> list[Event]:
    """Return events with one closed profit per order, in the place of its last."""
    closed: dict[str, ClosedPnl] = {}
    for event in events:
        if isinstance(event, ClosedPnl):
            before = closed.get(event.order_id)
            closed[event.order_id] = event if before is None else _sum(before, event)
    kept: list[Event] = []
    for event in reversed(events):
        one = closed.pop(event.order_id, None) if isinstance(event, ClosedPnl) else event
        if one is not None:
            kept.append(one)
    return kept[::-1]


def _sum(one: ClosedPnl, two: ClosedPnl) -> ClosedPnl:
    qty = one.qty + two.qty
    return msgspec.structs.replace(
        two, qty=qty, pnl=one.pnl + two.pnl, open_fee=one.open_fee + two.open_fee,
        close_fee=one.close_fee + two.close_fee, fills=one.fills + two.fills,
        exit_price=(one.qty * one.exit_price + two.qty * two.exit_price) / qty,
        entry_price=(one.qty * one.entry_price + two.qty * two.entry_price) / qty,
    )  # fmt: skip

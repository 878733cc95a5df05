"""Orders as the bot asks for them, and what exchanges answer."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

import msgspec


class Side(StrEnum):
    """Direction of a position."""

    LONG = "long"
    SHORT = "short"

    @property
    def sign(self) -> int:
        """+1 for long, -1 for short."""
        return 1 if self is Side.LONG else -1

    @property
    def entry(self) -> OrderSide:
        """The order side that opens the position."""
        return OrderSide.BUY if self is Side.LONG else OrderSide.SELL

    @property
    def exit(self) -> OrderSide:
        """The order side that closes the position."""
        return self.entry.opposite


class OrderSide(StrEnum):
    """Direction of an order, spelled as Bybit spells it."""

    BUY = "Buy"
    SELL = "Sell"

    @property
    def sign(self) -> int:
        """+1 for buy, -1 for sell."""
        return 1 if self is OrderSide.BUY else -1

    @property
    def opposite(self) -> OrderSide:
        """The other side."""
        return OrderSide.SELL if self is OrderSide.BUY else OrderSide.BUY


class OrderKind(StrEnum):
    """How an order finds its price.

    STOP becomes a market order when the price moves against its owner to the trigger, TOUCH when the price
    moves in its owner's favour to it.
    """

    MARKET = "Market"
    LIMIT = "Limit"
    STOP = "Stop"
    TOUCH = "Touch"


class Cause(StrEnum):
    """Why an execution happened, in the field's usual words."""

    ENTRY = "entry"
    STOP_LOSS = "stop_loss"
    BREAK_EVEN = "break_even"
    TRAILING_STOP = "trailing_stop_loss"
    TAKE_PROFIT = "take_profit"
    PARTIAL = "partial_exit"
    TIMEOUT = "timeout"
    EXIT_SIGNAL = "exit_signal"
    ROI = "roi"
    FORCE_EXIT = "force_exit"
    LIQUIDATION = "liquidation"
    ADL = "adl"
    REVERSAL = "reversal"
    MANUAL = "manual"
    SETTLEMENT = "settlement"
    TRANSFER = "transfer"
    CORPORATE_ACTION = "corporate_action"
    FUNDING = "funding"
    UNKNOWN = "unknown"


class OrderRequest(msgspec.Struct, frozen=True):
    """An order to be sent; ``order_id`` is ours and unique, so that a repeat is refused by the exchange.

    ``stop`` and ``target`` are attached to an entry and protect the position from its first fill on. ``index`` names
    the leg in hedge mode (1 long, 2 short); orders of our own are sent in one-way mode, where it is 0. ``whole`` closes
    all that is there, up to the largest order: the only way out for a quantity that the steps do not fit any more.
    """

    order_id: str
    symbol: str
    side: OrderSide
    kind: OrderKind
    qty: Decimal
    price: Decimal | None = None
    stop: Decimal | None = None
    target: Decimal | None = None
    reduce_only: bool = False
    index: int = 0
    whole: bool = False


class OrderState(StrEnum):
    """Where an order stands, as far as anybody knows."""

    WORKING = "working"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    NOT_FOUND = "not_found"


@dataclass(frozen=True, slots=True)
class OrderReport:
    """An exchange's own account of one order."""

    order_id: str
    symbol: str
    state: OrderState
    filled_qty: Decimal = Decimal(0)
    reason: str = ""


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """A working order on the exchange that carries our id; ``time`` is when it was created (UTC ms)."""

    order_id: str
    symbol: str
    side: OrderSide
    qty: Decimal
    filled: Decimal
    price: Decimal
    reduce_only: bool
    time: int


@dataclass(slots=True)
class StreamStatus:
    """How the private stream is doing; ``since`` is the monotonic time of the last change."""

    connected: bool = False
    since: float = 0.0
    connects: int = 0
    failures: int = 0
    reason: str = "not opened yet"

    def report(self, now: float) -> dict[str, bool | float | str]:
        """Return the status for people, with for how many seconds it has been so; ``now`` is the monotonic time."""
        return {
            "connected": self.connected, "seconds": round(now - self.since, 1) if self.since else 0.0,
            "connects": self.connects, "failures": self.failures, "reason": self.reason,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class PositionReport:
    """An exchange's own account of an open position; ``qty`` is signed, zero prices mean 'not set'.

    ``index`` is 0 in one-way mode; in hedge mode a symbol has two positions, 1 for the long and 2 for the short leg.
    ``created`` is a time (UTC ms) before which there can have been no such position, 0 when that is not known.
    ``isolated`` says that nothing but its own margin stands behind it.
    """

    symbol: str
    qty: Decimal
    entry_price: Decimal
    stop: Decimal
    target: Decimal
    leverage: Decimal
    mark_price: Decimal
    unrealised: Decimal
    index: int = 0
    liquidation: Decimal = Decimal(0)
    created: int = 0
    isolated: bool = False


@dataclass(frozen=True, slots=True)
class ClosedPart:
    """An exchange's own account of what one closing order took out of a position; ``fee`` is the closing fee."""

    venue_order_id: str
    symbol: str
    side: OrderSide
    qty: Decimal
    exit_price: Decimal
    fee: Decimal
    time: int


@dataclass(frozen=True, slots=True)
class Balance:
    """Money in the account, in the settlement coin; ``equity`` includes unrealised profit and loss.

    ``available`` is what new positions may tie up: not what positions and orders, whoever made them, tie up already.
    """

    equity: Decimal
    wallet: Decimal
    available: Decimal

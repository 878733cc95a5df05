"""What the ledger holds: intents of ours and facts of the exchange, each a small immutable record."""

from __future__ import annotations

from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING

import msgspec

from domain.exits import ExitPlan
from domain.order import Cause, OrderKind, OrderSide, OrderState, Side
from domain.phantom import PhantomTrade
from domain.trade import Trade

if TYPE_CHECKING:
    from collections.abc import Iterable


class Level(IntEnum):
    """Where a record rests, weakest first. MEMORY is never an acknowledgement."""

    MEMORY = 0
    MIRRORED = 1
    JOURNALED = 2
    SETTLED = 3


class Receipt(msgspec.Struct, frozen=True):
    """The ledger's answer to an append; ``sequence`` is the record's place in the journal, 0 in no journal."""

    level: Level
    sequence: int = 0


class Opening(msgspec.Struct, frozen=True):
    """What an entry intent knows about the signal behind it; times are UTC milliseconds."""

    strategy: str
    timeframe: str
    bar_start: int
    side: Side
    entry: Decimal
    stop: Decimal
    target: Decimal
    plan: ExitPlan
    leverage: Decimal
    score: float | None = None
    notes: dict[str, float] = {}


class Intent(msgspec.Struct, frozen=True, tag="intent"):
    """An order that is about to be sent; ``sent_at`` is the host's time of that (UTC ms)."""

    time: int
    order_id: str
    symbol: str
    side: OrderSide
    kind: OrderKind
    qty: Decimal
    price: Decimal | None = None
    reduce_only: bool = False
    cause: Cause = Cause.ENTRY
    opening: Opening | None = None
    sent_at: int = 0


class OrderEnded(msgspec.Struct, frozen=True, tag="order_ended"):
    """An order that will not fill any further; ``filled`` is what it had filled by then, as far as was told."""

    time: int
    order_id: str
    symbol: str
    state: OrderState
    reason: str = ""
    filled: Decimal = Decimal(0)


class Fill(msgspec.Struct, frozen=True, tag="fill"):
    """An execution the exchange reported; ``exec_id`` makes it unique.

    ``order_id`` is our own id, empty for orders that the exchange made for us (attached stops and targets).
    For ``cause`` FUNDING, ``fee`` is what was paid (negative: received) and ``qty`` the position it was paid on.
    ``fee`` is in the settlement coin; ``fee_coin`` names the coin that was paid instead, empty when none was.
    ``order_qty`` is the quantity of the order that was executed, 0 when it was not told.
    """

    time: int
    exec_id: str
    order_id: str
    venue_order_id: str
    symbol: str
    side: OrderSide
    qty: Decimal
    price: Decimal
    fee: Decimal
    closed_qty: Decimal
    cause: Cause
    maker: bool = False
    fee_coin: str = ""
    order_qty: Decimal = Decimal(0)


class Unread(msgspec.Struct, frozen=True, tag="unread"):
    """Something that the exchange reported and that could not be interpreted, as it was received.

    ``symbol`` is empty when not even that could be read; ``what`` says what it should have been, and what is wrong.
    """

    time: int
    symbol: str
    what: str
    row: str


class StopMoved(msgspec.Struct, frozen=True, tag="stop_moved"):
    """A protective stop that the exchange has accepted in a new place."""

    time: int
    digest: str
    symbol: str
    stop: Decimal
    cause: Cause


class Managed(msgspec.Struct, frozen=True, tag="managed"):
    """What a strategy has decided about a position of its own as a bar closed at ``time``: what it is to become.

    ``stop`` is where its stop is to stand at least, 0 where that was never said; ``keep`` how much of what was opened
    is to stay open at most, as a share.
    """

    time: int
    digest: str
    symbol: str
    stop: Decimal = Decimal(0)
    keep: Decimal = Decimal(1)


class LeverageChanged(msgspec.Struct, frozen=True, tag="leverage_changed"):
    """An open position stands at another leverage than it was opened with: somebody has changed it by hand."""

    time: int
    digest: str
    symbol: str
    leverage: Decimal


class Close(msgspec.Struct, frozen=True, tag="close"):
    """A finished trade."""

    time: int
    trade: Trade


class Adopted(msgspec.Struct, frozen=True, tag="adopted"):
    """A position taken over that no intent of this journal led to, with the executions that made it.

    ``digest`` names it as a signal would; for an order of ours it is the one in the order's id.
    """

    time: int
    digest: str
    symbol: str
    opening: Opening
    fills: tuple[Fill, ...]
    why: str


class Abandoned(msgspec.Struct, frozen=True, tag="abandoned"):
    """The operator wants a position closed whose entry was still on its way; it is closed as soon as it fills."""

    time: int
    digest: str


class OrderFound(msgspec.Struct, frozen=True, tag="order_found"):
    """A working order with an id of ours that the records do not know, as the exchange lists it.

    ``created`` is the exchange's time of its creation (UTC ms), 0 in records that do not tell it.
    """

    time: int
    order_id: str
    symbol: str
    side: OrderSide
    qty: Decimal
    filled: Decimal
    price: Decimal
    reduce_only: bool
    created: int = 0


class Touch(StrEnum):
    """What a hand other than the bot's has done to a position of ours."""

    ADDED = "added"
    REDUCED = "reduced"
    CLOSED = "closed"
    REVERSED = "reversed"
    STOP_REMOVED = "stop_removed"
    STOP_LOOSENED = "stop_loosened"
    STOP_TIGHTENED = "stop_tightened"
    TARGET_REMOVED = "target_removed"
    TARGET_MOVED = "target_moved"
    MARGIN_ADDED = "margin_added"


class Touched(msgspec.Struct, frozen=True, tag="touched"):
    """A hand on a position of ours.

    Attributes:
        name: what makes it one of its kind: the exchange's order id, or the new level.
        left: quantity open after it.
        level: where stop or target is now, 0 when it is gone, None when the touch was another.
    """

    time: int
    digest: str
    symbol: str
    touch: Touch
    name: str
    left: Decimal
    level: Decimal | None = None


class Mended(msgspec.Struct, frozen=True, tag="mended"):
    """The exchange has been asked for what ``missing`` lost records before this one had told."""

    time: int
    missing: int


class SwitchState(StrEnum):
    """What the operator allows: everything, no new entries, or nothing but getting out."""

    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"


class Switch(msgspec.Struct, frozen=True, tag="switch"):
    """A change of the stop switch."""

    time: int
    state: SwitchState
    reason: str


class DayStarted(msgspec.Struct, frozen=True, tag="day_started"):
    """How a UTC day (days since 1970) began; daily limits are measured from it.

    The newest record of a day holds: it is written anew when a trade has ended that had begun before the day.

    Attributes:
        open_pnl: what positions open at that moment had made by then, as far as that was known.
        prices: of the symbols of positions, at that moment.
        made: what trades that have ended since had made by then, by trade id.
        booked: what has come in or gone out since for trades that are no more, by execution id.
    """

    time: int
    day: int
    equity: Decimal
    open_pnl: Decimal = Decimal(0)
    prices: dict[str, Decimal] = {}
    made: dict[str, Decimal] = {}
    booked: dict[str, Decimal] = {}


class Adjusted(msgspec.Struct, frozen=True, tag="adjusted"):
    """What the operator has changed while the bot runs; the newest holds, over restarts too.

    Attributes:
        risk_percent: risk per trade in percent of the equity instead of the configured, None for that.
        banned: symbols that take no new entries, beside the configured blacklist.
        unlocked: by symbol ("*" for all), the market time up to which closed trades count for no protection.
    """

    time: int
    risk_percent: Decimal | None = None
    banned: tuple[str, ...] = ()
    unlocked: dict[str, int] = {}


class PhantomOpened(msgspec.Struct, frozen=True, tag="phantom_opened"):
    """A signal that is followed, as it was when it was given, or later on when it was carried into a new journal."""

    time: int
    phantom: PhantomTrade


class PhantomManaged(msgspec.Struct, frozen=True, tag="phantom_managed"):
    """A phantom as its strategy has left it on a bar, so that a start need not ask about that bar again."""

    time: int
    phantom: PhantomTrade


class PhantomClosed(msgspec.Struct, frozen=True, tag="phantom_closed"):
    """A signal's outcome; without the vector when the journal holds that already."""

    time: int
    phantom: PhantomTrade


Phantom = PhantomOpened | PhantomClosed
Followed = PhantomOpened | PhantomManaged | PhantomClosed
"""All that the journal tells of phantoms; the audit has how they began and how they ended."""
Latch = Switch | DayStarted | Adjusted
"""Lasting decisions: the newest of each kind holds."""
Record = (
    Intent
    | OrderEnded
    | OrderFound
    | Abandoned
    | Fill
    | Unread
    | StopMoved
    | Managed
    | Touched
    | LeverageChanged
    | Close
    | Adopted
    | Mended
    | Latch
    | Followed
)


def finished(records: Iterable[Record]) -> list[Trade]:
    """Return the trades that records tell of, as often as they tell of them."""
    return [record.trade for record in records if isinstance(record, Close)]

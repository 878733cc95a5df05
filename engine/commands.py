"""What the trader wants done; the runtime does it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from domain.judgement import UNJUDGED, Judgement
from domain.order import OrderRequest
from domain.records import Intent, Opening, Record

if TYPE_CHECKING:
    from decimal import Decimal

    from domain.order import Cause, Side
    from domain.signal import Signal
    from domain.trade import Trade


class PlaceOrder(msgspec.Struct, frozen=True):
    """Write the intent down, then send the order; an entry bears the signal that it follows, and its judgement."""

    intent: Intent
    request: OrderRequest
    signal: Signal | None = None
    judged: Judgement = UNJUDGED


class CancelOrder(msgspec.Struct, frozen=True):
    """Cancel an order that may be gone already."""

    symbol: str
    order_id: str
    time: int


class MoveStop(msgspec.Struct, frozen=True):
    """Move a position's stop on the exchange, then write it down; ``side`` is the position's."""

    digest: str
    symbol: str
    stop: Decimal
    cause: Cause
    time: int
    side: Side


class RecordTrade(msgspec.Struct, frozen=True):
    """Keep a finished trade."""

    trade: Trade


class Remember(msgspec.Struct, frozen=True):
    """Write a record down."""

    record: Record


class Refused(msgspec.Struct, frozen=True):
    """A signal that was not taken: by which gate, and why; and what is thought of it."""

    signal: Signal
    gate: str
    detail: str
    judged: Judgement = UNJUDGED


class SwitchedOff(msgspec.Struct, frozen=True):
    """A strategy that failed, or could not be loaded, and decides no more; its positions are managed as before."""

    strategy: str
    reason: str
    symbol: str = ""


class AdjustRefused(msgspec.Struct, frozen=True):
    """What a strategy may not do to a position of its own, and asked for; told once for each strategy."""

    strategy: str
    symbol: str
    reason: str


Announced = SwitchedOff | AdjustRefused
"""What people are to know, and nobody has to do anything about."""
Command = PlaceOrder | CancelOrder | MoveStop | RecordTrade | Remember | Refused | Announced


def intent_of(request: OrderRequest, cause: Cause, time: int, opening: Opening | None = None) -> Intent:
    """Return the record of an order that is about to be sent."""
    return Intent(
        time=time, order_id=request.order_id, symbol=request.symbol, side=request.side, kind=request.kind,
        qty=request.qty, price=request.price, reduce_only=request.reduce_only, cause=cause, opening=opening,
    )  # fmt: skip


def request_of(intent: Intent) -> OrderRequest:
    """Return the order of a record; stop and target of an entry are not in it, nor that an exit asks for all."""
    return OrderRequest(
        intent.order_id, intent.symbol, intent.side, intent.kind, intent.qty, intent.price,
        reduce_only=intent.reduce_only,
    )  # fmt: skip

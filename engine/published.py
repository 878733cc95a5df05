"""What the engine publishes about positions: one event for each step, however many executions it took."""

from __future__ import annotations

from decimal import Decimal

import msgspec


class Entered(msgspec.Struct, frozen=True):
    """A position whose entry has ended: what of it filled, at which average price, for which fees."""

    digest: str
    symbol: str
    qty: Decimal
    price: Decimal
    fee: Decimal


class PartlyTaken(msgspec.Struct, frozen=True):
    """A partial target that has filled whole, at which average price, for which fees."""

    digest: str
    symbol: str
    qty: Decimal
    price: Decimal
    fee: Decimal


Published = Entered | PartlyTaken

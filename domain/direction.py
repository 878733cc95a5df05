"""What becomes of an accepted order: what a director says, else what the book has, else all of it at one price."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from domain.account_state import Batch, Remainder, Slice
from domain.trade import ZERO

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

    from domain.account_state import VenueOrder
    from domain.order_book import OrderBooks


class Fate(NamedTuple):
    """What an order is made to come to: a share of it fills, then it ends with ``status``, ``after`` ms later."""

    share: Decimal
    status: str
    reason: str
    after: int = 0


class Slicing(NamedTuple):
    """Into how many executions an order is made to fall; ``apart`` ms between them, 0 for one message."""

    parts: int
    apart: int = 0


class Director(Protocol):
    """Decides in the book's place, for tests."""

    def fate(self, order: VenueOrder) -> Fate | None:
        """Return what an order must come to, None to let it be."""
        ...

    def slicing(self, order: VenueOrder) -> Slicing | None:
        """Return how an order must be split, None to let the book decide."""
        ...


def planned(
    books: OrderBooks | None, director: Director | None, order: VenueOrder, qty: Decimal, price: Decimal, now: int,
    *, step: Decimal, maker: bool, spread: bool,
) -> Remainder:  # fmt: skip
    """Return what becomes of an order that trades for ``qty`` from ``price`` on."""
    fate = director.fate(order) if director is not None and order.trigger is not None else None
    if fate is not None:
        return fated(fate, qty, price, now, step=step, maker=maker)
    slicing = director.slicing(order) if director is not None else None
    if slicing is not None:
        return Remainder(apart(equal_slices(qty, price, slicing.parts, step), now, slicing.apart), maker)
    if books is None:
        return Remainder([Batch(now, (Slice(qty, price),))], maker)
    return books.plan(order, qty, price, now, maker=maker, spread=spread)


def fated(fate: Fate, qty: Decimal, price: Decimal, now: int, *, step: Decimal, maker: bool) -> Remainder:
    """Return what becomes of an order whose end has been decided."""
    part = qty * fate.share // step * step
    batches = [Batch(now, (Slice(part, price),))] if part else []
    return Remainder(batches, maker, fate.status, fate.reason, now + fate.after)


def equal_slices(qty: Decimal, price: Decimal, parts: int, step: Decimal) -> list[Slice]:
    """Return a quantity in parts of about the same size, each of whole steps; fewer where there are fewer steps."""
    steps = int(qty / step)
    parts = max(1, min(parts, steps))
    sizes = [step * (steps * (number + 1) // parts - steps * number // parts) for number in range(parts)]
    sizes[-1] += qty - sum(sizes, ZERO)
    return [Slice(size, price) for size in sizes]


def apart(slices: Sequence[Slice], now: int, apart_ms: int) -> list[Batch]:
    """Return executions as one message, or as one each ``apart_ms`` when that is not zero."""
    if not apart_ms:
        return [Batch(now, tuple(slices))]
    return [Batch(now + number * apart_ms, (one,)) for number, one in enumerate(slices)]

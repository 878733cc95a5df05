"""Executions as positions see them: each either opens or closes, and all of a symbol stand in one order."""

from __future__ import annotations

import itertools
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from domain.ids import parse_order_id
from domain.order import Cause
from domain.trade import ZERO, rounded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from domain.records import Fill

OVERLAP_MS = 120_000
"""How much earlier than the last one known executions are asked for: the exchange's lists are late."""

ONLY_CLOSING = frozenset({
    Cause.STOP_LOSS, Cause.BREAK_EVEN, Cause.TRAILING_STOP, Cause.TAKE_PROFIT, Cause.PARTIAL, Cause.TIMEOUT,
    Cause.EXIT_SIGNAL, Cause.ROI, Cause.FORCE_EXIT, Cause.LIQUIDATION, Cause.ADL, Cause.SETTLEMENT,
})  # fmt: skip
"""What happens for such a cause can only reduce a position."""


def parts(fill: Fill) -> list[Fill]:
    """Return what an execution closed and what it opened, the closing part first.

    An execution that turns a position round does both. Funding is neither, and is returned as it is.
    """
    closed = _closed_by(fill)
    if fill.cause is Cause.FUNDING or not closed:
        return [fill]
    closing, opening = divide(fill, closed, "+")
    cause = Cause.REVERSAL if fill.cause is Cause.ENTRY else fill.cause
    closing = msgspec.structs.replace(closing, closed_qty=closed, cause=cause)
    return [closing] if opening is None else [closing, msgspec.structs.replace(opening, closed_qty=ZERO)]


def divide(fill: Fill, qty: Decimal, mark: str) -> tuple[Fill, Fill | None]:
    """Return so much of an execution, and the rest of it, None when there is none.

    The first share keeps the id, the rest has it with a ``mark`` behind it. Their fees add up to that of the whole.
    """
    if qty >= fill.qty:
        return fill, None
    fee, closed = rounded(fill.fee * qty / fill.qty, 12), min(qty, fill.closed_qty)
    first = msgspec.structs.replace(fill, qty=qty, closed_qty=closed, fee=fee)
    rest = msgspec.structs.replace(
        fill, exec_id=fill.exec_id + mark, qty=fill.qty - qty, closed_qty=fill.closed_qty - closed, fee=fill.fee - fee
    )
    return first, rest


def told_again(fill: Fill, known: Iterable[Fill], order_qty: Decimal = ZERO) -> bool:
    """Return whether an execution is one of those that are known, told again under another id.

    No order fills beyond its quantity, and no position pays funding twice for one moment. ``order_qty`` is the order's
    where the execution does not tell it.
    """
    if fill.cause is Cause.FUNDING:
        return any(_as_paid(one) == _as_paid(fill) for one in known if one.cause is Cause.FUNDING)
    most, name = fill.order_qty or order_qty, _order_of(fill)
    return bool(most and name) and fill.qty + sum((one.qty for one in known if _order_of(one) == name), ZERO) > most


def once(fills: Iterable[Fill]) -> list[Fill]:
    """Return executions, each once, without those that tell others again under another id."""
    by_order: dict[str, list[Fill]] = {}
    found = []
    for fill in {fill.exec_id: fill for fill in fills}.values():
        known = by_order.setdefault(f"{fill.symbol} {'' if fill.cause is Cause.FUNDING else _order_of(fill)}", [])
        if not told_again(fill, known):
            known.append(fill)
            found.append(fill)
    return found


def _order_of(fill: Fill) -> str:
    return fill.order_id or fill.venue_order_id


def _as_paid(fill: Fill) -> tuple[int, object, Decimal, Decimal]:
    return fill.time, fill.side, fill.qty, fill.fee


def whole_of(exec_id: str) -> str:
    """Return the id of the whole execution that a part belongs to."""
    return exec_id.rstrip("+/")


def begins_in_the_midst(fills: Iterable[Fill]) -> bool:
    """Return whether the oldest of a symbol's executions closes something: what opened it is not among them."""
    traded = (fill for fill in fills if fill.cause is not Cause.FUNDING)
    first = min(traded, key=lambda fill: (fill.time, bool(_closed_by(fill))), default=None)
    return first is not None and bool(_closed_by(first))


def in_order(fills: Iterable[Fill]) -> Iterator[tuple[Fill, Decimal]]:
    """Yield parts of executions in the order of time, each with the signed quantity that is open after it.

    Executions of one moment come in no order: what closes goes first while there is enough to close, else what opens.
    What closes more than is known to be open leaves nothing open.
    """
    net = ZERO
    for _, group in itertools.groupby(sorted(fills, key=lambda fill: fill.time), lambda fill: fill.time):
        moment = list(group)
        while moment:
            fill = _next_of(moment, net)
            moment.remove(fill)
            net = _after(fill, net)
            yield fill, net


def _next_of(moment: list[Fill], net: Decimal) -> Fill:
    closes = (one for one in moment if one.closed_qty and net * one.side.sign < 0 and one.qty <= abs(net))
    opens = (one for one in moment if not one.closed_qty)
    return next(closes, None) or next(opens, moment[0])


def _after(fill: Fill, net: Decimal) -> Decimal:
    if fill.cause is Cause.FUNDING:
        return net
    if not fill.closed_qty:
        return net + fill.side.sign * fill.qty
    return net + fill.side.sign * min(fill.qty, abs(net)) if net * fill.side.sign < 0 else net


def _closed_by(fill: Fill) -> Decimal:
    name = parse_order_id(fill.order_id)
    # exits and partial targets of ours are sent so that they can only reduce, as stops and targets do by themselves
    reduces = fill.cause in ONLY_CLOSING or (name is not None and name.leg != "e")
    return fill.qty if reduces else min(fill.closed_qty, fill.qty)

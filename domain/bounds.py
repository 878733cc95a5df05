"""What an execution can be at all: no price, quantity, fee or time beyond these is believed, wherever it comes from.

Inside of these bounds no arithmetic of ours can fail, so that what was written down can always be read again.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from domain.records import Adopted, Fill

if TYPE_CHECKING:
    from domain.records import Record

TIME_END = 4_102_444_800_000
"""The year 2100 in UTC ms: what is later was told in microseconds, or made up."""

PRICE_MAX, QTY_MAX = Decimal("1e9"), Decimal("1e13")
VALUE_MAX = Decimal("1e12")
"""More USDT than all markets turn over in days."""

FEE_SLACK = Decimal(1)
"""A fee is a fraction of what it is paid on; of something tiny it may be rounded up to this much."""

EXPONENT_MIN = -40


def doubt(record: Record) -> str:
    """Return why a record cannot be true, empty when it can."""
    if not 0 <= record.time < TIME_END:
        return f"time {record.time} is no time in milliseconds before 2100"
    fills = (record,) if isinstance(record, Fill) else record.fills if isinstance(record, Adopted) else ()
    return next((reason for fill in fills if (reason := _doubt(fill))), "")


def _doubt(fill: Fill) -> str:
    if not 0 <= fill.time < TIME_END:
        return f"time {fill.time} is no time in milliseconds before 2100"
    # spelled out: a start reads a hundred thousand of these
    if not (fill.price.is_finite() and fill.qty.is_finite() and fill.fee.is_finite() and fill.closed_qty.is_finite()):
        return "a number is not finite"
    least = min(fill.price.adjusted(), fill.qty.adjusted(), fill.fee.adjusted(), fill.closed_qty.adjusted())
    if least < EXPONENT_MIN:
        return "a number is too small to be one"
    if not 0 <= fill.price <= PRICE_MAX:
        return f"price {fill.price} is out of bounds"
    if not 0 < fill.qty <= QTY_MAX or not 0 <= fill.closed_qty <= QTY_MAX:
        return f"quantity {fill.qty} is out of bounds"
    if not fill.order_qty.is_finite() or not 0 <= fill.order_qty <= QTY_MAX:
        return f"quantity {fill.order_qty} of its order is out of bounds"
    value = fill.price * fill.qty
    if value > VALUE_MAX:
        return f"value {value} is out of bounds"
    if abs(fill.fee) > value + FEE_SLACK:
        return f"fee {fill.fee} is more than the value that it was paid on"
    return ""

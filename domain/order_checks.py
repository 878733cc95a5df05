"""What an exchange refuses before it accepts an order."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from domain.order import OrderKind
from domain.refusal import Reason, Refused

if TYPE_CHECKING:
    from domain.account_state import VenueOrder
    from domain.instrument import Instrument

TIMES_IN_FORCE = ("GTC", "IOC", "FOK", "PostOnly")
PRICE_LIMIT = Decimal("0.15")
"""How far beyond the market an order may reach, as a fraction of the price.

Highest bid on most venues: min(mark x (1 + Y), max(index, mark x (1 + X) + average premium)), lowest ask likewise; X is
most often 0.15. Mark and index are the last price here, and there is no premium. A market order is a
limit order at this price that does not rest.
"""


def complete(order: VenueOrder, held: Decimal, most: Decimal) -> bool:
    """Fill in what an order leaves to the exchange; ``held`` is the signed position in its symbol.

    A quantity of zero that only reduces and closes on trigger is the position, up to the largest order (``most``).
    Return whether it is: what is there needs not be a multiple of the step.
    """
    if order.kind is OrderKind.MARKET:
        order.time_in_force = "IOC"
    if order.qty or not (order.reduce_only and order.close_on_trigger):
        return False
    if held * order.side.sign >= 0:
        raise Refused("there is no position to reduce", Reason.NOTHING_TO_REDUCE)
    order.qty = min(abs(held), most)
    return True


def check_size(order: VenueOrder, rules: Instrument, *, whole: bool = False) -> None:
    """Refuse what is not a quantity, a price or a time in force; a reduction may be larger than the largest order.

    The quantity of an order for the ``whole`` position is the exchange's own.
    """
    if order.time_in_force not in TIMES_IN_FORCE:
        raise Refused(f"time in force {order.time_in_force!r} is invalid", Reason.MALFORMED)
    too_much = order.qty > rules.max_qty and not order.reduce_only
    if not whole and (not rules.fits(order.qty) or too_much):
        raise Refused(f"Qty invalid: {order.qty} (min {rules.min_qty}, step {rules.step})", Reason.MALFORMED)
    check_tick(rules, order.price, order.trigger, order.stop, order.target)


def check_tick(rules: Instrument, *prices: Decimal | None) -> None:
    """Refuse prices that are no multiples of the tick; zero and None are none."""
    wrong = next((price for price in prices if price and rules.price(price) != price), None)
    if wrong is not None:
        raise Refused(f"price invalid: {wrong} is no multiple of tick {rules.tick}", Reason.MALFORMED)


def check_price(order: VenueOrder, price: Decimal | None, last: Decimal | None) -> None:
    """Refuse a limit price that reaches further beyond the market than the exchange allows."""
    if order.kind is not OrderKind.LIMIT or price is None or last is None:
        return
    if order.side.sign * (price - worst_price(order, last)) > 0:
        raise Refused(f"price {price} exceeds the allowed range", Reason.PRICE_RANGE)


def worst_price(order: VenueOrder, last: Decimal) -> Decimal:
    """Return the worst price at which an order may trade while the last price is ``last``."""
    return last * (1 + order.side.sign * PRICE_LIMIT)


def check_sides(sign: int, reference: Decimal | None, stop: Decimal, target: Decimal) -> None:
    """Refuse a stop or target on the wrong side of a position's price; ``sign`` is +1 for long."""
    if reference is None:
        return
    if stop and sign * (reference - stop) <= 0:
        raise Refused(f"stop {stop} is on the wrong side of the price {reference}", Reason.WRONG_SIDE)
    if target and sign * (target - reference) <= 0:
        raise Refused(f"target {target} is on the wrong side of the price {reference}", Reason.WRONG_SIDE)


def initial_margin(order: VenueOrder, rules: Instrument, last: Decimal | None, leverage: Decimal) -> Decimal:
    """Return the margin that an order asks for; refuse one that is too small or whose stop or target is misplaced."""
    reference = order.price or order.trigger or last
    if reference is None:
        raise Refused(f"no price yet for {order.symbol}", Reason.NO_PRICE)
    if order.qty * reference < rules.min_notional:
        raise Refused(f"the order is below the minimum value of {rules.min_notional}", Reason.TOO_SMALL)
    check_sides(order.side.sign, reference, order.stop, order.target)
    return order.qty * reference / leverage


def check_reduction(order: VenueOrder, held: Decimal) -> None:
    """Refuse a reduce-only order that has nothing to reduce, or carries a stop or target of its own."""
    if order.stop or order.target:
        raise Refused("a reduce-only order cannot carry a stop or target", Reason.MALFORMED)
    if held * order.side.sign >= 0:
        raise Refused("there is no position to reduce", Reason.NOTHING_TO_REDUCE)


def amendment(order: VenueOrder, rules: Instrument, **wanted: Decimal | None) -> dict[str, Decimal]:
    """Return what of an order's ``qty``, ``price``, ``trigger``, ``stop`` and ``target`` changes, with the new values.

    Refuse a change that changes nothing, cannot be, or comes while the order is being filled.
    """
    if order.rest is not None:
        raise Refused("the order is being filled and cannot be changed", Reason.BEING_FILLED)
    changed = {name: new for name, new in wanted.items() if new is not None and new != getattr(order, name)}
    if not changed:
        raise Refused("the change leaves the order unchanged", Reason.UNCHANGED)
    for name, new in changed.items():
        if name == "qty":
            _check_new_size(order, rules, new)
        elif getattr(order, name) is None:
            raise Refused(f"the order has no {name}", Reason.MALFORMED)
        elif (new or name in {"price", "trigger"}) and rules.price(new) != new:
            raise Refused(f"price invalid: {new} is no multiple of tick {rules.tick}", Reason.MALFORMED)
        elif name in {"stop", "target"} and order.reduce_only:
            raise Refused("a reduce-only order cannot carry a stop or target", Reason.MALFORMED)
    return changed


def _check_new_size(order: VenueOrder, rules: Instrument, qty: Decimal) -> None:
    too_much = qty > rules.max_qty and not order.reduce_only
    if rules.floor_qty(qty) != qty or qty < rules.min_qty or too_much:
        raise Refused(f"Qty invalid: {qty}", Reason.MALFORMED)
    if qty <= order.filled:
        raise Refused(f"quantity {qty} is not above the {order.filled} filled already", Reason.BELOW_FILLED)

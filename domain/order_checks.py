"""What an exchange refuses before it accepts an order, with Bybit's codes (v5 error table)."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from domain.errors import Rejected
from domain.order import OrderKind

if TYPE_CHECKING:
    from domain.account_state import VenueOrder
    from domain.instrument import Instrument

NOT_FOUND, DUPLICATE, NO_MARGIN, BAD_REQUEST = 110001, 110072, 110007, 10001
REDUCE_ONLY, LEVERAGE_SAME, NOTIONAL, SAME_STOPS = 110017, 110043, 110094, 34040
PRICE_LIMIT_REACHED, BELOW_FILLED, PROCESSING = 110003, 110064, 110079

TIMES_IN_FORCE = ("GTC", "IOC", "FOK", "PostOnly")
PRICE_LIMIT = Decimal("0.15")
"""How far beyond the market an order may reach, as a fraction of the price.

Bybit: highest bid = min(mark x (1 + Y), max(index, mark x (1 + X) + average premium)), lowest ask likewise; X is
priceLimitRatioX, most often 0.15. Mark and index are the last price here, and there is no premium. A market order is a
limit order at this price that does not rest.
"""


def complete(order: VenueOrder, held: Decimal, most: Decimal) -> bool:
    """Fill in what an order leaves to the exchange; ``held`` is the signed position in its symbol.

    A quantity of zero that only reduces and closes on trigger is the position, up to the largest order (``most``);
    source: docs v5, order/create-order. Return whether it is: what is there needs not be a multiple of the step.
    """
    if order.kind is OrderKind.MARKET:
        order.time_in_force = "IOC"
    if order.qty or not (order.reduce_only and order.close_on_trigger):
        return False
    if held * order.side.sign >= 0:
        raise Rejected("current position is zero, cannot fix reduce-only order qty", REDUCE_ONLY)
    order.qty = min(abs(held), most)
    return True


def check_size(order: VenueOrder, rules: Instrument, *, whole: bool = False) -> None:
    """Refuse what is not a quantity, a price or a time in force; a reduction may be larger than the largest order.

    The quantity of an order for the ``whole`` position is the exchange's own.
    """
    if order.time_in_force not in TIMES_IN_FORCE:
        raise Rejected(f"params error: timeInForce {order.time_in_force!r} is invalid", BAD_REQUEST)
    too_much = order.qty > rules.max_qty and not order.reduce_only
    if not whole and (not rules.fits(order.qty) or too_much):
        raise Rejected(f"Qty invalid: {order.qty} (min {rules.min_qty}, step {rules.step})", BAD_REQUEST)
    check_tick(rules, order.price, order.trigger, order.stop, order.target)


def check_tick(rules: Instrument, *prices: Decimal | None) -> None:
    """Refuse prices that are no multiples of the tick; zero and None are none."""
    wrong = next((price for price in prices if price and rules.price(price) != price), None)
    if wrong is not None:
        raise Rejected(f"price invalid: {wrong} is no multiple of tick {rules.tick}", BAD_REQUEST)


def check_price(order: VenueOrder, price: Decimal | None, last: Decimal | None) -> None:
    """Refuse a limit price that reaches further beyond the market than the exchange allows."""
    if order.kind is not OrderKind.LIMIT or price is None or last is None:
        return
    if order.side.sign * (price - worst_price(order, last)) > 0:
        raise Rejected(f"Order price {price} exceeds the allowable range", PRICE_LIMIT_REACHED)


def worst_price(order: VenueOrder, last: Decimal) -> Decimal:
    """Return the worst price at which an order may trade while the last price is ``last``."""
    return last * (1 + order.side.sign * PRICE_LIMIT)


def check_sides(sign: int, reference: Decimal | None, stop: Decimal, target: Decimal) -> None:
    """Refuse a stop or target on the wrong side of a position's price; ``sign`` is +1 for long."""
    if reference is None:
        return
    if stop and sign * (reference - stop) <= 0:
        raise Rejected(f"StopLoss:{stop} set for position should be beyond base_price:{reference}", BAD_REQUEST)
    if target and sign * (target - reference) <= 0:
        raise Rejected(f"TakeProfit:{target} set for position should be beyond base_price:{reference}", BAD_REQUEST)


def initial_margin(order: VenueOrder, rules: Instrument, last: Decimal | None, leverage: Decimal) -> Decimal:
    """Return the margin that an order asks for; refuse one that is too small or whose stop or target is misplaced."""
    reference = order.price or order.trigger or last
    if reference is None:
        raise Rejected(f"no price yet for {order.symbol}", 10016)
    if order.qty * reference < rules.min_notional:
        raise Rejected(f"Order does not meet minimum order value {rules.min_notional}", NOTIONAL)
    check_sides(order.side.sign, reference, order.stop, order.target)
    return order.qty * reference / leverage


def check_reduction(order: VenueOrder, held: Decimal) -> None:
    """Refuse a reduce-only order that has nothing to reduce, or carries a stop or target of its own."""
    if order.stop or order.target:
        raise Rejected("params error: reduceOnly order cannot set take profit or stop loss", BAD_REQUEST)
    if held * order.side.sign >= 0:
        raise Rejected("current position is zero, cannot fix reduce-only order qty", REDUCE_ONLY)


def amendment(order: VenueOrder, rules: Instrument, **wanted: Decimal | None) -> dict[str, Decimal]:
    """Return what of an order's ``qty``, ``price``, ``trigger``, ``stop`` and ``target`` changes, with the new values.

    Refuse a change that changes nothing, cannot be, or comes while the order is being filled.
    """
    if order.rest is not None:
        raise Rejected("The order is processing and can not be operated, please try again later", PROCESSING)
    changed = {name: new for name, new in wanted.items() if new is not None and new != getattr(order, name)}
    if not changed:
        raise Rejected("The order remains unchanged as the parameters entered match the existing ones.", BAD_REQUEST)
    for name, new in changed.items():
        if name == "qty":
            _check_new_size(order, rules, new)
        elif getattr(order, name) is None:
            raise Rejected(f"params error: the order has no {name}", BAD_REQUEST)
        elif (new or name in {"price", "trigger"}) and rules.price(new) != new:
            raise Rejected(f"price invalid: {new} is no multiple of tick {rules.tick}", BAD_REQUEST)
        elif name in {"stop", "target"} and order.reduce_only:
            raise Rejected("params error: reduceOnly order cannot set take profit or stop loss", BAD_REQUEST)
    return changed


def _check_new_size(order: VenueOrder, rules: Instrument, qty: Decimal) -> None:
    too_much = qty > rules.max_qty and not order.reduce_only
    if rules.floor_qty(qty) != qty or qty < rules.min_qty or too_much:
        raise Rejected(f"Qty invalid: {qty}", BAD_REQUEST)
    if qty <= order.filled:
        raise Rejected("The modified contract quantity cannot be less than or equal to the filled one", BELOW_FILLED)

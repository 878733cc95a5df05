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


def complete(order: VenueOrder, held: Decimal) -> None:
    """Fill in what an order leaves to the exchange; ``held`` is the signed position in its symbol."""
    if not order.qty and order.reduce_only and order.close_on_trigger:
        order.qty = abs(held)
    if order.kind is OrderKind.MARKET:
        order.time_in_force = "IOC"


def check_size(order: VenueOrder, rules: Instrument) -> None:
    """Refuse what is not a quantity, a price or a time in force; a reduction may be larger than the largest order."""
    if order.time_in_force not in TIMES_IN_FORCE:
        raise Rejected(f"params error: timeInForce {order.time_in_force!r} is invalid", BAD_REQUEST)
    too_much = order.qty > rules.max_qty and not order.reduce_only
    if order.qty < rules.min_qty or rules.floor_qty(order.qty) != order.qty or too_much:
        raise Rejected(f"Qty invalid: {order.qty} (min {rules.min_qty}, step {rules.step})", BAD_REQUEST)
    wrong = next((p for p in (order.price, order.trigger, order.stop, order.target) if p and rules.price(p) != p), None)
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


def check_amendment(
    order: VenueOrder, rules: Instrument, *, qty: Decimal | None, price: Decimal | None, trigger: Decimal | None
) -> None:
    """Refuse a change that changes nothing, cannot be, or comes while the order is being filled."""
    if order.rest is not None:
        raise Rejected("The order is processing and can not be operated, please try again later", PROCESSING)
    wanted = ((qty, order.qty), (price, order.price), (trigger, order.trigger))
    if all(new is None or new == old for new, old in wanted):
        raise Rejected("The order remains unchanged as the parameters entered match the existing ones.", BAD_REQUEST)
    if qty is not None and (rules.floor_qty(qty) != qty or qty < rules.min_qty):
        raise Rejected(f"Qty invalid: {qty}", BAD_REQUEST)
    if qty is not None and qty <= order.filled:
        raise Rejected("The modified contract quantity cannot be less than or equal to the filled one", BELOW_FILLED)
    wrong = next((p for p in (price, trigger) if p and rules.price(p) != p), None)
    if wrong is not None:
        raise Rejected(f"price invalid: {wrong} is no multiple of tick {rules.tick}", BAD_REQUEST)

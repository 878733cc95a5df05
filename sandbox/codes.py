"""Bybit's codes and words for what the practice exchange refuses (v5 error table)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain.refusal import Reason, Refused

if TYPE_CHECKING:
    from domain.errors import Rejected

NOT_FOUND, DUPLICATE, NO_MARGIN, BAD_REQUEST = 110001, 110072, 110007, 10001
REDUCE_ONLY, SAME_STOPS = 110017, 34040

CODES = {
    Reason.MALFORMED: BAD_REQUEST,
    Reason.UNKNOWN_SYMBOL: BAD_REQUEST,
    Reason.NO_PRICE: 10016,
    Reason.PRICE_RANGE: 110003,
    Reason.TOO_SMALL: 110094,
    Reason.NO_MARGIN: NO_MARGIN,
    Reason.LEVERAGE: 110013,
    Reason.WRONG_SIDE: BAD_REQUEST,
    Reason.NO_POSITION: BAD_REQUEST,
    Reason.NOTHING_TO_REDUCE: REDUCE_ONLY,
    Reason.DUPLICATE: DUPLICATE,
    Reason.NOT_FOUND: NOT_FOUND,
    Reason.BEING_FILLED: 110079,
    Reason.BELOW_FILLED: 110064,
    Reason.UNCHANGED: BAD_REQUEST,
    Reason.MODE: BAD_REQUEST,
    Reason.SAME_STOPS: SAME_STOPS,
    Reason.SAME_LEVERAGE: 110043,
}
"""The code that Bybit gives for each reason of the simulated account."""

WORDS = {
    Reason.NO_PRICE: "no price yet",
    Reason.PRICE_RANGE: "Order price exceeds the allowable range",
    Reason.TOO_SMALL: "Order does not meet minimum order value",
    Reason.NO_MARGIN: "ab not enough for new order",
    Reason.NO_POSITION: "can not set tp/sl/ts for zero position",
    Reason.NOTHING_TO_REDUCE: "current position is zero, cannot fix reduce-only order qty",
    Reason.DUPLICATE: "OrderLinkedID is duplicate",
    Reason.NOT_FOUND: "order not exists or too late to cancel",
    Reason.BEING_FILLED: "The order is processing and can not be operated, please try again later",
    Reason.BELOW_FILLED: "The modified contract quantity cannot be less than or equal to the filled one",
    Reason.UNCHANGED: "The order remains unchanged as the parameters entered match the existing ones.",
    Reason.SAME_STOPS: "not modified",
    Reason.SAME_LEVERAGE: "leverage not modified",
    Reason.MODE: "position idx not match position mode",
}
"""What Bybit says with the code, where it always says the same."""


def code_of(error: Rejected) -> int:
    """Return the code that stands in the answer for a refusal."""
    return CODES[error.reason] if isinstance(error, Refused) else error.code


def words_of(error: Rejected) -> str:
    """Return the message that stands in the answer for a refusal."""
    if not isinstance(error, Refused):
        return str(error)
    if error.reason is Reason.WRONG_SIDE:
        return f"StopLoss or TakeProfit set for position should be beyond base_price: {error}"
    if error.reason is Reason.MALFORMED:
        return f"params error: {error}"
    return WORDS.get(error.reason, str(error))

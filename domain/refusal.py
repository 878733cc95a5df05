"""Why a simulated account refuses an order, in words that no venue owns."""

from __future__ import annotations

from enum import StrEnum

from domain.errors import Objection, Rejected


class Reason(StrEnum):
    """What is wrong with a request; what a venue calls it is that venue's business.

    MALFORMED: a quantity, price or time in force that the trading rules do not allow.
    UNKNOWN_SYMBOL: no such contract, or not traded now. NO_PRICE: there is no last price yet.
    PRICE_RANGE: too far beyond the market. TOO_SMALL: below the least order value. NO_MARGIN: too
    little is available. LEVERAGE: outside of what the contract allows. WRONG_SIDE: the stop or
    target lies on the wrong side of the price. NO_POSITION: there is nothing to protect.
    NOTHING_TO_REDUCE: a reduce-only order without a position against it. DUPLICATE: the order id
    was used before. NOT_FOUND: no such open order. BEING_FILLED: the order cannot be changed while
    it is filled. BELOW_FILLED: the new quantity is filled already. UNCHANGED, SAME_STOPS and
    SAME_LEVERAGE: the request changes nothing. MODE: the position mode has no such position.
    """

    MALFORMED = "malformed"
    UNKNOWN_SYMBOL = "unknown_symbol"
    NO_PRICE = "no_price"
    PRICE_RANGE = "price_range"
    TOO_SMALL = "too_small"
    NO_MARGIN = "no_margin"
    LEVERAGE = "leverage"
    WRONG_SIDE = "wrong_side"
    NO_POSITION = "no_position"
    NOTHING_TO_REDUCE = "nothing_to_reduce"
    DUPLICATE = "duplicate"
    NOT_FOUND = "not_found"
    BEING_FILLED = "being_filled"
    BELOW_FILLED = "below_filled"
    UNCHANGED = "unchanged"
    SAME_STOPS = "same_stops"
    SAME_LEVERAGE = "same_leverage"
    MODE = "mode"


OBJECTIONS = {
    Reason.MALFORMED: Objection.RULES,
    Reason.UNKNOWN_SYMBOL: Objection.RULES,
    Reason.PRICE_RANGE: Objection.RULES,
    Reason.TOO_SMALL: Objection.RULES,
    Reason.UNCHANGED: Objection.RULES,
    Reason.NO_MARGIN: Objection.FUNDS,
    Reason.LEVERAGE: Objection.RISK_LIMIT,
    Reason.WRONG_SIDE: Objection.CROSSED,
    Reason.NO_POSITION: Objection.ABSENT,
    Reason.NOTHING_TO_REDUCE: Objection.ABSENT,
    Reason.NOT_FOUND: Objection.ABSENT,
    Reason.MODE: Objection.MODE,
}
"""What each reason objects to; all others object to something else."""


class Refused(Rejected):
    """A simulated account refuses a request.

    Attributes:
        reason: what is wrong with it.
    """

    def __init__(self, message: str, reason: Reason) -> None:
        super().__init__(message, objection=OBJECTIONS.get(reason, Objection.OTHER))
        self.reason = reason

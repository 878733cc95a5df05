"""What the parameters of an order may not be together, whatever the account says to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from domain.errors import Rejected
from domain.order_checks import TIMES_IN_FORCE
from sandbox.codes import BAD_REQUEST

if TYPE_CHECKING:
    from sandbox.parameters import Parameters

TRIGGERS = ("LastPrice", "IndexPrice", "MarkPrice")


def check_modes(params: Parameters) -> str:
    """Return ``tpslMode``; limit orders as stop or target exist in Partial mode only.

    Source: docs, order/create-order and position/trading-stop.
    """
    mode = params.choice("tpslMode", ("Full", "Partial"))
    for kind, price in (("tpOrderType", "tpLimitPrice"), ("slOrderType", "slLimitPrice")):
        chosen = params.choice(kind, ("Market", "Limit"), "Market")
        if chosen == "Limit" and mode != "Partial":
            raise Rejected(f"params error: {kind} Limit needs tpslMode Partial", BAD_REQUEST)
        if chosen == "Limit" and not params.decimal(price):
            raise Rejected(f"params error: {price} is required", BAD_REQUEST)
    for name in ("tpTriggerBy", "slTriggerBy"):
        params.choice(name, TRIGGERS, "LastPrice")
    return mode


def in_force(params: Parameters, *, limit: bool) -> str:
    """Return an order's time in force; a market order is always IOC."""
    chosen = params.choice("timeInForce", (*TIMES_IN_FORCE, "RPI"), "GTC")
    if chosen == "RPI":
        raise Rejected("Order failed. RPI orders are restricted to approved market makers only", 110119)
    return chosen if limit else "IOC"


def missing(name: str) -> NoReturn:
    """Refuse a request without a parameter."""
    raise Rejected(f"params error: {name} is required", BAD_REQUEST)

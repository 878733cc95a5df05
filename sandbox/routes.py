"""What an endpoint is: who answers it, for which product categories, and what the others hear."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from domain.errors import Rejected
from sandbox.codes import BAD_REQUEST, NOT_FOUND

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.parameters import Parameters

Result = dict[str, Any]
Routes = dict[tuple[str, str], "Route"]

LINEAR = "linear"
DERIVATIVES = (LINEAR, "inverse")
CONTRACTS = (*DERIVATIVES, "option")
ALL = (*CONTRACTS, "spot")

BATCH_MAX, SPOT_BATCH_MAX = 20, 10
"""Orders in one batch request. Source: docs, order/batch-place."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: ``result`` and ``extra`` (``retExtInfo``), with a ``code`` where the request failed all the same."""

    result: Result
    extra: Result = field(default_factory=dict)
    code: int = 0
    message: str = "OK"


def nothing_listed(category: str) -> Result:
    """Answer for an account that has nothing, or a market that is not made, in a category."""
    return {"category": category, "list": [], "nextPageCursor": ""}


def no_symbol(category: str) -> NoReturn:
    """Refuse a symbol that a category does not list."""
    if category == "spot":
        raise Rejected("Invalid symbol.", 170121)
    raise Rejected("params error: symbol invalid", BAD_REQUEST)


def no_order(category: str) -> NoReturn:
    """Refuse an order that does not exist in a category."""
    if category == "spot":
        raise Rejected("Order does not exist.", 170213)
    raise Rejected("order not exists or too late to cancel", NOT_FOUND)


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint.

    ``categories`` are those that Bybit documents for it, none where it takes no category; ``default`` is taken where
    none is sent. The market that is made here is the linear one: ``elsewhere`` answers for the others.
    """

    handler: Callable[[Parameters], Result | Reply]
    categories: tuple[str, ...] = ()
    default: str = ""
    elsewhere: Callable[[str], Result] = nothing_listed

    def answer(self, params: Parameters) -> Reply:
        """Answer a request.

        Raises:
            Rejected: with Bybit's code, when Bybit would refuse it.
        """
        if self.categories:
            category = params.text("category", self.default)
            if category not in self.categories:
                raise Rejected("Illegal category", BAD_REQUEST)
            if category != LINEAR:
                return Reply(self.elsewhere(category))
        found = self.handler(params)
        return found if isinstance(found, Reply) else Reply(found)

"""Which orders and executions a request wants to see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from domain.errors import Rejected
from sandbox.codes import BAD_REQUEST

if TYPE_CHECKING:
    from collections.abc import Callable

    from domain.account import VenueOrder
    from sandbox.exchange import Exchange
    from sandbox.parameters import Parameters

T = TypeVar("T")

FILTERS = ("Order", "StopOrder", "OpenOrder", "tpslOrder", "OcoOrder", "BidirectionalTpslOrder")
CHUNK = 200


@dataclass(frozen=True, slots=True)
class SymbolFilter:
    """``symbol`` counts before ``baseCoin``, and that before ``settleCoin``; empty for all."""

    symbol: str = ""
    base: str = ""
    settle: str = ""

    @classmethod
    def of(cls, params: Parameters, exchange: Exchange) -> SymbolFilter:
        """Return what a request asks for; raises Rejected for an unknown symbol."""
        if "symbol" in params:
            return cls(symbol=exchange.instrument_symbol(params.text("symbol")))
        if "baseCoin" in params:
            return cls(base=params.text("baseCoin") + "/")
        return cls(settle=":" + params.text("settleCoin") if "settleCoin" in params else "")

    def keeps(self, symbol: str) -> bool:
        """Return whether a symbol is asked for."""
        if self.symbol:
            return symbol == self.symbol
        return symbol.startswith(self.base) and symbol.endswith(self.settle)


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """Which orders a request is about."""

    symbols: SymbolFilter
    kind: str = ""
    stop_type: str = ""
    status: str = ""

    @classmethod
    def of(cls, params: Parameters, exchange: Exchange) -> OrderFilter:
        """Return what a request asks for; raises Rejected for an unknown symbol or filter."""
        kind = params.choice("orderFilter", FILTERS)
        stop_type = params.choice("stopOrderType", ("Stop",))
        if stop_type and kind != "StopOrder":
            raise Rejected("params error: stopOrderType needs orderFilter StopOrder", BAD_REQUEST)
        return cls(SymbolFilter.of(params, exchange), kind, stop_type, params.text("orderStatus"))

    def keeps(self, order: VenueOrder) -> bool:
        """Return whether an order is asked for."""
        conditional = order.trigger is not None or bool(order.stop_type)
        wanted = {"": True, "Order": not conditional, "OpenOrder": not conditional, "StopOrder": conditional}
        plain = not self.stop_type or order.stop_type in {"", "Stop"}
        right = not self.status or order.status == self.status
        return wanted.get(self.kind, False) and plain and right and self.symbols.keeps(order.symbol)


def page(
    fetch: Callable[[int, int], list[T]],
    number: Callable[[T], int],
    keeps: Callable[[T], bool],
    before: int,
    limit: int,
) -> tuple[list[T], str]:
    """Return the newest ``limit`` rows older than ``before`` that are kept, and a cursor that ends with the rows.

    ``fetch`` returns a chunk of rows with numbers below its first argument, newest first, at most its second many.
    """
    kept = list[T]()
    while chunk := fetch(before, CHUNK):
        for row in chunk:
            if keeps(row):
                if len(kept) == limit:
                    return kept, str(number(kept[-1]))
                kept.append(row)
        before = number(chunk[-1])
    return kept, ""

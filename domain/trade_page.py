"""Closed trades as people ask for them: filtered, sorted, a page of them."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any, NamedTuple

from domain.symbols import Symbols, filtered
from domain.trade import ZERO, as_row

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from decimal import Decimal

    from domain.trade import Trade


class Wanted(NamedTuple):
    """Which trades are asked for, empty for all, and in which order."""

    symbol: str = ""
    strategy: str = ""
    exit_reason: str = ""
    side: str = ""
    sort: str = "exit_time"
    descending: bool = True


def known(wanted: Wanted, traded: Iterable[str], followed: Iterable[str]) -> Wanted:
    """Return what is asked for when its symbol is traded or followed. Raises BadData when it is neither."""
    if wanted.symbol:
        filtered(wanted.symbol, (*followed, *traded))
    return wanted


def chosen(trades: Sequence[Trade], wanted: Wanted) -> list[Trade]:
    """Return the trades that are asked for, in order; of equal ones the newer first."""
    found = newest_first(trades, wanted)
    found.sort(key=rank(wanted), reverse=wanted.descending)
    return found


def page_of(trades: Sequence[Trade], wanted: Wanted, offset: int, limit: int) -> dict[str, Any]:
    """Return some of the trades that are asked for, what all of them made, and what can be asked for."""
    found = newest_first(trades, wanted)
    # sorting all of them would hold the loop up, on whatever thread: it is one call that nothing interrupts
    first = heapq.nlargest if wanted.descending else heapq.nsmallest
    shown = first(offset + limit, found, key=rank(wanted))[offset:]
    names = {(one.symbol, one.strategy_name, one.exit_reason) for one in trades}
    return told(shown, len(found), sum((one.pnl_usd for one in found), ZERO), names)


def told(shown: Iterable[Trade], total: int, net: Decimal, names: Collection[tuple[str, str, str]]) -> dict[str, Any]:
    """Return a page as the API tells it; ``names`` are the symbols, strategies and exits that can be asked for."""
    symbols, strategies, exits = (sorted({one[place] for one in names}) for place in range(3))
    return {
        "total": total, "net": net, "trades": [as_row(one) for one in shown],
        "symbols": symbols, "strategies": strategies, "exits": exits,
    }  # fmt: skip


def newest_first(trades: Sequence[Trade], wanted: Wanted) -> list[Trade]:
    """Return the trades that are asked for, newest exit first whatever order is wanted."""
    symbols = set(Symbols(one.symbol for one in trades).matches(wanted.symbol)) if wanted.symbol else None
    asked = {"strategy_name": wanted.strategy, "exit_reason": wanted.exit_reason, "side": wanted.side}
    held = {name: value for name, value in asked.items() if value}
    found = [
        one for one in trades
        if (symbols is None or one.symbol in symbols) and all(getattr(one, name) == held[name] for name in held)
    ]  # fmt: skip
    found.sort(key=lambda one: one.exit_time, reverse=True)
    return found


def rank(wanted: Wanted) -> Callable[[Trade], tuple[bool, Any]]:
    """Return what trades are sorted by: those without a value come before all others."""
    return lambda one: _orderly(getattr(one, wanted.sort))


def _orderly(value: object) -> tuple[bool, Any]:
    return value is not None, value if value is not None else 0

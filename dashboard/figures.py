"""Figures that only the page and the API show, as plain values."""

from __future__ import annotations

import csv
import heapq
import io
from typing import TYPE_CHECKING, Any, NamedTuple

from domain.score_bins import score_bins
from domain.sheet import cell
from domain.symbols import Symbols, filtered
from domain.trade import FIELDS, ZERO, as_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from decimal import Decimal

    from domain.phantom import PhantomTrade
    from domain.trade import Trade

DECILES = 10


class Wanted(NamedTuple):
    """Which trades are asked for, empty for all, and in which order."""

    symbol: str = ""
    strategy: str = ""
    exit_reason: str = ""
    side: str = ""
    sort: str = "exit_time"
    descending: bool = True


def known(wanted: Wanted, trades: Iterable[Trade], followed: Iterable[str]) -> Wanted:
    """Return what is asked for when its symbol is traded or followed. Raises BadData when it is neither."""
    if wanted.symbol:
        filtered(wanted.symbol, (*followed, *(one.symbol for one in trades)))
    return wanted


def chosen(trades: Sequence[Trade], wanted: Wanted) -> list[Trade]:
    """Return the trades that are asked for, in order; of equal ones the newer first."""
    found = _newest_first(trades, wanted)
    found.sort(key=_rank(wanted), reverse=wanted.descending)
    return found


def page_of(trades: Sequence[Trade], wanted: Wanted, offset: int, limit: int) -> dict[str, Any]:
    """Return some of the trades that are asked for, what all of them made, and what can be asked for."""
    found = _newest_first(trades, wanted)
    # sorting all of them would hold the loop up, on whatever thread: it is one call that nothing interrupts
    first = heapq.nlargest if wanted.descending else heapq.nsmallest
    shown = first(offset + limit, found, key=_rank(wanted))[offset:]
    return {
        "total": len(found), "net": sum(one.pnl_usd for one in found), "trades": [as_row(one) for one in shown],
        "symbols": sorted({one.symbol for one in trades}), "strategies": sorted({one.strategy_name for one in trades}),
        "exits": sorted({one.exit_reason for one in trades}),
    }  # fmt: skip


def as_csv(trades: Iterable[Trade]) -> str:
    """Return trades as CSV, exact; no cell is one that a spreadsheet takes for a formula."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(FIELDS)
    for trade in trades:
        writer.writerow(_cell(getattr(trade, name)) for name in FIELDS)
    return out.getvalue()


def phantom_row(one: PhantomTrade) -> dict[str, Any]:
    """Return a phantom as the API tells it."""
    return {
        "phantom_id": one.phantom_id, "symbol": one.symbol, "strategy": one.strategy_name,
        "timeframe": one.timeframe, "side": one.side.value, "signal_time": one.signal_time,
        "exit_time": one.exit_time, "gate": one.gate, "score": one.ml_score, "scored_by": one.scored_by,
        "entry": one.bracket.entry, "stop": one.bracket.first_stop, "target": one.bracket.target or None,
        "outcome": one.outcome, "exit_reason": one.exit_reason, "r": one.realized_rr,
    }  # fmt: skip


def costs(phantoms: Iterable[PhantomTrade], key: Callable[[PhantomTrade], str]) -> list[dict[str, Any]]:
    """Return per group what refusing its signals cost (missed gains) and saved (avoided losses), in R after fees."""
    groups: dict[str, list[Decimal]] = {}
    for one in phantoms:
        if one.gate and one.outcome:
            groups.setdefault(key(one), []).append(one.realized_rr)
    rows = [
        {
            "name": name, "refused": len(made), "would_have_won": sum(r > 0 for r in made),
            "missed_r": sum((r for r in made if r > 0), ZERO), "avoided_r": -sum((r for r in made if r <= 0), ZERO),
            "net_r": sum(made, ZERO),
        }
        for name, made in groups.items()
    ]  # fmt: skip
    return sorted(rows, key=lambda row: (-abs(row["net_r"]), row["name"]))


def deciles(phantoms: Iterable[PhantomTrade]) -> list[dict[str, Any]]:
    """Return for each tenth of the scored signals that have ended, lowest scores first, how they ended.

    A score that ranks signals shows as tenths that rise. Signals of one score are of one tenth, so there may be fewer.
    """
    scored = [(one.ml_score, one.realized_rr) for one in phantoms if one.outcome and one.ml_score is not None]
    bins = score_bins([score for score, _ in scored], DECILES)
    return [_decile([scored[row] for row in rows]) for rows in bins]


def _decile(held: Sequence[tuple[float, Decimal]]) -> dict[str, Any]:
    made = [r for _, r in held]
    return {
        "from": min(held)[0], "to": max(held)[0], "signals": len(held),
        "win_rate": round(100 * sum(r > 0 for r in made) / len(made), 1),
        "mean_r": round(float(sum(made, ZERO)) / len(made), 3),
    }  # fmt: skip


def _newest_first(trades: Sequence[Trade], wanted: Wanted) -> list[Trade]:
    symbols = set(Symbols(one.symbol for one in trades).matches(wanted.symbol)) if wanted.symbol else None
    asked = {"strategy_name": wanted.strategy, "exit_reason": wanted.exit_reason, "side": wanted.side}
    held = {name: value for name, value in asked.items() if value}
    found = [
        one for one in trades
        if (symbols is None or one.symbol in symbols) and all(getattr(one, name) == held[name] for name in held)
    ]  # fmt: skip
    found.sort(key=lambda one: one.exit_time, reverse=True)
    return found


def _rank(wanted: Wanted) -> Callable[[Trade], tuple[bool, Any]]:
    return lambda one: _orderly(getattr(one, wanted.sort))


def _orderly(value: object) -> tuple[bool, Any]:
    return value is not None, value if value is not None else 0


def _cell(value: object) -> str:
    return "" if value is None else value.isoformat() if hasattr(value, "isoformat") else str(cell(value))

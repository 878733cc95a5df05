"""Figures that only the page and the API show, as plain values."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from domain.score_bins import score_bins
from domain.sheet import cell
from domain.trade import FIELDS, ZERO
from domain.trade_page import Wanted, chosen  # noqa: F401  scripts know them by this name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from decimal import Decimal

    from domain.phantom import PhantomTrade
    from domain.trade import Trade

DECILES = 10


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


def _cell(value: object) -> str:
    return "" if value is None else value.isoformat() if hasattr(value, "isoformat") else str(cell(value))

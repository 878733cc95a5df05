"""Figures that only the page and the API show, as plain values."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from dashboard.intervals import mean_interval, worth
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


def judged_costs(
    phantoms: Sequence[PhantomTrade], key: Callable[[PhantomTrade], str]
) -> list[dict[str, Any]]:  # fmt: skip
    """Return the same with a 95 % interval of ``net_r`` (``low_r``, ``high_r``, None with fewer than eight days)."""
    groups: dict[str, list[PhantomTrade]] = {}
    for one in phantoms:
        if one.gate and one.outcome:
            groups.setdefault(key(one), []).append(one)
    rows = costs(phantoms, key)
    for row in rows:
        held = groups[row["name"]]
        found = mean_interval([one.signal_time for one in held], [float(one.realized_rr) for one in held])
        low, high = (None if end is None else len(held) * end for end in (found.low, found.high))
        row |= {"low_r": low, "high_r": high, "days": found.days, "verdict": _verdict(low, high)}
    return rows


def _verdict(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return "too few days"
    return "cost" if low > 0 else "saved" if high < 0 else "not told from chance"


def score_worth(phantoms: Iterable[PhantomTrade]) -> dict[str, Any]:
    """Return what a strategy's score is worth: mean R of the better half of its scored signals above the other half's.

    Only signals that have ended count, scored by what scored the newest one: a model, or the rule. Each was scored
    before anybody knew how it would end.
    """
    ended = [one for one in phantoms if one.outcome and one.ml_score is not None]
    by = max(ended, key=lambda one: one.signal_time).scored_by if ended else ""
    held = [one for one in ended if one.scored_by == by]
    scores = [one.ml_score for one in held if one.ml_score is not None]
    found = worth([one.signal_time for one in held], scores, [float(one.realized_rr) for one in held])
    told = {"scored_by": by, "signals": len(held), "value": None, "low": None, "high": None, "days": 0}
    return told | found._asdict() if found is not None else told


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

"""What a score is worth, as one page that needs nothing else."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from backtest.charts import LEFT, RIGHT, STYLE, WIDTH, Frame, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from app.evaluation import Asked
    from ml.evaluation import Evaluation, Group, Seen
    from ml.weeks import Interval

HEIGHT = 240


def page(title: str, asked: Sequence[Asked], facts: Mapping[str, str]) -> str:
    """Return the page."""
    parts = "".join(_strategy(one) for one in asked)
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>
<meta name="viewport" content="width=device-width"><style>{STYLE}</style><h1>{escape(title)}</h1>
<p class="dim">Walk-forward: every score was given by a model that had seen only what ended before. Intervals are 95 %
block-bootstrap intervals over whole weeks; what is from fewer than eight has none. Results are in R after fees.</p>
{parts}<h2>About</h2>{table(("", ""), list(facts.items()))}</html>
"""


def _strategy(one: Asked) -> str:
    head = f"<h2>{escape(one.strategy)}</h2>"
    if one.evaluation is None or one.seen is None:
        return f"{head}<p>{one.signals} signals. {escape(one.reason)}</p>"
    held, seen = one.evaluation, one.seen
    rows = [("signals, unseen of them", f"{one.signals}, {held.signals} from {held.weeks} weeks"), *lines(held)]
    notes = "".join(f'<p class="dim">{escape(note)}</p>' for note in held.notes)
    return (
        f"{head}<p><b>{escape(held.verdict)}</b></p>{notes}{table(('', ''), rows)}"
        f"<h3>Share of gains by tenth of the score, lowest first</h3>{_tenths(held, gains=True)}"
        f"<h3>Mean R by tenth of the score</h3>{_tenths(held, gains=False)}"
        f"<h3>What was predicted and what came true</h3>{_reliability(held)}"
        f"<h3>All signals (grey) and those let through (blue), summed in R</h3>{_sums(seen)}"
    )


def lines(held: Evaluation) -> list[tuple[str, str]]:
    """Return the figures by name, each with its interval."""
    return [
        ("chance that a gain scores higher (0.5)", told(held.auc)),
        ("log loss saved against the base rate", told(held.log_loss, 4)),
        ("Brier saved against the base rate", told(held.brier, 4)),
        ("calibration error", f"{held.calibration_error:.4f}"),
        ("mean R of all", told(held.mean_r_all)),
        (f"mean R of the {held.passed} let through", told(held.mean_r_passed)),
        ("the gate adds", told(held.gain_r)),
    ]


def told(one: Interval, places: int = 3) -> str:
    """Return a figure with its interval where it has one, "-" where there is no figure."""
    if not np.isfinite(one.value):
        return "-"
    spread = f"{one.low:+.{places}f} to {one.high:+.{places}f}" if np.isfinite(one.low) else "no interval"
    return f"{one.value:+.{places}f} ({spread})"


def _tenths(held: Evaluation, *, gains: bool) -> str:
    def of(group: Group) -> Interval:
        return group.won if gains else group.mean_r

    whole = np.nan_to_num([value for group in held.groups for value in of(group)])
    low, high = (0.0, 1.0) if gains else (min(0.0, float(whole.min())), max(0.0, float(whole.max())))
    frame, wide = Frame(0, len(held.groups), low, high, HEIGHT), (WIDTH - LEFT - RIGHT) / len(held.groups)
    out = []
    for place, group in enumerate(held.groups):
        figure, x = of(group), LEFT + place * wide
        top, bottom = sorted((frame.y(figure.value), frame.y(0.0)))
        color = "#1b7f4b" if figure.value >= (0.5 if gains else 0) else "#b3261e"
        middle = x + wide / 2
        spread = "" if not np.isfinite(figure.low) else (
            f'<line x1="{middle:.1f}" x2="{middle:.1f}" y1="{frame.y(figure.low):.1f}" y2="{frame.y(figure.high):.1f}" '
            'stroke="#1c2430" stroke-width="1.5"/>'
        )  # fmt: skip
        out.append(
            f'<rect x="{x + 6:.1f}" y="{top:.1f}" width="{wide - 12:.1f}" height="{max(1, bottom - top):.1f}" '
            f'fill="{color}" opacity=".75"><title>{group.count} signals, predicted {group.predicted:.2f}</title></rect>'
            f"{spread}"
        )
    return frame.svg("".join(out), [str(place + 1) for place in range(len(held.groups))])


def _reliability(held: Evaluation) -> str:
    frame = Frame(0, 1_000, 0.0, 1.0, HEIGHT)
    points = [(frame.x(int(1_000 * g.predicted)), frame.y(g.won.value), g) for g in held.groups]
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="#1f6feb"><title>predicted {g.predicted:.2f}, came true '
        f"{g.won.value:.2f}</title></circle>" for x, y, g in points
    )  # fmt: skip
    line = f'<line x1="{frame.x(0)}" y1="{frame.y(0)}" x2="{frame.x(1_000)}" y2="{frame.y(1)}" stroke="#8793a3"/>'
    return frame.svg(line + dots, ["0.1", "0.3", "0.5", "0.7", "0.9"])


def _sums(seen: Seen) -> str:
    every, through = np.cumsum(seen.r), np.cumsum(np.where(seen.passed, seen.r, 0.0))
    both = np.concatenate((every, through, [0.0]))
    frame = Frame(int(seen.time[0]), int(seen.time[-1]), float(both.min()), float(both.max()), HEIGHT)
    lines = "".join(
        f'<path d="{frame.line(seen.time, values)}" fill="none" stroke="{color}" stroke-width="1.4"/>'
        for values, color in ((every, "#8793a3"), (through, "#1f6feb"))
    )
    return frame.svg(lines)

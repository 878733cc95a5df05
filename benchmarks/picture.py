"""Draws how far each case is from its target."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

GOOD, BAD, INK = "#2e7d5b", "#b3443a", "#333333"


def draw(lines: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw a bar for each case: its ratio as a multiple of its target, on a logarithmic scale; left of 1 is better."""
    rows = [(one["name"], _share(one), one["met"], f"{one['ratio']:.3g} ({one['target']})") for one in lines]
    rows = [row for row in rows if math.isfinite(row[1]) and row[1] > 0][::-1]
    figure = Figure((9, 0.8 + 0.3 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    names = [row[0] for row in rows]
    axes.barh(names, [row[1] for row in rows], color=[GOOD if row[2] else BAD for row in rows], height=0.6)
    axes.set_xscale("log")
    axes.axvline(1, color=INK, linewidth=1)
    for place, (_, share, _, words) in enumerate(rows):
        axes.annotate(
            words, (max(share, 1), place), (4, 0), textcoords="offset points", va="center", fontsize=8, color=INK
        )
    axes.set_xlabel("ratio to the reference, as a multiple of the target: at most 1 is wanted")
    axes.set_xlim(right=max(row[1] for row in rows) * 6 if rows else 1)
    axes.spines[["top", "right"]].set_visible(False)
    FigureCanvasAgg(figure).print_figure(path, dpi=110)


def _share(one: dict[str, Any]) -> float:
    *whose, sense, limit = str(one["target"]).split()
    ratio, wanted = float(one["ours" if whose else "ratio"]), float(limit)
    return wanted / ratio if sense == ">=" else ratio / wanted

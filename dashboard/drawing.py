"""Draws pictures as PNG: ``python -m dashboard.drawing`` reads one from standard input and writes it to the output.

A process of its own, so that matplotlib costs the bot neither memory nor time.
"""

from __future__ import annotations

import io
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import msgspec
from matplotlib import dates
from matplotlib.figure import Figure

from domain.durations import DAY_MS
from domain.picture import Chart, Curve, Picture

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.picture import Mark

WIDTH, HEIGHT, DPI = 9.0, 6.0, 120
UP, DOWN, INK, FAINT, BLUE, PHANTOM = "#1b9e77", "#d95f02", "#222222", "#bbbbbb", "#1f5fbf", "#7a5fa8"
LABELLED_MAX = 12
"""Marks that bear their label; more would hide each other."""


def draw(picture: Picture) -> bytes:
    """Return a picture as PNG."""
    mpl.use("Agg")
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, layout="constrained", facecolor="white")
    if isinstance(picture, Chart):
        _chart(figure, picture)
    else:
        _curve(figure, picture)
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


def _chart(figure: Figure, chart: Chart) -> None:
    prices, volumes = figure.subplots(2, 1, sharex=True, height_ratios=[5, 1])
    prices.set_title(chart.title, loc="left", fontsize=12, fontweight="bold", color=INK)
    if not chart.bars:
        _nothing(figure, "no bars yet")
        return
    times = [one[0] / DAY_MS for one in chart.bars]
    width = chart.step_ms / DAY_MS * 0.7
    middle = [time + chart.step_ms / DAY_MS / 2 for time in times]
    colours = [UP if one[4] >= one[1] else DOWN for one in chart.bars]
    prices.vlines(middle, [one[3] for one in chart.bars], [one[2] for one in chart.bars], colors=colours, linewidth=0.8)
    bodies = [abs(one[4] - one[1]) for one in chart.bars]
    # a rising body is hollow, a falling one full: told apart without colour
    faces = ["white" if one[4] >= one[1] else DOWN for one in chart.bars]
    low = [min(one[1], one[4]) for one in chart.bars]
    prices.bar(middle, bodies, width, bottom=low, color=faces, edgecolor=colours, linewidth=0.8, zorder=3)
    volumes.bar(middle, [one[5] for one in chart.bars], width, color=colours, alpha=0.6)
    volumes.set_ylabel("volume", color=INK)
    end = times[-1] + chart.step_ms / DAY_MS
    for place, mark in enumerate(reversed(chart.marks)):
        _mark(prices, mark, end, labelled=place < LABELLED_MAX)
    prices.set_xlim(times[0], end + (end - times[0]) * 0.06)
    for axes in (prices, volumes):
        _dress(axes)
        axes.yaxis.tick_right()
    prices.annotate(
        f"{chart.bars[-1][4]:g}", (1, chart.bars[-1][4]), xycoords=("axes fraction", "data"), xytext=(3, 0),
        textcoords="offset points", va="center", fontsize=8, color="white", bbox={"boxstyle": "round", "fc": INK},
    )  # fmt: skip
    prices.spines["left"].set_visible(False)
    volumes.spines["left"].set_visible(False)
    _legend(prices, chart.marks)


def _mark(axes: Any, mark: Mark, end: float, *, labelled: bool) -> None:
    """Draw entry, exit, stop and target of one mark."""
    colour = PHANTOM if mark.kind == "phantom" else BLUE
    begin, last = mark.entry[0] / DAY_MS, (mark.exit[0] / DAY_MS if mark.exit else end)
    faint = 0.55 if mark.kind == "phantom" else 1.0
    axes.plot(begin, mark.entry[1], marker="^" if mark.long else "v", color=colour, markersize=8, alpha=faint, zorder=6,
              markeredgecolor="white", linestyle="")  # fmt: skip
    if mark.exit is not None:
        ended = UP if mark.good else DOWN
        axes.plot([begin, last], [mark.entry[1], mark.exit[1]], color=ended, linewidth=1.2, alpha=faint * 0.8,
                  linestyle=":" if mark.kind == "phantom" else "-", zorder=5)  # fmt: skip
        shape = "o" if mark.good else "X"
        axes.plot(last, mark.exit[1], marker=shape, color=ended, markersize=7, alpha=faint, zorder=6,
                  markeredgecolor="white", linestyle="")  # fmt: skip
    levels = [(mark.stop, DOWN, "--"), (mark.target, UP, "-.")] if mark.kind != "phantom" or mark.exit is None else []
    for level, shade, style in levels:
        if level:
            axes.hlines(level, begin, last, colors=shade, linestyles=style, linewidth=1.1, alpha=faint * 0.9, zorder=4)
            if mark.kind == "open":
                axes.annotate(f"{level:g}", (last, level), xytext=(3, 0), textcoords="offset points", va="center",
                              fontsize=8, color=shade)  # fmt: skip
    if labelled and mark.label:
        axes.annotate(mark.label, (begin, mark.entry[1]), xytext=(0, -14 if mark.long else 10),
                      textcoords="offset points", ha="center", fontsize=7.5, color=colour, zorder=7,
                      bbox={"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.75})  # fmt: skip


def _legend(axes: Any, marks: Sequence[Mark]) -> None:
    kinds = {mark.kind for mark in marks}
    if kinds:
        names = {"trade": "trade", "open": "open position", "phantom": "phantom (not traded)"}
        shades = {"trade": BLUE, "open": BLUE, "phantom": PHANTOM}
        for kind in sorted(kinds):
            axes.plot([], [], marker="^", linestyle="", color=shades[kind], label=names[kind])
        axes.plot([], [], marker="o", linestyle="", color=UP, label="ended in profit")
        axes.plot([], [], marker="X", linestyle="", color=DOWN, label="ended in loss")
        axes.plot([], [], linestyle="--", color=DOWN, label="stop")
        axes.plot([], [], linestyle="-.", color=UP, label="target")
        axes.figure.legend(
            *axes.get_legend_handles_labels(), loc="outside lower left", fontsize=8, ncols=4, frameon=False
        )


def _curve(figure: Figure, curve: Curve) -> None:
    profit, falls = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    profit.set_title(curve.title, loc="left", fontsize=12, fontweight="bold", color=INK)
    if not curve.points:
        _nothing(figure, "no trade has ended yet")
        return
    times = [datetime.fromtimestamp(time / 1000, UTC) for time, _ in curve.points]
    values = [value for _, value in curve.points]
    peaks, peak = [], 0.0
    for value in values:
        peak = max(peak, value)
        peaks.append(peak)
    profit.step(times, values, where="post", color=BLUE, linewidth=1.6)
    profit.axhline(0, color=FAINT, linewidth=1)
    profit.fill_between(times, values, 0, step="post", color=BLUE, alpha=0.12)
    profit.annotate(f"{values[-1]:+,.2f}", (times[-1], values[-1]), xytext=(4, 0), textcoords="offset points",
                    fontsize=9, color=BLUE, va="center")  # fmt: skip
    profit.set_ylabel("net profit", color=INK)
    profit.margins(x=0.08)
    below = [value - high for value, high in zip(values, peaks, strict=True)]
    falls.fill_between(times, below, 0, step="post", color=DOWN, alpha=0.5)
    falls.set_ylabel("below peak", color=INK)
    for axes in (profit, falls):
        _dress(axes)


def _nothing(figure: Figure, why: str) -> None:
    for axes in figure.axes:
        axes.set_axis_off()
    figure.text(0.5, 0.5, why, ha="center", va="center", fontsize=14, color=INK)


def _dress(axes: Any) -> None:
    axes.grid(visible=True, color=FAINT, linewidth=0.4, alpha=0.7)
    axes.set_axisbelow(True)
    locator = dates.AutoDateLocator(minticks=4, maxticks=8)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
    axes.tick_params(labelsize=8, colors=INK)
    axes.spines["top"].set_visible(False)


def main() -> None:
    """Draw what standard input tells."""
    picture: Picture = msgspec.json.decode(sys.stdin.buffer.read(), type=Chart | Curve)
    sys.stdout.buffer.write(draw(picture))


if __name__ == "__main__":
    main()

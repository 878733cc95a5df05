"""What pages are drawn with: axes, lines, tables, and how they look; no script, no network."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from domain.candle import Floats

WIDTH, LEFT, RIGHT, AXIS = 1080, 70, 10, 20
LEVELS = 4
"""Steps of an axis, at most."""

STYLE = """
body{font:14px/1.45 system-ui,sans-serif;margin:24px auto;max-width:1100px;color:#1c2430;background:#fff}
h1{font-size:22px;margin:0 0 4px}h2{font-size:16px;margin:28px 0 6px}
table{border-collapse:collapse;margin:4px 0}td,th{padding:3px 10px;text-align:right;border-bottom:1px solid #e3e7ec}
td:first-child,th:first-child{text-align:left}th{color:#5a6675;font-weight:600}
.cards{display:flex;flex-wrap:wrap;gap:10px;margin:14px 0}
.card{border:1px solid #e3e7ec;border-radius:6px;padding:8px 14px}
.card b{display:block;font-size:18px}.card span{color:#5a6675;font-size:12px}
.up{color:#1b7f4b}.down{color:#b3261e}.dim{color:#5a6675;font-size:12px}.side{display:flex;flex-wrap:wrap;gap:30px}
svg{display:block;width:100%;height:auto}svg text{font:11px system-ui,sans-serif;fill:#5a6675}
"""


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, raw: bool = False) -> str:
    """Return a table; cells are escaped unless ``raw``."""
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{value if raw else escape(value)}</td>" for value in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{cells}</tr>{body}</table>"


def levels(low: float, high: float) -> list[tuple[float, str]]:
    """Return round levels between two values, and as text: steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / LEVELS
    power = math.floor(math.log10(rough))
    step = next(times * 10.0**power for times in (1, 2, 5, 10) if times * 10.0**power >= rough * (1 - 1e-9))
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [(place * step, f"{place * step:,.{digits}f}") for place in range(first, last + 1)]


def day(time: float) -> str:
    """Return a time (UTC ms) as date and minute."""
    return str(np.datetime64(int(time), "ms").astype("datetime64[m]")).replace("T", " ")


class Frame:
    """The axes of a chart over time."""

    def __init__(self, start: int, end: int, low: float, high: float, height: int, unit: str = "") -> None:
        self._start, self._span = start, max(1, end - start)
        self._low, self._reach = low, (high - low) or 1.0
        self._height, self._unit = height, unit

    def x(self, time: int) -> float:
        """Return where a time (UTC ms) lies."""
        return LEFT + (time - self._start) / self._span * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Return where a value lies."""
        return 8 + (1 - (value - self._low) / self._reach) * (self._height - AXIS - 16)

    def line(self, times: np.ndarray, values: Floats) -> str:
        """Return a path through the values: of those in one pixel the first, lowest, highest and last."""
        column = ((times - self._start) * (WIDTH - LEFT - RIGHT) // self._span).astype(np.int64)
        starts = np.r_[0, np.flatnonzero(np.diff(column)) + 1]
        points: list[str] = []
        for first, last in zip(starts.tolist(), [*starts[1:].tolist(), len(values)], strict=True):
            part = values[first:last]
            rows = sorted({0, int(part.argmin()), int(part.argmax()), len(part) - 1})
            points += [f"{self.x(int(times[first + row])):.1f},{self.y(float(part[row])):.1f}" for row in rows]
        return "M" + " L".join(points)

    def svg(self, content: str, labels: Sequence[str] = ()) -> str:
        """Return the chart with its axes: days below it, or the labels, each in the middle of its share."""
        out = [f'<svg viewBox="0 0 {WIDTH} {self._height}" role="img">']
        for value, text in levels(self._low, self._low + self._reach):
            y = self.y(value)
            out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e3e7ec"/>')
            out.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{text}{self._unit}</text>')
        wide = WIDTH - LEFT - RIGHT
        for place, label in enumerate(labels):
            x = LEFT + (place + 0.5) / len(labels) * wide
            out.append(f'<text x="{x:.0f}" y="{self._height - 4}" text-anchor="middle">{escape(label)}</text>')
        for share in () if labels else (0.0, 0.25, 0.5, 0.75, 1.0):
            x, date = LEFT + share * wide, day(self._start + share * self._span)[:10]
            anchor = {0.0: "start", 1.0: "end"}.get(share, "middle")
            out.append(f'<text x="{x:.0f}" y="{self._height - 4}" text-anchor="{anchor}">{date}</text>')
        return "".join([*out, content, "</svg>"])

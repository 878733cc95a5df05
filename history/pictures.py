"""Pictures of coverage, as svg files that any browser shows."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from domain.coverage import Coverage

WIDTH, ROW, LEFT, TOP = 1000, 26, 300, 56
SHOWN_LEAST = 1.5
"""Narrowest mark of a missing range, in pixels: one bar among a million is still seen."""


def draw_coverage(path: Path, series: Mapping[str, Coverage]) -> None:
    """Draw one line per series over their common span: there, missing (red, crossed), outside of the asked window."""
    start = min((coverage.window.start for coverage in series.values()), default=0)
    end = max((coverage.window.end for coverage in series.values()), default=1)
    scale = (WIDTH - LEFT - 90) / max(1, end - start)
    height = TOP + ROW * len(series) + 30
    head = f"""<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"
 viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">
<rect width="{WIDTH}" height="{height}" fill="#fff"/>
<defs><pattern id="gap" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
<rect width="6" height="6" fill="#c62828"/><line x1="0" y1="0" x2="0" y2="6" stroke="#fff"/></pattern></defs>
<text x="10" y="20" font-size="15" font-weight="bold">Coverage {_day(start)} to {_day(end)} (UTC)</text>
<rect x="10" y="30" width="14" height="10" fill="#2e7d32"/><text x="30" y="39">stored</text>
<rect x="90" y="30" width="14" height="10" fill="url(#gap)"/><text x="110" y="39">missing</text>"""
    out = [head]
    for place, (name, coverage) in enumerate(series.items()):
        y = TOP + ROW * place
        left, wide = (
            LEFT + (coverage.window.start - start) * scale,
            (coverage.window.end - coverage.window.start) * scale,
        )
        out.append(f'<text x="10" y="{y + 15}">{escape(name)}</text>')
        out.append(f'<rect x="{left:.1f}" y="{y + 3}" width="{max(wide, 1):.1f}" height="16" fill="#2e7d32"/>')
        for span in coverage.missing:
            x, w = LEFT + (span.start - start) * scale, max(SHOWN_LEAST, (span.end - span.start) * scale)
            out.append(f'<rect x="{x:.1f}" y="{y + 3}" width="{w:.1f}" height="16" fill="url(#gap)"/>')
        out.append(f'<text x="{WIDTH - 82}" y="{y + 15}">{coverage.completeness:.3f}%</text>')
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = LEFT + share * (end - start) * scale
        day = _day(start + share * (end - start))
        out.append(f'<text x="{x:.0f}" y="{height - 8}" text-anchor="middle" fill="#555">{day}</text>')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*out, "</svg>"]))


def _day(time: float) -> str:
    return str(np.datetime64(int(time), "ms").astype("datetime64[D]"))

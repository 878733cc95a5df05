"""Runs every benchmark and prints one table: ``make bench``, or ``make bench ONLY="upsert gaps"``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import (
    bar_close,
    candles,
    daemon,
    feed,
    history,
    lag,
    learning,
    page,
    phantoms,
    picture,
    protections,
    rivals,
    trades,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.measured import Measured

LATEST = Path(__file__).parent / "latest.json"
PICTURE = Path(__file__).parents[1] / "docs" / "speed.png"
CASES: dict[str, Callable[[], list[Measured]]] = {
    "candles": candles.measure,
    "trade_ack": trades.measure,
    "phantoms": phantoms.measure,
    "protections": protections.measure,
    "feed": feed.measure,
    "feed_latency": feed.measure_latency,
    "bar_close": bar_close.measure,
    "score": learning.measure_score,
    "retrain": learning.measure_retrain,
    "candle_bulk": history.measure_bulk,
    "gaps": history.measure_gaps,
    "export": history.measure_export,
    "download": history.measure_download,
    "loop_lag": lag.measure,
    "page_lag": page.measure,
    "start": daemon.measure_start,
    "memory": daemon.measure_memory,
    "scale": daemon.measure_scale,
    "backtest": rivals.measure,
}
"""What is measured together, by name; each gives one line or more, of names that begin like its own, mostly."""


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all; return 1 when one does not reach what it should."""
    unknown = [name for name in names if name not in CASES]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(CASES)}", file=sys.stderr)
        return 2
    lines: list[Measured] = []
    for name in track(names or list(CASES), description="measuring", console=Console(stderr=True)):
        lines += CASES[name]()
        # one that fails takes nothing from the others
        keep(lines)
    Console(width=None if sys.stdout.isatty() else 200).print(table(lines))
    kept = keep(lines)
    picture.draw(kept, PICTURE)
    return int(not all(line.met for line in lines))


def table(lines: list[Measured]) -> Table:
    """Return the lines as people read them."""
    shown = Table(
        "case", "what; beside what", "ours", "reference", "ratio (min median max)", "target", "met", "details"
    )
    for one in lines:
        ratios = f"{min(one.ratios):.3g} {one.ratio:.3g} {max(one.ratios):.3g}"
        ours, reference = (f"{value:,.4g} {one.unit}" for value in (one.ours, one.reference))
        shown.add_row(one.name, one.what, ours, reference, ratios, one.target, "yes" if one.met else "NO", one.details)
    return shown


def keep(lines: list[Measured]) -> list[dict[str, object]]:
    """Put the lines in place of those of the same name in the file; return all that it holds."""
    try:
        held = {one["name"]: one for one in json.loads(LATEST.read_text())}
    except (OSError, ValueError):
        held = {}
    for one in lines:
        held[one.name] = {
            "name": one.name, "ours": one.ours, "reference": one.reference, "unit": one.unit, "ratio": one.ratio,
            "target": one.target, "met": one.met, "what": one.what, "details": one.details,
        }  # fmt: skip
    LATEST.write_text(json.dumps(list(held.values()), indent=1) + "\n")
    return list(held.values())


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

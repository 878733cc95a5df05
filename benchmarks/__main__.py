"""Runs every benchmark and prints one table: ``make bench``, or ``python -m benchmarks NAME...``."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import backtest, candles, feed, history, lag, learning, rivals, trades

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What is measured, and what it should reach."""

    what: str
    wanted: str
    measure: Callable[[], tuple[float, str]]
    holds: Callable[[float], bool]


BENCHMARKS = {
    "candles": Benchmark(
        "50 symbols x 2 timeframes saved to PostgreSQL: times faster than the ORM row by row",
        ">= 100",
        candles.measure,
        lambda ratio: ratio >= 100,
    ),
    "upsert": Benchmark(
        "a million bars upserted into PostgreSQL: rate as a share of a raw COPY into a bare table with the same key",
        ">= 0.4",
        history.measure_upsert,
        lambda ratio: ratio >= 0.4,
    ),
    "gaps": Benchmark(
        "exact gaps of a million stored bars: time relative to COPY of the times and numpy's diff",
        "<= 2",
        history.measure_gaps,
        lambda ratio: ratio <= 2,
    ),
    "export": Benchmark(
        "a million bars exported to freqtrade: time relative to reading them and writing the feather",
        "<= 3",
        history.measure_export,
        lambda ratio: ratio <= 3,
    ),
    "download": Benchmark(
        "share of a core that a download takes while its rate budget holds it back",
        "<= 0.5",
        history.measure_download,
        lambda share: share <= 0.5,
    ),
    "backtest": Benchmark(
        "a cross with stop and target, five years of 1h and one of 1m: least share of what is wanted beside the others",
        ">= 1",
        rivals.measure,
        lambda share: share >= 1,
    ),
    "backtest_loop": Benchmark(
        "a backtest on 60,000 bars: bars a second, as a share of a bare loop that only looks for stop and target",
        ">= 0.1",
        backtest.measure,
        lambda share: share >= 0.1,
    ),
    "feed": Benchmark(
        "decoded and applied messages per second, relative to a bare websockets loop",
        ">= 0.6",
        feed.measure,
        lambda ratio: ratio >= 0.6,
    ),
    "lag": Benchmark(
        "event loop lag at p99 while 500 symbols close a bar and are saved, ms",
        "< 20",
        lag.measure,
        lambda p99: p99 < 20,
    ),
    "score": Benchmark(
        "a signal scored by its model: times faster than by scikit-learn's ensemble (p50)",
        ">= 30",
        learning.measure_score,
        lambda ratio: ratio >= 30,
    ),
    "training": Benchmark(
        "event loop lag at p99 while a model is retrained on 10,000 signals, ms",
        "< 20",
        learning.measure_lag,
        lambda p99: p99 < 20,
    ),
    "trades": Benchmark(
        "acknowledging a trade with 10,000 held, relative to an fdatasync append of the same bytes (p50)",
        "<= 2",
        trades.measure,
        lambda ratio: ratio <= 2,
    ),
}


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all; return 1 when one does not reach what it should."""
    table = Table("benchmark", "wanted", "measured", "holds", "details")
    failed = False
    for name in track(names or list(BENCHMARKS), description="measuring", console=Console(stderr=True)):
        held = BENCHMARKS[name]
        value, details = held.measure()
        failed |= not held.holds(value)
        table.add_row(held.what, held.wanted, f"{value:.2f}", "yes" if held.holds(value) else "NO", details)
    Console(width=None if sys.stdout.isatty() else 180).print(table)
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

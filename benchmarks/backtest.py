"""A year of trades by the live trader, against a bare loop that only looks whether stop or target is touched."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

from benchmarks.cross import Cross, traded
from domain.candle import timeframe_ms
from tests.venues import walk

if TYPE_CHECKING:
    from collections.abc import Callable

    from domain.candle import Bars

BARS, ROUNDS = 60_000, 5
CROSS = Cross("1h", 50, 200, 0.02, 0.04)
STEP = timeframe_ms(CROSS.timeframe)


def measure() -> tuple[float, str]:
    """Return our bars per second as a share of the bare loop's."""
    bars = walk(BARS, 1_600_000_000_000 // STEP * STEP, STEP, price=30_000.0)
    ours, trades = _best(lambda: traded(CROSS, bars))
    bare, looped = _best(lambda: _looped(bars))
    told = f"{BARS / ours:,.0f} bars a second with {trades} trades; bare loop {BARS / bare:,.0f} with {looped}"
    return bare / ours, told


def _best(work: Callable[[], int]) -> tuple[float, int]:
    took, found = [], 0
    for _ in range(ROUNDS):
        started = time.perf_counter()
        found = work()
        took.append(time.perf_counter() - started)
    return statistics.median(took), found


def _looped(bars: Bars) -> int:
    columns = CROSS.columns({CROSS.timeframe: bars})
    high, low, close = (column.tolist() for column in (bars.high, bars.low, bars.close))
    rises, trades, held, stop, target = columns["rises"], 0, False, 0.0, 0.0
    for i in range(len(close)):
        if held and (low[i] <= stop or high[i] >= target):
            trades, held = trades + 1, False
        if not held and rises[i]:
            held, stop, target = True, close[i] * (1 - CROSS.stop), close[i] * (1 + CROSS.target)
    return trades

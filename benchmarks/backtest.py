"""A year of trades by the live trader, against a bare loop that only looks whether stop or target is touched."""

from __future__ import annotations

import statistics
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.runner import Runner
from backtest.signals import Replayed, find
from backtest.tape import Tape
from backtest.venue import Venue
from domain.candle import Series, timeframe_ms
from domain.exits import ExitPlan
from domain.fills import Costs
from domain.ids import Identity
from domain.order import Side
from domain.signal import Signal
from engine.risk import RiskLimits
from engine.trader import Plan, Trader, TraderTerms
from sandbox.tape import guess_instrument
from strategies import indicators as ta
from tests.venues import walk

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from domain.candle import Bars

BARS, ROUNDS, WINDOW = 60_000, 5, 1_000
FAST, SLOW, STOP, TARGET = 50, 200, 0.02, 0.04
SYMBOL, TIMEFRAME = "BTC/USDT:USDT", "1h"
STEP = timeframe_ms(TIMEFRAME)


class Cross:
    """Buys when the fast average rises above the slow one, sells when it falls below."""

    name, timeframes, warmup_bars = "cross", (TIMEFRAME,), {TIMEFRAME: SLOW}

    def start(self, symbol: str) -> str:
        """Return the symbol: that is all there is to know."""
        return symbol

    def columns(self, bars: Mapping[str, Bars]) -> dict[str, Any]:
        """Return where the averages cross, and which way."""
        own = bars[TIMEFRAME]
        above = ta.ema(own.close, FAST) > ta.ema(own.close, SLOW)
        crossed = np.r_[False, above[1:] != above[:-1]]
        crossed[: SLOW + 1] = False
        return {"open_time": own.open_time, "close": own.close, "crossed": crossed.tolist(), "above": above}

    def step(self, i: int, columns: dict[str, Any], state: str) -> Signal | None:
        """Decide on one bar."""
        if not columns["crossed"][i]:
            return None
        side = Side.LONG if columns["above"][i] else Side.SHORT
        close, start = float(columns["close"][i]), int(columns["open_time"][i])
        return Signal(
            self.name, state, TIMEFRAME, start, start + STEP, side, close, close * (1 - STOP * side.sign),
            close * (1 + TARGET * side.sign),
        )  # fmt: skip


def measure() -> tuple[float, str]:
    """Return our bars per second as a share of the bare loop's."""
    bars = walk(BARS, 1_600_000_000_000 // STEP * STEP, STEP, price=30_000.0)
    ours, trades = _best(lambda: _traded(bars))
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


def _traded(bars: Bars) -> int:
    series = Series(SYMBOL, TIMEFRAME)
    tape, rules = Tape({series: bars}, {series: WINDOW}), {SYMBOL: guess_instrument(SYMBOL, bars)}
    since, until = int(bars.open_time[0]), int(bars.open_time[-1]) + STEP
    known = {(SYMBOL, one.bar_start): one for one in find(Cross(), SYMBOL, tape, since, until, WINDOW)}
    limits = RiskLimits(Decimal(1), 3, Decimal(4), Decimal(1), Decimal(99), Decimal(5), Decimal("0.0005"), Decimal(0))
    plans = {Cross.name: Plan(Replayed(Cross(), known), ExitPlan())}
    terms = TraderTerms(Identity("bench", "backtest", "bench"), limits, plans, paper=True, unfilled_timeout_ms=10**9)
    runner = Runner(
        Trader(terms, dict(rules), tape.bars), Venue(Decimal(10_000), rules, Costs()), tape,
        {SYMBOL: {one.time for one in known.values()}}, TIMEFRAME, TIMEFRAME, {},
    )  # fmt: skip
    return len(runner.run(since, until).trades)


def _looped(bars: Bars) -> int:
    columns = Cross().columns({TIMEFRAME: bars})
    high, low, close = (column.tolist() for column in (bars.high, bars.low, bars.close))
    crossed, above, trades, side, stop, target = columns["crossed"], columns["above"].tolist(), 0, 0, 0.0, 0.0
    for i in range(len(close)):
        if side and ((low[i] <= stop or high[i] >= target) if side > 0 else (high[i] >= stop or low[i] <= target)):
            trades, side = trades + 1, 0
        if not side and crossed[i]:
            side = 1 if above[i] else -1
            stop, target = close[i] * (1 - STOP * side), close[i] * (1 + TARGET * side)
    return trades

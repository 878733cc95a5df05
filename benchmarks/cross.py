"""A crossing of averages with stop and target, traded by the live trader: ``python -m benchmarks.cross FILE ...``."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.runner import Runner, collecting_seldom
from backtest.signals import Replayed, find
from backtest.tape import Tape
from backtest.venue import Venue
from domain.assumed_rules import fitting
from domain.candle import Bars, Series, timeframe_ms
from domain.exits import ExitPlan
from domain.fills import Costs
from domain.ids import Identity
from domain.order import Side
from domain.signal import Signal
from engine.risk import RiskLimits
from engine.trader import Plan, Trader, TraderTerms
from strategies import indicators as ta

if TYPE_CHECKING:
    from collections.abc import Mapping

WINDOW = 1_000
SYMBOL = "BTC/USDT:USDT"


@dataclass(frozen=True)
class Cross:
    """Buys when the fast average rises above the slow one; ``stop`` and ``target`` are fractions of the price."""

    timeframe: str
    fast: int
    slow: int
    stop: float
    target: float
    name: str = "cross"

    @property
    def timeframes(self) -> tuple[str]:
        """The one that it decides on."""
        return (self.timeframe,)

    @property
    def warmup_bars(self) -> dict[str, int]:
        """As many as the slow average needs."""
        return {self.timeframe: self.slow}

    def start(self, symbol: str) -> str:
        """Return the symbol: that is all there is to know."""
        return symbol

    def columns(self, bars: Mapping[str, Bars]) -> dict[str, Any]:
        """Return where the fast average rises above the slow one."""
        own = bars[self.timeframe]
        above = ta.ema(own.close, self.fast) > ta.ema(own.close, self.slow)
        rises = np.r_[False, above[1:] & ~above[:-1]]
        rises[: self.slow + 1] = False
        return {"open_time": own.open_time, "close": own.close, "rises": rises.tolist()}

    def step(self, i: int, columns: dict[str, Any], state: str) -> Signal | None:
        """Decide on one bar."""
        if not columns["rises"][i]:
            return None
        close, start = float(columns["close"][i]), int(columns["open_time"][i])
        return Signal(
            self.name, state, self.timeframe, start, start + timeframe_ms(self.timeframe), Side.LONG, close,
            close * (1 - self.stop), close * (1 + self.target),
        )  # fmt: skip


def traded(cross: Cross, bars: Bars, fee: float = 0.0005) -> int:
    """Return how many trades the live trader makes of the bars."""
    series = Series(SYMBOL, cross.timeframe)
    tape, rules = Tape({series: bars}, {series: WINDOW}), {SYMBOL: fitting(SYMBOL, bars)}
    since, until = int(bars.open_time[0]), int(bars.open_time[-1]) + timeframe_ms(cross.timeframe)
    known = {(SYMBOL, one.bar_start): one for one in find(cross, SYMBOL, tape, since, until, WINDOW)}
    costs = Decimal(str(fee))
    limits = RiskLimits(Decimal(1), 3, Decimal(4), Decimal(1), Decimal(99), Decimal(5), costs, Decimal(0))
    plans = {cross.name: Plan(Replayed(cross, known), ExitPlan())}
    terms = TraderTerms(Identity("bench", "backtest", "bench"), limits, plans, paper=True, unfilled_timeout_ms=10**9)
    runner = Runner(
        Trader(terms, dict(rules), tape.bars), Venue(Decimal(1_000_000), rules, Costs(costs, costs)), tape,
        {SYMBOL: {one.time for one in known.values()}}, cross.timeframe, cross.timeframe, {},
    )  # fmt: skip
    return len(runner.run(since, until).trades)


def main(arguments: list[str]) -> None:
    """Trade on the bars of a file, and tell how long that took."""
    file, timeframe, fast, slow, stop, target, fee = (json.loads(text) for text in arguments)
    held = np.load(file)
    columns = [held[name] for name in ("open_time", "open", "high", "low", "close", "volume")]
    bars = Bars(*columns, columns[-1] * columns[-2])
    began = time.perf_counter()
    with collecting_seldom():
        trades = traded(Cross(timeframe, fast, slow, stop, target), bars, fee)
    print(json.dumps({"seconds": time.perf_counter() - began, "trades": trades}))


if __name__ == "__main__":
    main(sys.argv[1:])

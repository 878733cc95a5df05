"""The cross by backtesting.py, as its manual writes one; runs in an environment of its own."""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import pandas as pd
from backtesting import Backtest, Strategy

FILE, TIMEFRAME, FAST, SLOW, STOP, TARGET, FEE = (json.loads(text) for text in sys.argv[1:])


def ema(values, span):
    """Return the exponential moving average."""
    return pd.Series(values).ewm(span=span, adjust=False).mean().to_numpy()


class Cross(Strategy):
    """Buys when the fast average rises above the slow one."""

    def init(self):
        """Compute the averages."""
        self.fast = self.I(ema, self.data.Close, FAST)
        self.slow = self.I(ema, self.data.Close, SLOW)

    def next(self):
        """Decide on one bar."""
        if self.position or self.orders:
            return
        if self.fast[-1] > self.slow[-1] and self.fast[-2] <= self.slow[-2]:
            price = self.data.Close[-1]
            self.buy(size=0.5, sl=price * (1 - STOP), tp=price * (1 + TARGET))


held = np.load(FILE)
columns = {name.capitalize(): held[name] for name in ("open", "high", "low", "close", "volume")}
bars = pd.DataFrame(columns, index=pd.to_datetime(held["open_time"], unit="ms"))
test = Backtest(bars, Cross, cash=1_000_000, commission=FEE)
began = time.perf_counter()
stats = test.run()
print(json.dumps({"seconds": time.perf_counter() - began, "trades": int(stats["# Trades"])}))

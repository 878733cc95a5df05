"""The cross by nautilus_trader, with a bracket order; runs in an environment of its own."""

from __future__ import annotations

import json
import sys
import time
from decimal import Decimal

import numpy as np
import pandas as pd
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig
from nautilus_trader.indicators import ExponentialMovingAverage
from nautilus_trader.model.currencies import USDT
from nautilus_trader.model.data import BarType
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide
from nautilus_trader.model.identifiers import Venue
from nautilus_trader.model.objects import Money
from nautilus_trader.persistence.wranglers import BarDataWrangler
from nautilus_trader.test_kit.providers import TestInstrumentProvider
from nautilus_trader.trading.strategy import Strategy

FILE, TIMEFRAME, FAST, SLOW, STOP, TARGET, FEE = (json.loads(text) for text in sys.argv[1:])
UNITS = {"1h": "1-HOUR", "1m": "1-MINUTE"}
BTC = TestInstrumentProvider.btcusdt_perp_binance()
BARS = BarType.from_str(f"{BTC.id}-{UNITS[TIMEFRAME]}-LAST-EXTERNAL")


class Cross(Strategy):
    """Buys when the fast average rises above the slow one."""

    def on_start(self):
        """Compute the averages as bars come."""
        self.fast, self.slow = ExponentialMovingAverage(FAST), ExponentialMovingAverage(SLOW)
        self.register_indicator_for_bars(BARS, self.fast)
        self.register_indicator_for_bars(BARS, self.slow)
        self.above = True
        self.subscribe_bars(BARS)

    def on_bar(self, bar):
        """Decide on one bar."""
        was, self.above = self.above, self.fast.value > self.slow.value
        if was or not self.above or not self.indicators_initialized() or not self.portfolio.is_flat(BTC.id):
            return
        if self.cache.orders_open_count(instrument_id=BTC.id):
            return
        price = float(bar.close)
        self.submit_order_list(
            self.order_factory.bracket(
                BTC.id,
                OrderSide.BUY,
                BTC.make_qty(1),
                sl_trigger_price=BTC.make_price(price * (1 - STOP)),
                tp_price=BTC.make_price(price * (1 + TARGET)),
            )
        )


held = np.load(FILE)
columns = {name: held[name] for name in ("open", "high", "low", "close", "volume")}
frame = pd.DataFrame(columns, index=pd.to_datetime(held["open_time"], unit="ms", utc=True))
engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
engine.add_venue(
    Venue("BINANCE"), OmsType.NETTING, AccountType.MARGIN, [Money(1_000_000, USDT)], base_currency=USDT,
    default_leverage=Decimal(10),
)  # fmt: skip
engine.add_instrument(BTC)
engine.add_data(BarDataWrangler(BARS, BTC).process(frame))
engine.add_strategy(Cross())
began = time.perf_counter()
engine.run()
took = time.perf_counter() - began
trades = len(engine.cache.positions_closed()) + engine.cache.position_snapshots().__len__()
print(json.dumps({"seconds": took, "trades": trades}))

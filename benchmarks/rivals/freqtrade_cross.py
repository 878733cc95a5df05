"""The cross by freqtrade's own command; runs in an environment of its own, asking a loopback exchange for its markets."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from freqtrade.main import main
from freqtrade.optimize.backtesting import Backtesting

FILE, TIMEFRAME, FAST, SLOW, STOP, TARGET, FEE = (json.loads(text) for text in sys.argv[1:8])
ADDRESS = sys.argv[8]

STRATEGY = f"""
import talib
from freqtrade.strategy import IStrategy

class Cross(IStrategy):
    timeframe = "{TIMEFRAME}"
    stoploss, minimal_roi = -{STOP}, {{"0": {TARGET}}}
    startup_candle_count = {SLOW}
    process_only_new_candles = True
    use_exit_signal = False

    def populate_indicators(self, frame, metadata):
        frame["fast"], frame["slow"] = talib.EMA(frame["close"], {FAST}), talib.EMA(frame["close"], {SLOW})
        return frame

    def populate_entry_trend(self, frame, metadata):
        above = frame["fast"] > frame["slow"]
        frame.loc[above & ~above.shift(1, fill_value=True), "enter_long"] = 1
        return frame

    def populate_exit_trend(self, frame, metadata):
        return frame
"""
TIMES, TRADES = [], []


def timed(backtesting, *arguments):
    """Time what freqtrade does between having its data and telling of its results."""
    began = time.perf_counter()
    span = run(backtesting, *arguments)
    TIMES.append(time.perf_counter() - began)
    TRADES.append(len(backtesting.all_bt_content[backtesting.strategy.get_strategy_name()]["results"]))
    return span


run, Backtesting.backtest_one_strategy = Backtesting.backtest_one_strategy, timed
with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    (folder / "strategies").mkdir()
    (folder / "strategies" / "cross.py").write_text(STRATEGY)
    (folder / "data" / "binance").mkdir(parents=True)
    held = np.load(FILE)
    frame = pd.DataFrame({"date": pd.to_datetime(held["open_time"], unit="ms", utc=True)})
    for column in ("open", "high", "low", "close", "volume"):
        frame[column] = held[column]
    frame.to_feather(folder / "data" / "binance" / f"BTC_USDT-{TIMEFRAME}.feather", compression="lz4")
    urls = {"api": {"public": f"{ADDRESS}/api/v3", "private": f"{ADDRESS}/api/v3"}}
    settings = {
        "dry_run": True, "stake_currency": "USDT", "stake_amount": "unlimited", "max_open_trades": 1, "fee": FEE,
        "dry_run_wallet": 1_000_000, "trading_mode": "spot", "pairlists": [{"method": "StaticPairList"}],
        "exchange": {
            "name": "binance", "pair_whitelist": ["BTC/USDT"],
            **{f"{kind}_config": {"urls": urls, "options": {"fetchMarkets": {"types": ["spot"]}}, "has": {"fetchCurrencies": False}}
               for kind in ("ccxt", "ccxt_async")},
        },
        "entry_pricing": {"price_side": "other", "use_order_book": False},
        "exit_pricing": {"price_side": "other", "use_order_book": False},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(settings))
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(sys.stderr):
        main(["backtesting", "--userdir", name, "--datadir", str(folder / "data" / "binance"), "-c", str(folder / "config.json"),
              "-s", "Cross", "--cache", "none", "--export", "none"])  # fmt: skip
print(json.dumps({"seconds": TIMES[0], "trades": TRADES[0]}))

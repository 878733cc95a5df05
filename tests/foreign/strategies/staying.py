"""Gains are not taken while the entry is still signalled."""

import talib.abstract as ta
from freqtrade.strategy import IStrategy


class Staying(IStrategy):
    timeframe, stoploss, startup_candle_count = "1h", -0.05, 100
    minimal_roi = {"0": 0.02, "720": 0.01}
    ignore_roi_if_entry_signal = True

    def populate_indicators(self, dataframe, metadata):
        dataframe["mean"] = ta.SMA(dataframe, timeperiod=24)
        dataframe["rsi"] = ta.RSI(dataframe, timeperiod=14)
        return dataframe

    def populate_entry_trend(self, dataframe, metadata):
        dataframe.loc[dataframe["close"] > dataframe["mean"], "enter_long"] = 1
        return dataframe

    def populate_exit_trend(self, dataframe, metadata):
        dataframe.loc[dataframe["rsi"] < 35, "exit_long"] = 1
        return dataframe

"""Always in the market: what ends a position on one side begins one on the other."""

import talib.abstract as ta
from freqtrade.strategy import IStrategy


class Reversing(IStrategy):
    timeframe, stoploss, minimal_roi, can_short = "1h", -0.1, {"0": 100}, True
    startup_candle_count = 100

    def populate_indicators(self, dataframe, metadata):
        dataframe["mean"] = ta.SMA(dataframe, timeperiod=72)
        return dataframe

    def populate_entry_trend(self, dataframe, metadata):
        dataframe.loc[dataframe["close"] > dataframe["mean"], "enter_long"] = 1
        dataframe.loc[dataframe["close"] < dataframe["mean"], "enter_short"] = 1
        return dataframe

    def populate_exit_trend(self, dataframe, metadata):
        dataframe.loc[dataframe["close"] < dataframe["mean"], "exit_long"] = 1
        dataframe.loc[dataframe["close"] > dataframe["mean"], "exit_short"] = 1
        return dataframe

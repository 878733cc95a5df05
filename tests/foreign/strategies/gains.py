"""A table of gains that asks for less as time passes."""

import talib.abstract as ta
from freqtrade.strategy import IStrategy


class Gains(IStrategy):
    timeframe, stoploss, startup_candle_count = "1h", -0.05, 100
    minimal_roi = {"0": 0.04, "360": 0.02, "1440": 0.01, "4320": 0}

    def populate_indicators(self, dataframe, metadata):
        dataframe["rsi"] = ta.RSI(dataframe, timeperiod=7)
        return dataframe

    def populate_entry_trend(self, dataframe, metadata):
        dataframe.loc[dataframe["rsi"] < 25, "enter_long"] = 1
        return dataframe

    def populate_exit_trend(self, dataframe, metadata):
        return dataframe

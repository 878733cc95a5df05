"""The trend of days decides on which side bars of an hour may enter; the decorator lays them beside."""

import talib.abstract as ta
from freqtrade.strategy import IStrategy, informative


class Longer(IStrategy):
    timeframe, stoploss, minimal_roi, can_short = "1h", -0.03, {"0": 0.05}, True
    startup_candle_count = 30

    @informative("1d")
    def populate_indicators_1d(self, dataframe, metadata):
        dataframe["mean"] = ta.SMA(dataframe, timeperiod=10)
        return dataframe

    @informative("1d", fmt="{BASE}_{column}_{timeframe}")
    def populate_more(self, dataframe, metadata):
        dataframe["top"] = dataframe["high"].rolling(5).max()
        return dataframe

    def populate_indicators(self, dataframe, metadata):
        dataframe["rsi"] = ta.RSI(dataframe, timeperiod=10)
        dataframe["below_top"] = dataframe["close"] < dataframe["BTC_top_1d"]
        return dataframe

    def populate_entry_trend(self, dataframe, metadata):
        above = dataframe["close"] > dataframe["mean_1d"]
        dataframe.loc[above & dataframe["below_top"] & (dataframe["rsi"] < 40), "enter_long"] = 1
        dataframe.loc[~above & (dataframe["rsi"] > 60), "enter_short"] = 1
        return dataframe

    def populate_exit_trend(self, dataframe, metadata):
        dataframe.loc[dataframe["rsi"] > 75, "exit_long"] = 1
        dataframe.loc[dataframe["rsi"] < 25, "exit_short"] = 1
        return dataframe

"""Signals to leave count only beyond a gain."""

import talib.abstract as ta
from freqtrade.strategy import IStrategy


class InProfit(IStrategy):
    timeframe, stoploss, minimal_roi, can_short = "1h", -0.04, {}, True
    exit_profit_only, exit_profit_offset, startup_candle_count = True, 0.005, 100

    def populate_indicators(self, dataframe, metadata):
        macd = ta.MACD(dataframe)
        dataframe["rise"] = macd["macdhist"]
        return dataframe

    def populate_entry_trend(self, dataframe, metadata):
        before = dataframe["rise"].shift(1)
        dataframe.loc[(dataframe["rise"] > 0) & (before <= 0) & (dataframe["volume"] > 0), "enter_long"] = 1
        dataframe.loc[(dataframe["rise"] < 0) & (before >= 0) & (dataframe["volume"] > 0), "enter_short"] = 1
        return dataframe

    def populate_exit_trend(self, dataframe, metadata):
        before = dataframe["rise"].shift(1)
        dataframe.loc[dataframe["rise"] < before, "exit_long"] = 1
        dataframe.loc[dataframe["rise"] > before, "exit_short"] = 1
        return dataframe

"""Long only, by two averages, with tags: the plainest kind."""

import talib.abstract as ta
from freqtrade.strategy import IStrategy
from technical import qtpylib


class Averages(IStrategy):
    INTERFACE_VERSION = 3
    timeframe, stoploss, minimal_roi, startup_candle_count = "1h", -0.04, {"0": 100}, 200

    def populate_indicators(self, dataframe, metadata):
        dataframe["fast"] = ta.SMA(dataframe, timeperiod=10)
        dataframe["slow"] = ta.SMA(dataframe, timeperiod=50)
        return dataframe

    def populate_entry_trend(self, dataframe, metadata):
        dataframe.loc[qtpylib.crossed_above(dataframe["fast"], dataframe["slow"]), ["enter_long", "enter_tag"]] = (
            1,
            "up",
        )
        return dataframe

    def populate_exit_trend(self, dataframe, metadata):
        dataframe.loc[qtpylib.crossed_below(dataframe["fast"], dataframe["slow"]), ["exit_long", "exit_tag"]] = (
            1,
            "down",
        )
        return dataframe

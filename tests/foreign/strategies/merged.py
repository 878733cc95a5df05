"""Bars of an hour laid beside those of a quarter by hand, asked of the data provider."""

import talib.abstract as ta
from freqtrade.strategy import IStrategy, merge_informative_pair
from technical import qtpylib


class Merged(IStrategy):
    timeframe, stoploss, minimal_roi = "15m", -0.02, {"0": 0.02}
    startup_candle_count = 120

    def informative_pairs(self):
        return [(pair, "1h") for pair in self.dp.current_whitelist()]

    def populate_indicators(self, dataframe, metadata):
        hours = self.dp.get_pair_dataframe(pair=metadata["pair"], timeframe="1h")
        hours["trend"] = ta.SMA(hours, timeperiod=24)
        dataframe = merge_informative_pair(dataframe, hours, self.timeframe, "1h", ffill=True)
        dataframe["cci"] = ta.CCI(dataframe, timeperiod=20)
        return dataframe

    def populate_entry_trend(self, dataframe, metadata):
        turned = qtpylib.crossed_above(dataframe["cci"], -100)
        dataframe.loc[turned & (dataframe["close"] > dataframe["trend_1h"]), "enter_long"] = 1
        return dataframe

    def populate_exit_trend(self, dataframe, metadata):
        dataframe.loc[dataframe["close_1h"] < dataframe["trend_1h"], "exit_long"] = 1
        return dataframe

"""Long and short, against extremes of the RSI, with a stop, one gain that is enough, and signals to leave."""

import freqtrade.vendor.qtpylib.indicators as qtpylib
import talib.abstract as ta
from freqtrade.strategy import IStrategy


class BothSides(IStrategy):
    timeframe, stoploss, minimal_roi, can_short = "1h", -0.02, {"0": 0.03}, True
    startup_candle_count = 200

    def populate_indicators(self, dataframe, metadata):
        dataframe["rsi"] = ta.RSI(dataframe, timeperiod=14)
        return dataframe

    def populate_entry_trend(self, dataframe, metadata):
        dataframe.loc[qtpylib.crossed_above(dataframe["rsi"], 30), "enter_long"] = 1
        dataframe.loc[qtpylib.crossed_below(dataframe["rsi"], 70), "enter_short"] = 1
        return dataframe

    def populate_exit_trend(self, dataframe, metadata):
        dataframe.loc[qtpylib.crossed_above(dataframe["rsi"], 60), "exit_long"] = 1
        dataframe.loc[qtpylib.crossed_below(dataframe["rsi"], 40), "exit_short"] = 1
        return dataframe

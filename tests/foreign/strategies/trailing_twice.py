"""The stop trails at its own distance, and closer once a gain has been reached."""

from freqtrade.strategy import IStrategy


class TrailingTwice(IStrategy):
    timeframe, stoploss, minimal_roi, trailing_stop = "1h", -0.03, {"0": 100}, True
    trailing_stop_positive, trailing_stop_positive_offset = 0.015, 0.025
    can_short, startup_candle_count = True, 60

    def populate_indicators(self, dataframe, metadata):
        dataframe["highest"] = dataframe["high"].rolling(48).max().shift(1)
        dataframe["lowest"] = dataframe["low"].rolling(48).min().shift(1)
        return dataframe

    def populate_entry_trend(self, dataframe, metadata):
        dataframe.loc[dataframe["close"] > dataframe["highest"], "enter_long"] = 1
        dataframe.loc[dataframe["close"] < dataframe["lowest"], "enter_short"] = 1
        return dataframe

    def populate_exit_trend(self, dataframe, metadata):
        return dataframe

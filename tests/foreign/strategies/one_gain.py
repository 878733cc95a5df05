"""A stop and one gain that is enough, and no signal to leave: use_exit_signal is off, though there are some."""

from freqtrade.strategy import IStrategy
from technical.qtpylib import bollinger_bands, typical_price


class OneGain(IStrategy):
    timeframe, stoploss, minimal_roi, can_short = "15m", -0.01, {"0": 0.012}, True
    use_exit_signal, startup_candle_count = False, 100

    def populate_indicators(self, dataframe, metadata):
        bands = bollinger_bands(typical_price(dataframe), window=40, stds=2)
        dataframe["lower"], dataframe["upper"] = bands["lower"], bands["upper"]
        return dataframe

    def populate_entry_trend(self, dataframe, metadata):
        dataframe.loc[dataframe["close"] < dataframe["lower"], "enter_long"] = 1
        dataframe.loc[dataframe["close"] > dataframe["upper"], "enter_short"] = 1
        return dataframe

    def populate_exit_trend(self, dataframe, metadata):
        dataframe["exit_long"] = 1
        return dataframe

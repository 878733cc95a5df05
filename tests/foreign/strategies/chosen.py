"""Open parameters, of which a file beside it chooses some, a table in the class others, and their defaults the rest."""

import talib.abstract as ta
from freqtrade.strategy import BooleanParameter, CategoricalParameter, DecimalParameter, IntParameter, IStrategy


class Chosen(IStrategy):
    timeframe, stoploss, minimal_roi, startup_candle_count = "1h", -0.2, {"0": 0.5}, 100
    buy_params = {"buy_length": 9, "buy_level": 20}
    buy_length = IntParameter(5, 30, default=14, space="buy")
    buy_level = IntParameter(10, 50, default=45, space="buy")
    buy_awake = BooleanParameter(default=True, space="buy")
    sell_factor = DecimalParameter(0.9, 1.1, default=1.0, decimals=2, space="sell")
    sell_column = CategoricalParameter(["rsi", "slow"], default="slow", space="sell")

    def populate_indicators(self, dataframe, metadata):
        dataframe["rsi"] = ta.RSI(dataframe, timeperiod=self.buy_length.value)
        dataframe["slow"] = ta.SMA(dataframe, timeperiod=3, price="rsi")
        return dataframe

    def populate_entry_trend(self, dataframe, metadata):
        if self.buy_awake.value:
            dataframe.loc[dataframe["rsi"] < self.buy_level.value, "enter_long"] = 1
        return dataframe

    def populate_exit_trend(self, dataframe, metadata):
        high = dataframe[self.sell_column.value] > 70 * self.sell_factor.value
        dataframe.loc[high, "exit_long"] = 1
        return dataframe

"""Bitcoin decides: its days by the decorator, its hours asked of the data provider."""

import talib.abstract as ta
from freqtrade.strategy import IStrategy, informative, merge_informative_pair


class Neighbour(IStrategy):
    timeframe, stoploss, minimal_roi = "1h", -0.04, {"0": 0.05}
    startup_candle_count = 50

    @informative("1d", "BTC/{stake}")
    def populate_days(self, dataframe, metadata):
        dataframe["mean"] = ta.SMA(dataframe, timeperiod=5)
        return dataframe

    def informative_pairs(self):
        return [("BTC/USDT", "1h")]

    def populate_indicators(self, dataframe, metadata):
        hours = self.dp.get_pair_dataframe("BTC/USDT", "1h")
        hours["rise"] = hours["close"].pct_change(6)
        dataframe = merge_informative_pair(dataframe, hours, self.timeframe, "1h")
        dataframe["rsi"] = ta.RSI(dataframe, timeperiod=14)
        return dataframe

    def populate_entry_trend(self, dataframe, metadata):
        trend = dataframe["btc_usdt_close_1d"] > dataframe["btc_usdt_mean_1d"]
        dataframe.loc[trend & (dataframe["rise_1h"] > 0.004) & (dataframe["rsi"] < 62), "enter_long"] = 1
        return dataframe

    def populate_exit_trend(self, dataframe, metadata):
        dataframe.loc[dataframe["rise_1h"] < -0.01, "exit_long"] = 1
        return dataframe

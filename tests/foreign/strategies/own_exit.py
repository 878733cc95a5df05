"""Leaves for reasons of its own, which need to know the position, beside signals that count in profit alone."""

from datetime import timedelta

import talib.abstract as ta
from freqtrade.strategy import IStrategy


class OwnExit(IStrategy):
    timeframe, stoploss, minimal_roi, can_short = "1h", -0.04, {"0": 0.05}, True
    exit_profit_only, exit_profit_offset, startup_candle_count = True, 0.004, 100

    def populate_indicators(self, dataframe, metadata):
        dataframe["rsi"] = ta.RSI(dataframe, timeperiod=14)
        return dataframe

    def populate_entry_trend(self, dataframe, metadata):
        dataframe.loc[dataframe["rsi"] < 32, ["enter_long", "enter_tag"]] = (1, "low")
        dataframe.loc[dataframe["rsi"] > 68, ["enter_short", "enter_tag"]] = (1, "high")
        return dataframe

    def populate_exit_trend(self, dataframe, metadata):
        dataframe.loc[dataframe["rsi"] > 58, "exit_long"] = 1
        dataframe.loc[dataframe["rsi"] < 42, "exit_short"] = 1
        return dataframe

    def custom_exit(self, pair, trade, current_time, current_rate, current_profit, **kwargs):
        rows, _ = self.dp.get_analyzed_dataframe(pair, self.timeframe)
        hours = (current_time - trade.open_date_utc) / timedelta(hours=1)
        if trade.enter_tag == "low" and hours >= 6 and current_profit < -0.01:
            return "falls_on"
        if trade.enter_tag == "high" and rows["rsi"].iloc[-1] < 45 and trade.calc_profit_ratio(current_rate) > 0.002:
            return "calm_again"
        return hours >= 30

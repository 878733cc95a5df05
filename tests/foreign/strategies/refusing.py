"""Refuses to leave for some reasons, at some hours."""

import talib.abstract as ta
from freqtrade.strategy import IStrategy


class Refusing(IStrategy):
    timeframe, stoploss, minimal_roi, can_short = "1h", -0.04, {}, True
    startup_candle_count = 100

    def populate_indicators(self, dataframe, metadata):
        dataframe["rsi"] = ta.RSI(dataframe, timeperiod=10)
        return dataframe

    def populate_entry_trend(self, dataframe, metadata):
        dataframe.loc[dataframe["rsi"] < 28, "enter_long"] = 1
        dataframe.loc[dataframe["rsi"] > 72, "enter_short"] = 1
        return dataframe

    def populate_exit_trend(self, dataframe, metadata):
        dataframe.loc[dataframe["rsi"] > 50, "exit_long"] = 1
        dataframe.loc[dataframe["rsi"] < 50, "exit_short"] = 1
        return dataframe

    def custom_exit(self, pair, trade, current_time, current_rate, current_profit, **kwargs):
        return "enough" if current_profit > 0.015 else None

    def confirm_trade_exit(
        self, pair, trade, order_type, amount, rate, time_in_force, exit_reason, current_time, **kwargs
    ):
        if exit_reason == "exit_signal":
            return trade.calc_profit_ratio(rate) > -0.01
        return exit_reason != "enough" or current_time.hour % 3 == 0

"""The stop goes to a small gain once a larger one has been seen."""

from freqtrade.strategy import IStrategy, stoploss_from_open


class Secured(IStrategy):
    timeframe, stoploss, minimal_roi, can_short = "1h", -0.03, {"0": 0.06}, True
    use_custom_stoploss, startup_candle_count = True, 60

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

    def custom_stoploss(self, pair, trade, current_time, current_rate, current_profit, **kwargs):
        if current_profit < 0.02:
            return None
        return stoploss_from_open(0.01, current_profit, is_short=trade.is_short, leverage=trade.leverage)

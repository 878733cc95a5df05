"""Takes half off at a gain, and a quarter of what was opened at a larger one."""

from freqtrade.strategy import IStrategy


class Halves(IStrategy):
    timeframe, stoploss, minimal_roi, can_short = "1h", -0.03, {}, True
    position_adjustment_enable, startup_candle_count = True, 60

    def populate_indicators(self, dataframe, metadata):
        dataframe["highest"] = dataframe["high"].rolling(48).max().shift(1)
        dataframe["lowest"] = dataframe["low"].rolling(48).min().shift(1)
        dataframe["mean"] = dataframe["close"].rolling(24).mean()
        return dataframe

    def populate_entry_trend(self, dataframe, metadata):
        dataframe.loc[dataframe["close"] > dataframe["highest"], "enter_long"] = 1
        dataframe.loc[dataframe["close"] < dataframe["lowest"], "enter_short"] = 1
        return dataframe

    def populate_exit_trend(self, dataframe, metadata):
        dataframe.loc[dataframe["close"] < dataframe["mean"] * 0.985, "exit_long"] = 1
        dataframe.loc[dataframe["close"] > dataframe["mean"] * 1.015, "exit_short"] = 1
        return dataframe

    def adjust_trade_position(self, trade, current_time, current_rate, current_profit, min_stake, max_stake, **kwargs):
        if current_profit > 0.015 and trade.nr_of_successful_exits == 0:
            return -(trade.stake_amount / 2), "first_half"
        if current_profit > 0.03 and trade.nr_of_successful_exits == 1:
            return -(trade.stake_amount / 2)
        return None

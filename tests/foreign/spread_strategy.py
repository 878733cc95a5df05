"""A freqtrade strategy that trades all the time: in with each candle's colour, out after two candles."""

from freqtrade.strategy import IStrategy

HELD_S = 120


class SpreadStrategy(IStrategy):
    timeframe = "1m"
    can_short = True
    minimal_roi = {"0": 0.01}
    stoploss = -0.05
    startup_candle_count = 5
    process_only_new_candles = True

    def populate_indicators(self, dataframe, metadata):
        return dataframe

    def populate_entry_trend(self, dataframe, metadata):
        dataframe.loc[dataframe.close > dataframe.open, "enter_long"] = 1
        dataframe.loc[dataframe.close < dataframe.open, "enter_short"] = 1
        return dataframe

    def populate_exit_trend(self, dataframe, metadata):
        return dataframe

    def custom_exit(self, pair, trade, current_time, current_rate, current_profit, **kwargs):
        return "held long enough" if (current_time - trade.open_date_utc).total_seconds() > HELD_S else None

    def leverage(self, pair, current_time, current_rate, proposed_leverage, max_leverage, entry_tag, side, **kwargs):
        return 3.0

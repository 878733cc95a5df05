"""The stop stands some ATR from the newest close, and closer as time passes."""

from datetime import timedelta

import talib.abstract as ta
from freqtrade.persistence import Trade
from freqtrade.strategy import IStrategy, stoploss_from_absolute


class OwnStop(IStrategy):
    timeframe, stoploss, minimal_roi, can_short = "1h", -0.06, {}, True
    use_custom_stoploss, startup_candle_count = True, 100

    def populate_indicators(self, dataframe, metadata):
        dataframe["atr"] = ta.ATR(dataframe, timeperiod=14)
        dataframe["highest"] = dataframe["high"].rolling(48).max().shift(1)
        dataframe["lowest"] = dataframe["low"].rolling(48).min().shift(1)
        return dataframe

    def populate_entry_trend(self, dataframe, metadata):
        dataframe.loc[dataframe["close"] > dataframe["highest"], "enter_long"] = 1
        dataframe.loc[dataframe["close"] < dataframe["lowest"], "enter_short"] = 1
        return dataframe

    def populate_exit_trend(self, dataframe, metadata):
        return dataframe

    def custom_stoploss(self, pair, trade: Trade, current_time, current_rate, current_profit, after_fill, **kwargs):
        rows, _ = self.dp.get_analyzed_dataframe(pair, self.timeframe)
        newest, sign = rows.iloc[-1], -1 if trade.is_short else 1
        late = current_time - trade.open_date_utc >= timedelta(hours=24)
        stop = newest["close"] - sign * (2 if late else 4) * newest["atr"]
        return stoploss_from_absolute(stop, current_rate, is_short=trade.is_short, leverage=trade.leverage)

"""Looks at what has been computed once more before it enters."""

import talib.abstract as ta
from freqtrade.persistence import Trade
from freqtrade.strategy import IStrategy


class Confirmed(IStrategy):
    timeframe, stoploss, minimal_roi, can_short = "1h", -0.02, {"0": 0.02}, True
    startup_candle_count = 100

    def populate_indicators(self, dataframe, metadata):
        dataframe["adx"] = ta.ADX(dataframe)
        dataframe["mean"] = dataframe["close"].ewm(span=20, adjust=False).mean()
        return dataframe

    def populate_entry_trend(self, dataframe, metadata):
        dataframe.loc[dataframe["close"] > dataframe["mean"], ["enter_long", "enter_tag"]] = (1, "above")
        dataframe.loc[dataframe["close"] < dataframe["mean"], ["enter_short", "enter_tag"]] = (1, "below")
        return dataframe

    def populate_exit_trend(self, dataframe, metadata):
        return dataframe

    def confirm_trade_entry(
        self, pair, order_type, amount, rate, time_in_force, current_time, entry_tag, side, **kwargs
    ):
        rows, _ = self.dp.get_analyzed_dataframe(pair, self.timeframe)
        newest = rows.iloc[-1]
        told = entry_tag == ("above" if side == "long" else "below")
        return bool(told and newest["adx"] > 40 and current_time.hour % 2 == 0)

    def gain_of(self, trade: Trade) -> float:
        return trade.close_profit

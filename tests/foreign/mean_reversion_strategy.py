"""A freqtrade strategy that trades our mean reversion's rule on spot, reckoned by itself.

It goes in where a bar touches the lower edge of a range and turns back, at one stop and one target per signal.
"""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal

import numpy as np
import pandas as pd
from freqtrade.strategy import IStrategy, stoploss_from_absolute

AROUND, COOLDOWN, ATR_LENGTH = 5, 5, 14
WIDTH, REWARD, LEAST_REWARD = (0.02, 0.3), 2.5, 1.2
TICKS = {"BTC/USDT": Decimal("0.01"), "DOGE/USDT": Decimal("0.00001"), "PEPE/USDT": Decimal("0.00000001")}
SAME = 1e-9
"""A close on the edge itself has not turned back from it, whatever the last digits of a mean of two floats say."""
JUST = 1e-8
"""freqtrade takes a profit that is above what is asked for; ours takes what touches the target."""


class MeanReversionStrategy(IStrategy):
    timeframe, startup_candle_count, can_short = "1h", 480, False
    stoploss, minimal_roi = -0.99, {"0": 100}
    use_custom_stoploss = use_custom_roi = True

    def populate_indicators(self, dataframe, metadata):
        width = 2 * AROUND + 1
        for name, column, extreme in (("upper", "high", "max"), ("lower", "low", "min")):
            outermost = getattr(dataframe[column].rolling(width), extreme)()
            middle = dataframe[column].shift(AROUND)
            turns = middle[middle == outermost]
            dataframe[name] = ((turns + turns.shift(1)) / 2).reindex(dataframe.index).ffill()
        before = dataframe["close"].shift(1)
        ranges = np.maximum(dataframe["high"], before) - np.minimum(dataframe["low"], before)
        dataframe["atr"] = ranges.ewm(alpha=1 / ATR_LENGTH, adjust=False).mean()
        return dataframe

    def populate_entry_trend(self, dataframe, metadata):
        held = pd.DataFrame({"stop": np.nan, "target": np.nan}, index=dataframe.index)
        resting, tick = 0, TICKS[metadata["pair"]]
        for row in dataframe.itertuples():
            if resting:
                resting -= 1
                continue
            if not WIDTH[0] <= row.upper / row.lower - 1 <= WIDTH[1]:
                continue
            long = levels(row.open, row.low, row.close, row.lower, row.upper, row.atr)
            short = levels(-row.open, -row.high, -row.close, -row.upper, -row.lower, row.atr)
            if long or short:
                resting = COOLDOWN
            if long:
                held.loc[row.Index] = [on_tick(level, tick) for level in long]
        dataframe.loc[held["stop"].notna(), "enter_long"] = 1
        dataframe["enter_tag"] = [f"{stop!r} {target!r}" for stop, target in held.to_numpy().tolist()]
        return dataframe

    def populate_exit_trend(self, dataframe, metadata):
        return dataframe

    def custom_stoploss(self, pair, trade, current_time, current_rate, current_profit, after_fill, **kwargs):
        if not after_fill:
            return None
        return stoploss_from_absolute(float(trade.enter_tag.split()[0]), current_rate, is_short=False)

    def custom_roi(self, pair, trade, current_time, trade_duration, entry_tag, side, **kwargs):
        gained = float(entry_tag.split()[1]) * (1 - trade.fee_close)
        return gained / (trade.open_rate * (1 + trade.fee_open)) - 1 - JUST


def levels(opened, low, close, edge, far, atr):
    """Return stop and target of a bar that turns back from an edge, None of any other; shorts are seen in a mirror."""
    if abs(low - edge) > atr / 2 or min(close - max(opened, edge), far - close) <= SAME * abs(close):
        return None
    risk = max(close - min(edge, low) + atr / 2, 0.005 * abs(close))
    reach = min(REWARD * risk, far - close)
    return (close - risk, close + reach) if reach >= LEAST_REWARD * risk else None


def on_tick(level, tick):
    """Return a level on the tick below it, as ours are sent."""
    return float((Decimal(f"{level:.13g}") / tick).to_integral_value(ROUND_FLOOR) * tick)

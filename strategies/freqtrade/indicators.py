"""Indicators on columns, by qtpylib's names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

Column = Any
"""A column, or a number that stands for one."""


def _beside(column: pd.Series, other: Column) -> pd.Series:
    return other if isinstance(other, pd.Series) else pd.Series(other, index=column.index)


def crossed_above(series1: pd.Series, series2: Column) -> pd.Series:
    """Return where a column is above another and was not the row before."""
    other = _beside(series1, series2)
    return (series1 > other) & (series1.shift(1) <= other.shift(1))


def crossed_below(series1: pd.Series, series2: Column) -> pd.Series:
    """Return where a column is below another and was not the row before."""
    other = _beside(series1, series2)
    return (series1 < other) & (series1.shift(1) >= other.shift(1))


def crossed(series1: pd.Series, series2: Column, direction: str | None = None) -> pd.Series:
    """Return where a column crosses another: ``above``, ``below``, or either way."""
    if direction == "above":
        return crossed_above(series1, series2)
    below = crossed_below(series1, series2)
    return below if direction == "below" else below | crossed_above(series1, series2)


def typical_price(bars: pd.DataFrame) -> pd.Series:
    """Return the mean of high, low and close."""
    return (bars["high"] + bars["low"] + bars["close"]) / 3.0


def mid_price(bars: pd.DataFrame) -> pd.Series:
    """Return the mean of high and low."""
    return (bars["high"] + bars["low"]) / 2.0


def rolling_mean(series: pd.Series, window: int = 200, min_periods: int | None = None) -> pd.Series:
    """Return the mean of the last rows."""
    return series.rolling(window, min_periods=window if min_periods is None else min_periods).mean()


def rolling_std(series: pd.Series, window: int = 200, min_periods: int | None = None) -> pd.Series:
    """Return the standard deviation of the last rows."""
    return series.rolling(window, min_periods=window if min_periods is None else min_periods).std()


def rolling_min(series: pd.Series, window: int = 14, min_periods: int | None = None) -> pd.Series:
    """Return the least of the last rows."""
    return series.rolling(window, min_periods=window if min_periods is None else min_periods).min()


def rolling_max(series: pd.Series, window: int = 14, min_periods: int | None = None) -> pd.Series:
    """Return the greatest of the last rows."""
    return series.rolling(window, min_periods=window if min_periods is None else min_periods).max()


def sma(series: pd.Series, window: int = 200, min_periods: int | None = None) -> pd.Series:
    """Return the simple moving average."""
    return rolling_mean(series, window, min_periods)


def rolling_weighted_mean(series: pd.Series, window: int = 200, min_periods: int | None = None) -> pd.Series:
    """Return the exponential average of a span, which is what qtpylib calls so."""
    return series.ewm(span=window, min_periods=window if min_periods is None else min_periods).mean()


def wma(series: pd.Series, window: int = 200, min_periods: int | None = None) -> pd.Series:
    """Return the same as ``rolling_weighted_mean``."""
    return rolling_weighted_mean(series, window, min_periods)


def bollinger_bands(series: pd.Series, window: int = 20, stds: float = 2) -> pd.DataFrame:
    """Return ``upper``, ``mid`` and ``lower``: a mean and so many standard deviations about it."""
    return _bands(rolling_mean(series, window, 1), rolling_std(series, window, 1), stds)


def weighted_bollinger_bands(series: pd.Series, window: int = 20, stds: float = 2) -> pd.DataFrame:
    """Return the same about an exponential average."""
    return _bands(rolling_weighted_mean(series, window), rolling_std(series, window), stds)


def _bands(mid: pd.Series, deviation: pd.Series, stds: float) -> pd.DataFrame:
    return pd.DataFrame({"upper": mid + deviation * stds, "mid": mid, "lower": mid - deviation * stds})


def true_range(bars: pd.DataFrame) -> pd.Series:
    """Return how far a bar reached from its low, or from the close before it."""
    before = bars["close"].shift(1)
    spans = {"a": bars["high"] - bars["low"], "b": bars["high"] - before, "c": bars["low"] - before}
    return pd.DataFrame(spans).abs().max(axis=1)


def returns(series: pd.Series) -> pd.Series:
    """Return the change from row to row, as a fraction."""
    return (series / series.shift(1) - 1).replace([np.inf, -np.inf], np.nan)


def log_returns(series: pd.Series) -> pd.Series:
    """Return the change from row to row, as a logarithm."""
    return pd.Series(np.log(series / series.shift(1)), index=series.index).replace([np.inf, -np.inf], np.nan)


def heikinashi(bars: pd.DataFrame) -> pd.DataFrame:
    """Return averaged bars: each opens in the middle of the one before."""
    close = (bars["open"] + bars["high"] + bars["low"] + bars["close"]) / 4
    opened, shown = (bars["open"].iloc[0] + bars["close"].iloc[0]) / 2, []
    for value in close.tolist():
        shown.append(opened)
        opened = (opened + value) / 2
    first = pd.Series(shown, index=bars.index, dtype=float)
    edges = pd.DataFrame({"a": first, "b": close})
    return pd.DataFrame(
        {
            "open": first, "high": edges.assign(c=bars["high"]).max(axis=1),
            "low": edges.assign(c=bars["low"]).min(axis=1), "close": close,
        }
    )  # fmt: skip


def awesome_oscillator(df: pd.DataFrame, weighted: bool = False, fast: int = 5, slow: int = 34) -> pd.Series:
    """Return how far the short average of the middles lies above the long one."""
    middle = mid_price(df)
    if weighted:
        return rolling_weighted_mean(middle, fast, 1) - rolling_weighted_mean(middle, slow, 1)
    return rolling_mean(middle, fast) - rolling_mean(middle, slow)


def rolling_vwap(bars: pd.DataFrame, window: int = 200, min_periods: int | None = None) -> pd.Series:
    """Return the price weighted by volume over the last rows."""
    least = window if min_periods is None else min_periods
    paid = (typical_price(bars) * bars["volume"]).rolling(window, min_periods=least).sum()
    return paid / bars["volume"].rolling(window, min_periods=least).sum()


def zscore(bars: pd.DataFrame, window: int = 20, stds: float = 1, col: str = "close") -> pd.Series:
    """Return how many deviations a column lies from its mean."""
    column = bars[col]
    return (column - rolling_mean(column, window)) / (rolling_std(column, window) * stds)

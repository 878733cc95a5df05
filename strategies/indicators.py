"""Causal, vectorised indicators; row i of every result depends on rows up to i only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from domain.technical import talib

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from domain.candle import Bars

    Column = np.ndarray[tuple[int], np.dtype[np.float64]]

FORGOTTEN, BYTE = 1e-9, 256
NOISE = 1e-9
"""Prices and ratios that differ by less than this fraction are equal: arithmetic leaves other last digits in other
units, and no decision may hang on them."""


def ema(values: Column, span: int) -> Column:
    """Return the exponential moving average, weight 2 / (span + 1)."""
    return np.asarray(talib.EMA(values, span)) if len(values) >= span else np.full(len(values), np.nan)


def atr(bars: Bars, length: int) -> Column:
    """Return Wilder's average true range (J. W. Wilder, New Concepts in Technical Trading Systems, 1978)."""
    if len(bars) <= length:
        return np.full(len(bars), np.nan)
    return np.asarray(talib.ATR(bars.high, bars.low, bars.close, length))


def channel(bars: Bars, length: int) -> tuple[Column, Column]:
    """Return for each bar the highest high and the lowest low of the ``length`` bars before it."""
    top, bottom = (np.full(len(bars), np.nan) for _ in range(2))
    if len(bars) > length:
        top[1:], bottom[1:] = _extreme(bars.high, length, talib.MAX)[:-1], _extreme(bars.low, length, talib.MIN)[:-1]
    return top, bottom


def _extreme(values: Column, length: int, of: Callable[[Column, int], Column]) -> Column:
    # TA-Lib takes windows of two and more
    return np.asarray(of(values, length)) if length > 1 else values


def mean(values: Column, length: int) -> Column:
    """Return the simple moving average."""
    return np.asarray(talib.SMA(values, length)) if len(values) >= length else np.full(len(values), np.nan)


def volume_weighted_price(bars: Bars, span: int) -> Column:
    """Return the exponentially weighted average of the typical price, weighted by volume."""
    typical = (bars.high + bars.low + bars.close) / 3
    weight = ema(bars.volume, span)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(weight > 0, ema(typical * bars.volume, span) / weight, np.nan)


def band_width(close: Column, length: int) -> Column:
    """Return the relative width of Bollinger bands, two standard deviations to each side over the mean."""
    out = np.full(len(close), np.nan)
    count = len(close) - length + 1
    if count <= 0:
        return out
    # from each window's own mean: running sums of squares never forget the prices before a collapse
    back = [close[i : i + count] for i in range(length)]
    middle = sum(back) / length
    out[length - 1 :] = 4 * np.sqrt(sum((one - middle) ** 2 for one in back) / length) / middle
    return out


def percentile_rank(values: Column, length: int) -> Column:
    """Return the share (0 to 1) of the last ``length`` values that do not exceed the newest."""
    out = np.full(len(values), np.nan)
    count = len(values) - length + 1
    if count > 0:
        # one row for each step back, so that numpy goes along memory: a third of the time of a window for each value
        back = np.lib.stride_tricks.sliding_window_view(values, count)
        newest = values[length - 1 :]
        below = (back <= newest + NOISE * np.abs(newest)).view(np.uint8)
        out[length - 1 :] = below.sum(axis=0, dtype=np.uint8 if length < BYTE else np.int64) / length
    out[np.isnan(values)] = np.nan
    return out


def pivots(values: Column, left: int, right: int, *, high: bool) -> tuple[np.ndarray, Column]:
    """Return (rows at which a pivot becomes known, its value): an extreme among ``left`` before and ``right`` after.

    A pivot becomes known ``right`` bars after its extreme.
    """
    size = left + right + 1
    if len(values) < size:
        return np.empty(0, np.int64), np.empty(0)
    best = (talib.MAX if high else talib.MIN)(values, size)[size - 1 :] if size > 1 else values
    middle = values[left : len(values) - right]
    found = np.flatnonzero(middle == best)
    return found + size - 1, middle[found]


def latest(known_at: np.ndarray, values: Column, length: int, *, back: int = 0) -> tuple[Column, Column]:
    """Return per row the newest known value (``back`` more steps ago) and how many rows ago it became known."""
    rows = np.arange(length)
    which = np.searchsorted(known_at, rows, side="right") - 1 - back
    valid = which >= 0
    value, age = np.full(length, np.nan), np.full(length, np.nan)
    value[valid] = values[which[valid]]
    age[valid] = rows[valid] - known_at[which[valid]]
    return value, age


def align(closes: np.ndarray, outer_closes: np.ndarray, outer: Mapping[str, Column]) -> dict[str, Column]:
    """Return, for bars closing at ``closes``, the values of the newest outer bar that had closed by then."""
    which = np.searchsorted(outer_closes, closes, side="right") - 1
    early = which < 0
    found = {name: values[which] for name, values in outer.items()}
    for values in found.values():
        values[early] = np.nan
    return found


def memory(span: int) -> int:
    """Return after how many bars an exponential average of this span has forgotten its start (weight < 1e-9)."""
    return int(np.ceil(np.log(FORGOTTEN) / np.log(1 - 2 / (span + 1)))) + span

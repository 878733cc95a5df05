"""The mark price: what positions are valued and liquidated at, apart from the last price."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from domain.candle import Bars

BASIS_MS = 300_000
"""Time over which the basis is averaged."""


class MarkBar(NamedTuple):
    """What the mark price did during one base bar."""

    low: float
    high: float
    close: float


def marks(closes: np.ndarray, window: int, premium: np.ndarray) -> np.ndarray:
    """Return the mark price at each close: the median of the last price and of two fair prices.

    The index stands for other exchanges' spot prices: here it is the mean of the last ``window`` closes. One fair price
    is the index plus the funding still due (``premium``, a fraction), the other the index plus the mean basis.
    Source: Bybit's help center, "Mark Price Calculation (Perpetual Contract)".
    """
    if window <= 1:
        return closes
    index = _mean(closes, window)
    fair: np.ndarray = np.median([closes, index * (1 + premium), index + _mean(closes - index, window)], axis=0)
    return fair


def mark_bars(bars: Bars, window: int, interval_ms: int, rate: float) -> Bars:
    """Return base bars of the mark price; each opens where the one before closed, and has no volume.

    ``interval_ms`` and ``rate`` are those of the funding. The first 2 x ``window`` bars only lead in.
    """
    left = interval_ms - bars.open_time % interval_ms
    close = marks(bars.close, window, rate * left / interval_ms)
    if window <= 1:
        opened, high, low = bars.open, bars.high, bars.low
    else:
        opened = np.r_[close[:1], close[:-1]]
        high, low = np.maximum(opened, close), np.minimum(opened, close)
    nothing = np.zeros(len(bars))
    return Bars(bars.open_time, opened, high, low, close, nothing, nothing)


def _mean(values: np.ndarray, window: int) -> np.ndarray:
    sums = np.cumsum(np.r_[0.0, values])
    ends = np.arange(1, len(values) + 1)
    begins = np.maximum(0, ends - window)
    means: np.ndarray = (sums[ends] - sums[begins]) / (ends - begins)
    return means

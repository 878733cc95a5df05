"""Minutes in which nothing trades, as lesser markets have them."""

from __future__ import annotations

import numpy as np

from domain.candle import Bars

TRADED_MIN, SILENT_MIN, LONGEST = 30.0, 4.0, 58
"""Typical minutes between silences, median minutes of one, and the most."""


def silences(rng: np.random.Generator, minutes: int) -> np.ndarray:
    """Return which of so many minutes are silent: about a tenth of three-minute bars, most alone, few for long.

    Shaped after BSVUSDT, late 2025: 2,920 of 29,000 three-minute bars had no trade, two thirds of the silences were one
    bar long, the longest 51 minutes.
    """
    silent, at = np.zeros(minutes, dtype=bool), float(rng.exponential(TRADED_MIN))
    while at < minutes:
        length = min(LONGEST, SILENT_MIN * float(rng.lognormal(0, 0.75)))
        silent[int(at) : int(at + length)] = True
        at += length + float(rng.exponential(TRADED_MIN))
    # the last one trades, so that the next block goes on from its price
    silent[-1] = False
    return silent


def quieten(bars: Bars, silent: np.ndarray, before: float) -> Bars:
    """Return bars without a trade where ``silent``: flat at the last price, no volume, as Bybit's klines are.

    ``before`` is the last price before the first bar. What trades after a silence opens at the price it left.
    """
    numbers = np.maximum.accumulate(np.where(silent, -1, np.arange(len(bars))))
    last = np.where(numbers >= 0, bars.close[np.maximum(numbers, 0)], before)
    previous = np.r_[before, last[:-1]]
    woken = ~silent & np.r_[False, silent[:-1]]
    opened = np.where(silent | woken, previous, bars.open)
    close = np.where(silent, previous, bars.close)
    high = np.where(silent, previous, np.maximum(bars.high, opened))
    low = np.where(silent, previous, np.minimum(bars.low, opened))
    return Bars(
        bars.open_time, opened, high, low, close, np.where(silent, 0.0, bars.volume),
        np.where(silent, 0.0, bars.turnover),
    )  # fmt: skip

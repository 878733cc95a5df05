"""Rows without names for their columns: whose they are is recognised from what they hold."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from domain.candle import Bars
from domain.errors import BadData
from formats.times import milliseconds_of

FITS_LEAST = 0.9
"""A layout is believed when so many of the rows make sense in it."""
PRICE_NEAR = 0.02
"""Turnover over volume is a price of the bar; figures are rounded, so by so much outside of its high and low."""


class Layout(NamedTuple):
    """Where each value stands in a row; -1 for what a row does not have.

    Attributes:
        columns: how many values such a row has.
        closes: place of the time at which the bar closed.
        mean: place of the mean price, of which turnover is made.
        confirmed: place of 1 for a finished bar, 0 for one that is not.
    """

    name: str
    columns: tuple[int, ...]
    time: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    turnover: int = -1
    closes: int = -1
    mean: int = -1
    confirmed: int = -1


LAYOUTS = (
    Layout("ccxt, freqtrade", (6,), 0, 1, 2, 3, 4, 5),
    Layout("Binance", (8, 9, 10, 11, 12), 0, 1, 2, 3, 4, 5, 7, closes=6),
    Layout("time, prices, volume, close time", (7,), 0, 1, 2, 3, 4, 5, closes=6),
    Layout("Bybit", (7,), 0, 1, 2, 3, 4, 5, 6),
    Layout("Bybit, with a count", (8,), 0, 1, 2, 3, 4, 5, 6),
    Layout("OKX spot", (9,), 0, 1, 2, 3, 4, 5, 7, confirmed=8),
    Layout("OKX swap", (9,), 0, 1, 2, 3, 4, 6, 7, confirmed=8),
    Layout("Kraken", (8,), 0, 1, 2, 3, 4, 6, mean=5),
    Layout("KuCoin", (7,), 0, 1, 3, 4, 2, 5, 6),
    Layout("Gate", (7, 8), 0, 5, 3, 4, 2, 6, 1),
    Layout("Bitfinex", (6,), 0, 1, 3, 4, 2, 5),
    Layout("Coinbase", (6,), 0, 3, 2, 1, 4, 5),
)
"""In the order in which they are tried; the first of those that fit best is taken."""


class Rows(NamedTuple):
    """What rows say: the bars, and whether each was finished (None when the rows do not tell)."""

    bars: Bars
    finished: np.ndarray | None


def bars_of(values: np.ndarray, times: np.ndarray) -> Rows:
    """Return rows of numbers as bars; ``times`` are the first column exact, in whatever unit since 1970.

    Raises:
        BadData: when they make sense in no layout, or in one only if what they say of volume is left aside.
    """
    scored = [(layout, _fit(layout, values)) for layout in LAYOUTS if values.shape[1] in layout.columns]
    if not scored:
        raise BadData(
            f"has rows of {values.shape[1]} values and no names for them; none of the known kinds has so many"
        )
    best = max(score for _, score in scored)
    layout = next(layout for layout, score in scored if score == best)
    if best < FITS_LEAST:
        known = ", ".join(layout.name for layout, _ in scored)
        raise BadData(f"its rows make sense in no order that is known ({known}); add a header that names the columns")
    return Rows(_read(layout, values, times), values[:, layout.confirmed] != 0 if layout.confirmed >= 0 else None)


def _read(layout: Layout, values: np.ndarray, times: np.ndarray) -> Bars:
    opened, high, low, close, volume = (
        np.ascontiguousarray(values[:, place])
        for place in (layout.open, layout.high, layout.low, layout.close, layout.volume)
    )
    if layout.turnover >= 0:
        turnover = values[:, layout.turnover]
    else:
        turnover = volume * (values[:, layout.mean] if layout.mean >= 0 else close)
    return Bars(milliseconds_of(times), opened, high, low, close, volume, np.ascontiguousarray(turnover))


def _fit(layout: Layout, values: np.ndarray) -> float:
    """Return the share of the rows that make sense in a layout, of those that hold numbers only."""
    used = [place for place in layout[2:] if isinstance(place, int) and place >= 0]
    values = values[np.isfinite(values[:, used]).all(axis=1)]
    if not len(values):
        # nothing speaks against the usual order
        return float(layout is next(candidate for candidate in LAYOUTS if candidate.columns[0] == layout.columns[0]))
    opened, high, low, close, volume = (values[:, place] for place in layout[3:8])
    good = (high >= np.maximum(opened, close)) & (low <= np.minimum(opened, close)) & (volume >= 0)
    with np.errstate(all="ignore"):
        if layout.turnover >= 0:
            mean = values[:, layout.turnover] / volume
            good &= (volume == 0) | ((mean >= low * (1 - PRICE_NEAR)) & (mean <= high * (1 + PRICE_NEAR)))
        if layout.mean >= 0:
            mean = values[:, layout.mean]
            good &= (volume == 0) | ((mean >= low * (1 - PRICE_NEAR)) & (mean <= high * (1 + PRICE_NEAR)))
        if layout.closes >= 0:
            good &= values[:, layout.closes] > values[:, layout.time]
            good &= values[:, layout.closes] < values[:, layout.time] * 2
        if layout.confirmed >= 0:
            good &= np.isin(values[:, layout.confirmed], (0, 1))
    return float(good.mean())

"""What is known about a signal when it is given: 34 numbers, the same live, in a backtest and in training."""

from __future__ import annotations

import hashlib
import itertools
import math
import operator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from domain.candle import Bars, timeframe_ms
from domain.durations import DAY_MS
from domain.technical import talib

if TYPE_CHECKING:
    from domain.signal import Signal

    Column = np.ndarray[tuple[int], np.dtype[np.float64]]

VERSION = 1
WINDOW = 300
"""Bars looked at, the signal's own the last: nothing depends on how much history lies before them."""

HIGHER = {"1m": "5m", "3m": "15m", "5m": "15m", "15m": "1h", "30m": "2h", "1h": "4h", "4h": "1d", "1d": "1w"}
"""The longer timeframe that is looked at beside a signal's own; it is made of the signal's own bars."""

ATR_BARS, LOOKED_BACK = 14, 100
ROOM_MAX_R = 10.0
SIDE, PLAIN = "from the side", "as it is"


class Feature(NamedTuple):
    """One number of the vector; what is seen from the trade's side turns round for a short."""

    name: str
    unit: str
    seen: str
    meaning: str


FEATURES = (
    Feature("trend_strength", "ATR/bar", SIDE, "slope of the line through the last 20 closes"),
    Feature("trend_quality", "0..1", PLAIN, "how well that line fits (R squared)"),
    Feature("streak", "bars", SIDE, "closes in a row in the last one's direction, at most 10"),
    Feature("swing_age", "0..1", SIDE, "how long ago the favourable extreme of 50 bars was"),
    Feature("higher_trend", "ATR/bar", SIDE, "slope through 20 closes of the longer timeframe, in its own ATR"),
    Feature("higher_distance", "ATR", SIDE, "close less mean of 50 closes of the longer timeframe, in its own ATR"),
    Feature("channel_position", "0..1", SIDE, "where the close lies between the extremes of 50 bars, 1 the favourable"),
    Feature("pullback_depth", "0..1", SIDE, "way back from the favourable extreme of 20 bars, as share of their range"),
    Feature("return_1", "ATR", SIDE, "change of the close over 1 bar"),
    Feature("return_5", "ATR", SIDE, "change of the close over 5 bars"),
    Feature("rsi", "-1..1", SIDE, "relative strength index of 14 bars, 0 for 50"),
    Feature("macd", "ATR", SIDE, "MACD histogram (12, 26, 9)"),
    Feature("band_position", "deviations", SIDE, "close less mean of 20 closes, in their standard deviations"),
    Feature("atr_pct", "%", PLAIN, "average true range of 14 bars, of the price"),
    Feature("atr_percentile", "0..1", PLAIN, "rank of that range among the last 100 bars"),
    Feature("atr_trend", "log ratio", PLAIN, "range of the last 5 bars against that of the last 50"),
    Feature("band_width_percentile", "0..1", PLAIN, "rank of the width of the 20-bar band among the last 100 bars"),
    Feature("range_atr", "ATR", PLAIN, "range of the signal's bar"),
    Feature("body", "-1..1", SIDE, "body of the signal's bar as share of its range"),
    Feature("wick_with", "0..1", SIDE, "wick on the stop's side as share of the bar's range: rejection"),
    Feature("wick_against", "0..1", SIDE, "wick on the target's side as share of the bar's range"),
    Feature("volume_ratio", "log ratio", PLAIN, "volume of the signal's bar against the mean of 20"),
    Feature("volume_trend", "log ratio", PLAIN, "mean volume of 5 bars against that of 20"),
    Feature("volume_flow", "-1..1", SIDE, "volume of rising bars less that of falling ones, of 20 bars"),
    Feature("vwap_distance", "ATR", SIDE, "close less the volume-weighted price of 50 bars"),
    Feature(
        "level_touches", "0..1", PLAIN, "share of 75 bars that turned within 0.3 ATR of the low (high) of the last 10"
    ),
    Feature("room_r", "R", PLAIN, "way from entry to the favourable extreme of 100 bars, at most 10"),
    Feature("stop_atr", "ATR", PLAIN, "distance of the stop"),
    Feature("cost_r", "R", PLAIN, "fees of entry and exit"),
    Feature("hour_sin", "-1..1", PLAIN, "sine of the time of day, UTC"),
    Feature("hour_cos", "-1..1", PLAIN, "cosine of the time of day, UTC"),
    Feature("market_trend", "ATR/bar", SIDE, "trend_strength of the market's leader, 0 when it is unknown"),
    Feature("market_correlation", "-1..1", PLAIN, "correlation of 60 returns with the leader's, 0 when it is unknown"),
    Feature("relative_strength", "ATR", SIDE, "change over 20 bars less the leader's, 0 when that is unknown"),
)

SAME = 1e-9
NAMES = tuple(feature.name for feature in FEATURES)
SCHEMA = hashlib.blake2s(repr((VERSION, WINDOW, FEATURES)).encode(), digest_size=8).hexdigest()
"""Models and stored vectors carry it: those of another schema are not used."""


def features(signal: Signal, bars: Bars, leader: Bars, fee: float) -> dict[str, float] | None:
    """Return the vector of a signal by name, None when there is too little history, or a hole in it.

    Args:
        signal: the decision.
        bars: bars of its symbol in its timeframe; those that closed after the signal are not looked at.
        leader: bars of the market's leader (BTC) in that timeframe, as many as there are.
        fee: taker fee as a fraction of the value.
    """
    step = timeframe_ms(signal.timeframe)
    own = _until(bars, signal.bar_start, step)
    ranges = talib.ATR(own.high, own.low, own.close, ATR_BARS) if own is not None else None
    if own is None or ranges is None or not ranges[-1] > 0:
        return None
    atr, side, newest = ranges.item(-1), signal.side.sign, _Newest(own)
    values = {
        **_trend(newest, atr, side), **_higher(own, signal.timeframe, atr, side), **_momentum(own, newest, atr, side),
        **_volatility(own, newest, ranges), **_bar(own, atr, side), **_volume(newest, atr, side),
        **_levels(newest, signal, atr, fee), **_clock(signal.time),
        **_market(own, _until(leader, signal.bar_start, step), atr, side),
    }  # fmt: skip
    return {name: float(values[name]) for name in NAMES}


def vector(named: dict[str, float]) -> Column:
    """Return named values in the order that models take them."""
    return np.array([named[name] for name in NAMES])


def _until(bars: Bars, bar_start: int, step: int) -> Bars | None:
    """Return the window that ends with the signal's bar, None when it is not whole."""
    end = int(np.searchsorted(bars.open_time, bar_start, side="right"))
    window = bars[max(0, end - WINDOW) : end]
    whole = len(window) == WINDOW and int(window.open_time[-1]) == bar_start
    return window if whole and int(window.open_time[0]) == bar_start - (WINDOW - 1) * step else None


class _Newest:
    """The newest bars as plain numbers: of so few, Python finds extremes and sums in half of numpy's time."""

    def __init__(self, own: Bars) -> None:
        self.close: list[float] = own.close[-LOOKED_BACK:].tolist()
        self.high: list[float] = own.high[-LOOKED_BACK:].tolist()
        self.low: list[float] = own.low[-LOOKED_BACK:].tolist()
        self.volume: list[float] = own.volume[-50:].tolist()


def _trend(own: _Newest, atr: float, side: int) -> dict[str, float]:
    close = own.close[-1]
    slope, quality = _line(own.close[-20:])
    lows, highs = own.low[-50:], own.high[-50:]
    low, high = min(lows), max(highs)
    position = _share(close - low, high - low, 0.5)
    near_low, near_high = min(own.low[-20:]), max(own.high[-20:])
    back = near_high - close if side > 0 else close - near_low
    return {
        "trend_strength": side * slope / atr,
        "trend_quality": quality,
        "streak": side * _streak(own.close[-11:]),
        "swing_age": (highs[::-1].index(high) if side > 0 else lows[::-1].index(low)) / 50,
        "channel_position": position if side > 0 else 1 - position,
        "pullback_depth": _share(back, near_high - near_low, 0.5),
    }


def _higher(own: Bars, timeframe: str, atr: float, side: int) -> dict[str, float]:
    step = timeframe_ms(HIGHER.get(timeframe, timeframe))
    size = step // timeframe_ms(timeframe)
    # the window has no hole: whole groups of bars begin where the longer timeframe's grid does
    first = int(-own.open_time.item(0) % step) // timeframe_ms(timeframe)
    whole = slice(first, first + (len(own) - first) // size * size)
    high, low = own.high[whole].reshape(-1, size).max(axis=1), own.low[whole].reshape(-1, size).min(axis=1)
    close = own.close[whole][size - 1 :: size]
    scale = _last(talib.ATR(high, low, close, ATR_BARS)) if len(close) > ATR_BARS else atr
    scale = scale if scale > 0 else atr
    closes: list[float] = close[-50:].tolist()
    return {
        "higher_trend": side * _line(closes[-20:])[0] / scale,
        "higher_distance": side * (own.close.item(-1) - sum(closes) / len(closes)) / scale,
    }


def _momentum(own: Bars, newest: _Newest, atr: float, side: int) -> dict[str, float]:
    histogram = talib.MACD(own.close, 12, 26, 9)[2]
    close, recent = newest.close, newest.close[-20:]
    mean = sum(recent) / 20
    spread = math.sqrt(sum((value - mean) ** 2 for value in recent) / 20)
    return {
        "return_1": side * (close[-1] - close[-2]) / atr,
        "return_5": side * (close[-1] - close[-6]) / atr,
        "rsi": side * (_last(talib.RSI(own.close, 14)) - 50) / 50,
        "macd": side * _last(histogram) / atr,
        "band_position": side * _share(close[-1] - mean, spread, 0.0),
    }


def _volatility(own: Bars, newest: _Newest, ranges: Column) -> dict[str, float]:
    true_range: list[float] = talib.TRANGE(own.high, own.low, own.close)[-50:].tolist()
    # from the last close on: a spread is a difference of squares there, and large ones would drown it
    width = talib.STDDEV(own.close[-119:] - newest.close[-1], 20)[-100:]
    return {
        "atr_pct": 100 * ranges.item(-1) / newest.close[-1],
        "atr_percentile": _rank(ranges[-100:]),
        "atr_trend": _log_ratio(sum(true_range[-5:]) / 5, sum(true_range) / 50),
        "band_width_percentile": _rank(width),
    }


def _bar(own: Bars, atr: float, side: int) -> dict[str, float]:
    last = own.row(len(own) - 1)
    size = last.high - last.low
    upper, lower = last.high - max(last.open, last.close), min(last.open, last.close) - last.low
    wicks = (lower, upper) if side > 0 else (upper, lower)
    return {
        "range_atr": size / atr,
        "body": side * _share(last.close - last.open, size, 0.0),
        "wick_with": _share(wicks[0], size, 0.0),
        "wick_against": _share(wicks[1], size, 0.0),
    }


def _volume(own: _Newest, atr: float, side: int) -> dict[str, float]:
    recent, closes, volume = own.volume[-20:], own.close[-21:], own.volume
    total, whole = sum(recent), sum(volume)
    flow = sum(
        (after > before) * held - (after < before) * held
        for before, after, held in zip(closes, closes[1:], recent, strict=False)
    )
    typical = [(h + lo + c) / 3 for h, lo, c in zip(own.high[-50:], own.low[-50:], own.close[-50:], strict=True)]
    price = sum(map(operator.mul, typical, volume)) / whole if whole > 0 else sum(typical) / 50
    return {
        "volume_ratio": _log_ratio(volume[-1], total / 20),
        "volume_trend": _log_ratio(sum(volume[-5:]) / 5, total / 20),
        "volume_flow": side * _share(flow, total, 0.0),
        "vwap_distance": side * (own.close[-1] - price) / atr,
    }


def _levels(own: _Newest, signal: Signal, atr: float, fee: float) -> dict[str, float]:
    side = signal.side.sign
    turns = own.low[-75:] if side > 0 else own.high[-75:]
    level = min(turns[-10:]) if side > 0 else max(turns[-10:])
    extreme = max(own.high[-100:]) if side > 0 else min(own.low[-100:])
    near = 0.3 * atr
    return {
        "level_touches": sum(abs(turn - level) <= near for turn in turns) / 75,
        "room_r": min(ROOM_MAX_R, max(0.0, side * (extreme - signal.entry) / signal.risk)),
        "stop_atr": signal.risk / atr,
        "cost_r": 2 * fee * signal.entry / signal.risk,
    }


def _clock(time: int) -> dict[str, float]:
    angle = 2 * math.pi * (time % DAY_MS) / DAY_MS
    return {"hour_sin": math.sin(angle), "hour_cos": math.cos(angle)}


def _market(own: Bars, leader: Bars | None, atr: float, side: int) -> dict[str, float]:
    if leader is None:
        return {"market_trend": 0.0, "market_correlation": 0.0, "relative_strength": 0.0}
    scale = _last(talib.ATR(leader.high, leader.low, leader.close, ATR_BARS))
    mine, theirs = np.diff(np.log(own.close[-61:])), np.diff(np.log(leader.close[-61:]))
    ahead = float(mine[-20:].sum() - theirs[-20:].sum())
    mine, theirs = mine - mine.mean(), theirs - theirs.mean()
    spread = math.sqrt(mine.dot(mine) * theirs.dot(theirs))
    return {
        "market_trend": side * _share(_line(leader.close[-20:].tolist())[0], scale, 0.0),
        "market_correlation": _share(mine.dot(theirs), spread, 0.0),
        "relative_strength": side * ahead * own.close.item(-1) / atr,
    }


def _line(values: list[float]) -> tuple[float, float]:
    """Return slope per bar and R squared of the least-squares line."""
    count = len(values)
    middle, mean = (count - 1) / 2, sum(values) / count
    squares = count * (count * count - 1) / 12
    slope = sum((i - middle) * value for i, value in enumerate(values)) / squares
    return slope, _share(slope * slope * squares, sum((value - mean) ** 2 for value in values), 0.0)


def _streak(closes: list[float]) -> float:
    """Return how many of the newest moves went one way, negative for down."""
    moves = [(after > before) - (after < before) for before, after in itertools.pairwise(closes)][::-1]
    same = next((place for place, move in enumerate(moves) if move != moves[0]), len(moves))
    return float(moves[0] * same)


def _last(values: Column) -> float:
    return float(values[-1])


def _rank(values: Column) -> float:
    # what arithmetic leaves in the last digits is no order
    return float(np.count_nonzero(values <= values[-1] * (1 + SAME)) / len(values))


def _share(part: float, whole: float, otherwise: float) -> float:
    return float(part / whole) if whole > 0 else otherwise


def _log_ratio(value: float, base: float) -> float:
    """Return the logarithm of a ratio, bounded where a volume is zero."""
    if not base > 0:
        return 0.0
    return max(-5.0, min(5.0, math.log(max(value / base, 1e-9))))

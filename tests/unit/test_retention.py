"""Old bars go by timeframe and source, pinned ranges never."""

from __future__ import annotations

from domain.candle import Series
from domain.coverage import Span
from domain.durations import DAY_MS
from domain.retention import Pin, due
from domain.source import Source

MINUTES = Series("BTC/USDT", "1m")
NOW, STORED = 1_000 * DAY_MS, Span(0, 1_000 * DAY_MS)
EVER = Span(0, 2**53)


def test_what_is_older_than_kept_goes():
    assert due(Source.BINANCE, MINUTES, STORED, {"1m": 365}, [], NOW) == [Span(0, 635 * DAY_MS)]


def test_timeframes_that_are_not_named_are_kept_for_ever():
    assert due(Source.BINANCE, Series("BTC/USDT", "15m"), STORED, {"1m": 365}, [], NOW) == []


def test_a_young_series_loses_nothing():
    assert due(Source.BINANCE, MINUTES, Span(700 * DAY_MS, NOW), {"1m": 365}, [], NOW) == []


def test_pinned_ranges_stay():
    pins = [
        Pin(None, "BTC/USDT", "", Span(100 * DAY_MS, 200 * DAY_MS)),
        Pin(Source.OKX, "", "", EVER),
        Pin(None, "ETH/USDT", "1m", EVER),
    ]
    left = [Span(0, 100 * DAY_MS), Span(200 * DAY_MS, 635 * DAY_MS)]
    assert due(Source.BINANCE, MINUTES, STORED, {"1m": 365}, pins, NOW) == left
    assert due(Source.OKX, MINUTES, STORED, {"1m": 365}, pins, NOW) == []

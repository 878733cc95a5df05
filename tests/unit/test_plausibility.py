"""Prices that somebody hands in are compared with those of their market that are stored."""

from __future__ import annotations

import pytest

from domain.candle import Bars, Series
from domain.source import Source
from history.plausibility import APART_MAX, Stored, distance, silent

STEP = 3_600_000
BTC = Series("BTC/USDT:USDT", "1h")


def bars(price: float = 100.0, count: int = 10, *, first: int = 0, step: int = STEP, volume: float = 1.0) -> Bars:
    return Bars.of([(first + number * step, price, price, price, price, volume, 1.0) for number in range(count)])


def stored(symbol: str = BTC.symbol, timeframe: str = "1h", source: Source = Source.BYBIT, latest: int = 9 * STEP):
    return Stored(source, Series(symbol, timeframe), 0, latest)


def test_prices_of_the_same_market_are_near_and_those_of_another_are_far():
    near = distance(bars(100.5), BTC, Source.BYBIT, [stored()], lambda *_: bars())
    assert (near.median < APART_MAX, near.bars, near.other) == (True, 10, stored())
    assert distance(bars(3_000), BTC, Source.BYBIT, [stored()], lambda *_: bars()).median > APART_MAX


@pytest.mark.parametrize(
    ("relatives", "nearest"),
    [
        ([stored("BTC/USDC:USDC"), stored(timeframe="4h"), stored()], stored()),
        ([stored("BTC/USDC:USDC"), stored(timeframe="4h")], stored(timeframe="4h")),
        ([stored(source=Source.OKX), stored("BTC/USD")], stored("BTC/USD")),
    ],
)
def test_the_nearest_relative_is_asked_first(relatives, nearest):
    found = distance(
        bars(),
        BTC,
        Source.BYBIT,
        relatives,
        lambda one, _: bars() if one.series.timeframe == "1h" else bars(step=4 * STEP),
    )
    assert found.other == nearest


@pytest.mark.parametrize(
    "other",
    [stored("ETH/USDT:USDT"), stored("BTC/EUR"), stored(latest=-2 * STEP), stored(source=Source.SYNTHETIC)],
    ids=["coin", "quote", "time", "made up"],
)
def test_what_is_no_relative_is_not_compared(other):
    assert distance(bars(), BTC, Source.BYBIT, [other], lambda *_: bars()) is None


def test_without_bars_of_the_same_time_there_is_nothing_to_compare():
    assert distance(Bars.empty(), BTC, Source.BYBIT, [stored()], lambda *_: bars()) is None
    assert distance(bars(), BTC, Source.BYBIT, [stored()], lambda *_: Bars.empty()) is None
    later = bars(first=100 * STEP)
    assert distance(bars(), BTC, Source.BYBIT, [stored()], lambda *_: later) is None


@pytest.mark.parametrize(("count", "volume", "index"), [(3, 0.0, True), (2, 0.0, False), (3, 1.0, False)])
def test_several_bars_without_any_volume_are_those_of_an_index(count, volume, index):
    assert silent(bars(count=count, volume=volume)) is index

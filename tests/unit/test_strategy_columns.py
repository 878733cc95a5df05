"""A strategy's columns as a chart is given them: for each shown bar a value, computed as the bot computes it."""

from __future__ import annotations

import numpy as np
import pytest

from app.strategy_columns import columns_of
from domain.candle import Bar, Bars, Series
from domain.errors import BadData

STEP = 900_000
SERIES = Series("BTC/USDT:USDT", "15m")
BARS = Bars.of([Bar(i * STEP, 100.0, 101.0, 99.0, 100.0 + i, 5.0, 500.0) for i in range(50)])


class Averages:
    """A mean of three closes, a close, something that is no line, and nothing at all."""

    name, timeframes, warmup_bars = "averages", ("15m",), {"15m": 3}

    def columns(self, bars):
        own = bars["15m"]
        mean = np.convolve(own.close, np.ones(3) / 3, "full")[: len(own)]
        mean[:2] = np.nan
        return {
            "open_time": own.open_time,
            "close": own.close,
            "mean": mean,
            "up": own.close > own.open,
            "one": mean[:1],
        }


class Failing(Averages):
    name = "failing"

    def columns(self, bars):
        raise KeyError("no such column")


class Other(Averages):
    name, timeframes = "other", ("1h",)


def load(series, before, count):
    rows = [row for row in BARS.rows() if row.open_time < before] if series == SERIES else []
    return Bars.of(rows[-count:])


def test_each_shown_bar_has_the_value_that_the_bot_computed():
    (found,) = columns_of([Averages(), Other()], SERIES, 40 * STEP, 4, load)
    assert found["times"] == [i * STEP for i in range(36, 40)]
    # the bars before those that are shown warm it up: no value is missing, and none is another than with all bars
    assert found["columns"] == {"mean": [135.0, 136.0, 137.0, 138.0]}


def test_where_history_begins_there_is_no_value_yet():
    (found,) = columns_of([Averages()], SERIES, 3 * STEP, 10, load)
    assert found["columns"] == {"mean": [None, None, 101.0]}
    assert columns_of([Averages()], SERIES, 0, 10, load) == []


def test_a_strategy_that_fails_is_named():
    with pytest.raises(BadData, match="strategy failing"):
        columns_of([Failing()], SERIES, 40 * STEP, 4, load)

"""What in a series cannot be believed is found, and what can be is left alone."""

from __future__ import annotations

import numpy as np
import pytest

from domain.candle import Bars, Series, resample, timeframe_ms
from domain.coverage import Span
from history import quality, steps
from tests.venues import walk

STEP, START, HOUR, DAY = 900_000, 1_704_067_200_000, 3_600_000, 86_400_000
BARS = walk(2_000, START, STEP)
WINDOW = Span(START, START + 2_000 * STEP)


def changed(**columns) -> Bars:
    """The walk with some columns changed: name=(index or slice, value)."""
    held = BARS.copy()
    for name, (at, value) in columns.items():
        getattr(held, name)[at] = value
    return held


def kinds(bars: Bars, other: Bars | None = None) -> dict[str, int]:
    return quality.examine(bars, WINDOW, "15m", (), other).counts


def test_an_ordinary_market_has_no_anomalies():
    found = quality.examine(BARS, WINDOW, "15m", ())
    assert found.counts == {}
    assert found.coverage.completeness == 100.0
    assert set(found.periods) == {"2024-01", "last 30 days", "last 90 days", "last 365 days"}


def test_a_single_bar_far_from_its_neighbours_is_a_spike_and_a_lasting_move_is_none():
    price = BARS.close[1000]
    assert kinds(changed(close=(1000, price * 1.3), high=(1000, price * 1.3))) == {"spike": 1}
    lasting = Bars(
        BARS.open_time,
        *(np.where(np.arange(2000) > 1000, c * 1.3, c) for c in BARS.columns()[1:5]),
        BARS.volume,
        BARS.turnover,
    )
    assert kinds(lasting) == {}


def test_a_wick_that_nobody_else_saw_is_a_spike():
    assert kinds(changed(low=(500, BARS.low[500] * 0.6))) == {"spike": 1}


def test_a_standing_price_with_volume_is_told_and_one_without_is_an_empty_run():
    flat = {name: (slice(100, 115), 50.0) for name in ("open", "high", "low", "close")}
    assert kinds(changed(**flat)) == {"frozen": 1}
    assert kinds(changed(**flat, volume=(slice(100, 115), 0.0))) == {"zero_volume": 1}
    assert kinds(changed(volume=(slice(100, 108), 0.0))) == {}


def test_bars_that_no_market_can_have_made_are_told():
    assert kinds(changed(high=(7, BARS.low[7] * 0.999)))["ohlc_inconsistent"] == 1


def test_another_market_shows_by_comparison():
    far = Bars(
        BARS.open_time,
        *(np.where((np.arange(2000) >= 960) & (np.arange(2000) < 1152), c * 1.5, c) for c in BARS.columns()[1:5]),
        BARS.volume,
        BARS.turnover,
    )
    found = quality.examine(far, WINDOW, "15m", (), BARS)
    spans = [one.span for one in found.anomalies if one.kind == "wrong_market"]
    assert spans == [Span(START + 960 * STEP, START + 1152 * STEP)]
    assert found.agreement.largest == pytest.approx(0.5)
    assert found.agreement.equal == 2000 - 192


def test_a_splice_of_two_markets_with_near_prices_shows_too():
    near = Bars(
        BARS.open_time,
        *(np.where(np.arange(2000) >= 1920, c * 1.0004, c) for c in BARS.columns()[1:5]),
        BARS.volume,
        BARS.turnover,
    )
    found = [one for one in quality.examine(near, WINDOW, "15m", (), BARS).anomalies if one.kind == "spliced"]
    assert [one.span.start for one in found] == [START + 1920 * STEP]
    assert kinds(BARS, BARS) == {}


def test_completeness_is_told_by_month_and_by_the_last_days():
    bars = walk(10_000, START, STEP)
    kept = (bars.open_time < START + 31 * 86_400_000) | (bars.open_time >= START + 45 * 86_400_000)
    held = Bars(*(column[kept] for column in bars.columns()))
    window = Span(START, START + 10_000 * STEP)
    found = quality.examine(held, window, "15m", ()).periods
    assert found["2024-01"] == 100.0
    assert found["2024-02"] == pytest.approx(100 * (29 - 14) / 29)
    assert found["last 30 days"] == 100.0
    assert found["last 90 days"] < 90


def scaled(bars: Bars, since: int, factor: float, silent: int = 0) -> Bars:
    """The same market, its prices in other units from a bar on, after so many bars that are not there."""
    units = np.where(np.arange(len(bars)) >= since, factor, 1.0)
    prices = (column * units for column in (bars.open, bars.high, bars.low, bars.close))
    whole = Bars(bars.open_time, *prices, bars.volume / units, bars.turnover)
    keep = np.ones(len(bars), bool)
    keep[since - silent : since] = False
    return whole.where(keep)


@pytest.mark.parametrize("timeframe", ["15m", "1h", "1d"])
@pytest.mark.parametrize(
    ("factor", "days", "kind"),
    [
        (1 / 4, 0, "split"), (1 / 20, 0, "split"), (10, 0, "split"), (1 / 24_000, 0, "split"), (1.5, 0, "split"),
        (7.4e-3, 0, "step"), (180_000.0, 18, "reused_ticker"), (1 / 900, 30, "reused_ticker"), (1 / 4, 3, "split"),
    ],
)  # fmt: skip
def test_a_lasting_change_of_units_is_named(timeframe, factor, days, kind):
    step = timeframe_ms(timeframe)
    silent = days * DAY // step
    bars = scaled(walk(silent + 400, START, step, 5), silent + 200, factor, silent)
    (found,) = quality.examine(bars, Span(START, START + 400 * step), timeframe, []).anomalies
    assert (found.kind, found.span.start) == (kind, START + (silent + 200) * step)


@pytest.mark.parametrize(("factor", "kind"), [(1 / 4, "split"), (1_000, "split"), (7.4e-3, "step")])
def test_each_change_of_units_is_told_once_of_all_timeframes_of_a_symbol(factor, kind):
    """The finest bars tell; coarser ones tell of what was before those begin, which windows look back on."""
    whole = scaled(walk(1_200, START, HOUR, 5), 720, factor)
    days = resample(whole, DAY, HOUR, [])
    fine, coarse = Series("AAA/USDT", "1h"), Series("AAA/USDT", "1d")
    other = {Series("BBB/USDT", "1h"): walk(1_200, START, HOUR, 6)}
    (line,) = steps.describe({fine: whole, coarse: days, **other})
    assert line.startswith(f"{kind} in AAA/USDT at 2024-01-31 00:00 UTC: prices are ")
    assert steps.describe({coarse: days, fine: whole[900:]}) == steps.describe({coarse: days}) == [line]
    assert steps.describe(other) == steps.describe({fine: Bars.empty()}) == []


def test_of_many_changes_of_units_the_first_are_told_and_the_others_counted():
    units = np.repeat(np.tile([1.0, 10.0], 5), 100)
    bars = walk(1_000, START, HOUR, 5)
    prices = (column * units for column in (bars.open, bars.high, bars.low, bars.close))
    lines = steps.describe({Series("AAA/USDT", "1h"): Bars(bars.open_time, *prices, bars.volume, bars.turnover)})
    assert len(lines) == steps.TOLD_MOST + 1
    assert lines[-1].startswith("and 4 more steps in AAA/USDT")


@pytest.mark.parametrize("seed", range(5))
def test_crashes_news_and_silences_are_no_change_of_units(seed):
    """A coin that loses nearly all of its worth within bars, and weeks without a bar: those are trading."""
    rng = np.random.default_rng(seed)
    moves = rng.standard_t(3, 3_000) * 0.01
    moves[1_000:1_100] -= 0.12
    close = 100 * np.exp(np.cumsum(moves))
    opened = np.r_[100, close[:-1]] * np.exp(rng.normal(0, 0.002, 3_000))
    times = START + np.arange(3_000) * HOUR
    high, low = np.maximum(opened, close) * 1.001, np.minimum(opened, close) * 0.999
    volume = np.full(3_000, 10.0)
    bars = Bars(times, opened, high, low, close, volume, volume * close)
    keep = np.ones(3_000, bool)
    keep[2_000:2_400] = False
    found = quality.examine(bars.where(keep), Span(START, START + 3_000 * HOUR), "1h", []).counts
    assert not {"split", "step", "reused_ticker"} & set(found)

"""Features are known at the signal, mean the same on every market, and each says something of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from domain.candle import Bars, resample, timeframe_ms
from domain.order import Side
from domain.signal import Signal
from ml.features import FEATURES, NAMES, SCHEMA, SIDE, WINDOW, features, vector
from strategies.table import TABLE

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data" / "candles_1m"
STEP = 180_000
FEE = 0.00055
COPY = 0.97


def walk(seed: int, count: int = WINDOW + 100, start: float = 100.0) -> Bars:
    draw = np.random.default_rng(seed)
    close = start * np.exp(np.cumsum(draw.normal(0, 0.004, count)))
    opened = np.r_[start, close[:-1]]
    high = np.maximum(opened, close) * (1 + draw.exponential(0.002, count))
    low = np.minimum(opened, close) * (1 - draw.exponential(0.002, count))
    volume = draw.lognormal(3, 0.7, count)
    return Bars(np.arange(count) * STEP, opened, high, low, close, volume, volume * close)


def signal(bars: Bars, row: int = -1, side: Side = Side.LONG) -> Signal:
    start, close = int(bars.open_time[row]), float(bars.close[row])
    gap = close * 0.01 * side.sign
    return Signal("scalp", "A/USDT:USDT", "3m", start, start + STEP, side, close, close - gap, close + 2 * gap)


def scaled(bars: Bars, price: float, volume: float) -> Bars:
    prices = (price * column for column in (bars.open, bars.high, bars.low, bars.close))
    return Bars(bars.open_time, *prices, bars.volume * volume, bars.turnover * price * volume)


def mirrored(bars: Bars) -> Bars:
    """Every price as far above its level as it was below, so that a short becomes a long."""
    level = 2 * float(bars.close[-1])
    return replace(
        bars, open=level - bars.open, high=level - bars.low, low=level - bars.high, close=level - bars.close
    )  # fmt: skip


@pytest.fixture(scope="module")
def real() -> np.ndarray:
    """Vectors of every signal that the strategies give on two months of ETH, with BTC as leader."""
    pd = pytest.importorskip("pandas")
    files = [DATA / f"binance_spot_{name}_USDT-1m_2026-03_04.feather" for name in ("ETH", "BTC")]
    if not all(file.exists() for file in files):
        pytest.skip("no real candles beside this checkout")
    own, leader = (Bars.from_frame(pd.read_feather(file)) for file in files)
    rows = []
    for kind in TABLE.values():
        strategy = kind(kind.Parameters())
        frames = {name: resample(own, timeframe_ms(name), 60_000) for name in strategy.timeframes}
        main = strategy.timeframes[0]
        leading = resample(leader, timeframe_ms(main), 60_000)
        columns, state = strategy.columns(frames), strategy.start("ETH/USDT:USDT")
        given_ = (strategy.step(i, columns, state) for i in range(len(frames[main])))
        found = [features(one, frames[one.timeframe], leading, FEE) for one in given_ if one is not None]
        rows += [vector(one) for one in found if one is not None]
    return np.array(rows)


def test_the_vector_has_34_named_numbers_and_the_documentation_is_the_table():
    assert len(NAMES) == len(set(NAMES)) == 34
    text = (ROOT / "docs" / "features.md").read_text()
    for one in FEATURES:
        assert f"| `{one.name}` | {one.unit} | {one.seen} | {one.meaning} |" in text
    assert SCHEMA in text


@given(seed=st.integers(0, 10_000), side=st.sampled_from(Side), row=st.integers(WINDOW - 1, WINDOW + 99))
@settings(max_examples=60, deadline=None)
def test_nothing_after_the_signal_and_nothing_before_the_window_matters(seed, side, row):
    bars, leader = walk(seed), walk(seed + 1)
    one = signal(bars, row, side)
    known = features(one, bars[: row + 1], leader[: row + 1], FEE)
    assert known is not None
    assert features(one, bars, leader, FEE) == known
    assert features(one, bars[row + 1 - WINDOW :], leader[row + 1 - WINDOW :], FEE) == known
    assert all(np.isfinite(value) for value in known.values())


def test_each_bar_of_the_window_may_matter_but_the_signals_own_always_does():
    bars, leader = walk(1), walk(2)
    one = signal(bars)
    known = features(one, bars, leader, FEE)
    close = bars.close.copy()
    close[-1] *= 1.001
    changed = features(one, replace(bars, close=close), leader, FEE)
    assert sum(changed[name] != known[name] for name in NAMES) > 15


@given(seed=st.integers(0, 10_000), price=st.sampled_from([1e-6, 0.01, 1_000.0]), volume=st.sampled_from([1e-3, 1e6]))
@settings(max_examples=30, deadline=None)
def test_a_market_of_other_prices_and_volumes_looks_the_same(seed, price, volume):
    bars, leader = walk(seed), walk(seed + 1)
    other = scaled(bars, price, volume)
    known, seen = (vector(features(signal(one), one, leader, FEE)) for one in (bars, other))
    assert seen == pytest.approx(known, rel=1e-6, abs=1e-6)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_a_short_in_the_mirror_looks_like_a_long(seed):
    bars = walk(seed)
    long, short = (
        features(signal(one, side=side), one, Bars.empty(), FEE)
        for one, side in ((bars, Side.LONG), (mirrored(bars), Side.SHORT))
    )
    assert short == pytest.approx(long, rel=1e-6, abs=1e-6)
    other_way = features(signal(bars, side=Side.SHORT), bars, Bars.empty(), FEE)
    turned = {one.name for one in FEATURES if one.seen == SIDE} - {"market_trend", "relative_strength"}
    assert all(other_way[name] != long[name] for name in turned - {"wick_with", "wick_against"})


def test_without_a_whole_window_there_is_no_vector():
    bars, leader = walk(3), walk(4)
    assert features(signal(bars, WINDOW - 2), bars, leader, FEE) is None
    with_hole = Bars(*(np.delete(column, 350) for column in bars.columns()))
    assert features(signal(bars), with_hole, leader, FEE) is None
    assert features(signal(bars), bars[:-1], leader, FEE) is None


def test_a_dead_market_has_no_vector_and_one_without_volume_has_a_finite_one():
    bars = walk(5)
    flat = replace(bars, **dict.fromkeys(("open", "high", "low", "close"), np.full(len(bars), 100.0)))
    assert features(signal(flat), flat, Bars.empty(), FEE) is None
    silent = replace(bars, volume=np.zeros(len(bars)))
    assert all(np.isfinite(value) for value in features(signal(silent), silent, flat, FEE).values())


def test_on_real_markets_no_feature_is_constant_and_none_is_a_copy(real):
    assert len(real) > 100
    assert np.isfinite(real).all()
    assert {name for name, spread in zip(NAMES, real.std(axis=0), strict=True) if spread < 1e-3} == set()
    ranks = real.argsort(axis=0).argsort(axis=0)
    for table in (real, ranks):
        alike = np.abs(np.corrcoef(table.T)) - np.eye(len(NAMES))
        assert [(NAMES[i], NAMES[j]) for i, j in np.argwhere(alike > COPY)] == []

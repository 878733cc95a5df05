"""Bars for a backtest: however many there are, and of whatever timeframe they are made, they are what is stored."""

from __future__ import annotations

import mmap

import numpy as np
import pytest

from app import stored_bars
from app.mapped_bars import mapped
from app.stored_bars import StoredBars
from bootstrap.history import History
from domain.candle import Bars, Series, resample
from domain.coverage import Span
from domain.errors import BadData, Unavailable
from domain.source import Source
from settings import load
from tests.venues import walk

STEP, NAME = 60_000, "BTC/USDT:USDT"
START = 1_700_000_000_000 // 3_600_000 * 3_600_000
BARS = walk(10_000, START, STEP)


@pytest.fixture
def history(tmp_path):
    environment = {"DATABASE_URL": f"sqlite:///{tmp_path / 'held.sqlite'}", "REVENANT__DATA_DIR": str(tmp_path)}
    with History(load(environment=environment)) as held:
        held.candles.save(Source.TEST, Series(NAME, "1m"), BARS)
        yield held


def is_mapped(column: np.ndarray) -> bool:
    while isinstance(column, np.ndarray):
        column = column.base
    return isinstance(column, mmap.mmap)


def test_what_is_read_in_parts_is_the_same_and_lies_on_disk(history, monkeypatch):
    needs = {"1m": 100, "15m": 20, "7m": 5}
    span = Span(START + 3_000 * STEP, START + 9_000 * STEP)

    def read() -> dict[Series, Bars]:
        return StoredBars(history, Source.TEST, needs, lambda *_: None).load([NAME], span)[0]

    whole = read()
    assert not any(is_mapped(held.close) for held in whole.values())
    monkeypatch.setattr(stored_bars, "PART", 997)
    pieces = read()
    for series, held in whole.items():
        assert is_mapped(pieces[series].close)
        for one, other in zip(held.columns(), pieces[series].columns(), strict=True):
            assert np.array_equal(one, other)
            assert one.dtype == other.dtype
    # 7m lies on no round time of a day
    bars = BARS[:]
    expected = resample(bars, 7 * STEP, STEP)
    inside = (expected.open_time >= whole[Series(NAME, "7m")].open_time[0]) & (expected.open_time < span.end)
    assert np.array_equal(expected.close[inside][: len(whole[Series(NAME, "7m")])], whole[Series(NAME, "7m")].close)


def test_nothing_stored_and_no_room_are_said(history, tmp_path):
    stored = StoredBars(history, Source.TEST, {"1m": 10}, lambda *_: None)
    with pytest.raises(BadData, match="nothing is stored of ETH"):
        stored.load(["ETH/USDT:USDT"], Span(0, 2**53))
    assert len(mapped(iter(()), tmp_path)) == 0
    with pytest.raises(Unavailable, match="no room"):
        mapped([BARS], tmp_path / "not there")


QUARTER = 15 * STEP


def without_minutes(*gone: int) -> Bars:
    keep = np.ones(len(BARS), bool)
    keep[list(gone)] = False
    return BARS.where(keep)


def stored(history, bars: Bars, absent: list[Span], listed: int | None = None, delisted: int | None = None):
    """Keep these minutes of BTC instead, and what is known of those that are not there."""
    name = Series("ETH/USDT:USDT", "1m")
    history.candles.save(Source.BINANCE, name, bars)
    history.candles.confirm_absent(Source.BINANCE, name, absent)
    history.candles.note_life(Source.BINANCE, name, listed, delisted)
    return StoredBars(history, Source.BINANCE, {"15m": 2}, lambda *_: None)


@pytest.mark.parametrize("seed", range(6))
def test_minutes_that_never_were_make_no_hole_in_longer_bars(history, seed):
    """Whatever minutes are confirmed absent, each quarter of an hour that has any is made of those it has."""
    rng = np.random.default_rng(seed)
    gone = np.unique(np.concatenate([np.arange(at, at + n) for at, n in zip(
        rng.integers(1, 9_900, 30), rng.choice([1, 7, 14, 15, 16, 40], 30), strict=True)]))  # fmt: skip
    held = without_minutes(*gone)
    absent = [Span(START + int(at) * STEP, START + int(at + 1) * STEP) for at in gone]
    bars, _, faults = stored(history, held, absent).load(["ETH/USDT:USDT"], Span(START, START + 9_900 * STEP))
    (made,) = bars.values()
    frame = held.to_frame().resample("15min").agg(
        {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    ).dropna()  # fmt: skip
    assert faults == []
    times = frame.index.as_unit("ms").astype(np.int64)
    frame = frame[times < START + 9_900 * STEP]
    assert made.open_time.tolist() == times[: len(frame)].tolist()
    for name in ("open", "high", "low", "close"):
        assert np.array_equal(getattr(made, name), frame[name])
    assert np.allclose(made.volume, frame.volume, rtol=1e-12)


def test_a_quarter_of_which_one_minute_may_still_be_had_is_missing_and_counted(history):
    held = without_minutes(*range(23, 30), 22)
    with pytest.raises(BadData, match=r"15m: 1 bars are missing in 1 ranges, the first from .*:15 to .*:30 UTC"):
        stored(history, held, [Span(START + 23 * STEP, START + 30 * STEP)]).load(["ETH/USDT:USDT"], Span(0, 2**53))


def test_what_lies_outside_of_a_markets_life_and_what_is_to_come_is_not_missing(history):
    """A market listed and delisted inside of a bar, asked for from years before until years after."""
    listed, delisted = START + 37 * STEP + 12_345, START + 9_007 * STEP
    held = stored(history, BARS[37:9_007], [], listed, delisted)
    bars, _, faults = held.load(["ETH/USDT:USDT"], Span(START - 10**9, 2**52))
    (made,) = bars.values()
    assert faults == []
    assert made.open_time[0] == START + 30 * STEP
    assert made.open[0] == BARS.open[37]
    assert made.open_time[-1] == START + 9_000 * STEP
    assert made.close[-1] == BARS.close[9_006]

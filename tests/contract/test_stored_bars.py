"""Bars for a backtest: however many there are, and of whatever timeframe they are made, they are what is stored."""

from __future__ import annotations

import mmap

import numpy as np
import pytest

from bootstrap import stored_bars
from bootstrap.history import History
from bootstrap.mapped_bars import mapped
from bootstrap.stored_bars import StoredBars
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

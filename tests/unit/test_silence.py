"""A silent stream is a quiet market as long as REST has nothing newer: real candles, and the cases by hand."""

from __future__ import annotations

import gzip
import itertools
import json
import math
from pathlib import Path

import pytest

from domain.candle import Bar, Bars
from market.silence import Evidence, Silence

DATA = Path(__file__).parents[3] / "shared" / "data" / "rest_bybit_v5_kline_raw"
STEP = 180_000


def flat(start, close):
    return Bar(start, close, close, close, close, 0.0, 0.0)


def traded(start, close, volume=1.0):
    return Bar(start, close, close, close, close, volume, close * volume)


@pytest.mark.parametrize(
    ("rows", "told", "expected"),
    [
        ([traded(0, 5.0), flat(STEP, 5.0), flat(2 * STEP, 5.0)], (0, 5.0), Evidence.QUIET),
        ([traded(0, 5.0)], (0, 5.0), Evidence.QUIET),
        ([flat(STEP, 5.0), flat(2 * STEP, 5.0)], (0, 5.0), Evidence.QUIET),
        ([traded(0, 5.1)], (0, 5.0), Evidence.TRADED),
        ([traded(0, 5.0), traded(STEP, 5.0)], (0, 5.0), Evidence.TRADED),
        ([flat(STEP, 5.1)], (0, 5.0), Evidence.TRADED),
        ([], (0, 5.0), Evidence.NONE),
        ([traded(0, 5.0)], (STEP, 5.0), Evidence.NONE),
        ([traded(0, 5.0)], None, Evidence.NONE),
    ],
)
def test_what_an_answer_shows(rows, told, expected):
    silence = Silence(heard=10.0, strikes=1)
    assert silence.judge(Bars.of(rows), told, 50.0) is expected
    assert silence.lasts(60.0) == (10.0 if expected is Evidence.QUIET else 50.0)
    assert silence.strikes == (0 if expected is Evidence.QUIET else 1)


def test_before_the_first_frame_two_answers_are_compared():
    silence = Silence(heard=1.0)
    assert silence.judge(Bars.of([traded(0, 5.0, 2.0)]), None, 50.0) is Evidence.NONE
    assert silence.judge(Bars.of([traded(0, 5.0, 2.0)]), None, 90.0) is Evidence.QUIET
    assert silence.judge(Bars.of([traded(0, 5.0, 3.0)]), None, 130.0) is Evidence.TRADED


def test_trades_at_the_same_price_are_seen_by_their_volume():
    silence = Silence(heard=1.0)
    assert silence.judge(Bars.of([traded(0, 5.0, 2.0)]), (0, 5.0), 50.0) is Evidence.QUIET
    assert silence.judge(Bars.of([traded(0, 5.0, 2.5)]), (0, 5.0), 90.0) is Evidence.TRADED
    silence.hear(95.0)
    # what REST showed before a frame is no measure for what comes after it
    assert silence.judge(Bars.of([traded(0, 5.0, 2.5)]), (0, 5.0), 140.0) is Evidence.QUIET


def test_questions_are_spread_from_the_last_sign_of_life_or_question():
    silence = Silence()
    assert silence.lasts(5.0) == math.inf
    silence.hear(10.0)
    assert not silence.due(40.0, 40.0)
    assert silence.due(51.0, 40.0)
    silence.asked = 51.0
    assert not silence.due(90.0, 40.0)
    assert silence.due(92.0, 40.0)


@pytest.mark.skipif(not DATA.is_dir(), reason="no recorded candles here")
@pytest.mark.parametrize("name", ["BSVUSDT", "MMTUSDT", "GRTUSDT"])
def test_in_real_quiet_markets_a_stream_that_tells_every_trade_is_never_found_wanting(name):
    """The stream tells bars with trades only; at every bar's end REST is asked."""
    (path,) = DATA.glob(f"{name}__3__*.json.gz")
    rows = json.loads(gzip.decompress(path.read_bytes()))["rows"][::-1]
    bars = Bars.of([Bar(int(row[0]), *map(float, row[1:])) for row in rows])
    silence, told, quiet, longest = Silence(heard=1.0), None, 0, 0.0
    for i in range(1, len(bars)):
        now = bars.open_time[i] / 1000
        if bars.volume[i]:
            told = (int(bars.open_time[i]), float(bars.close[i]))
            silence.hear(now)
            continue
        longest = max(longest, now - silence.heard)
        if told is not None:
            assert silence.judge(bars[max(0, i - 5) : i + 1], told, now) is Evidence.QUIET
            assert silence.lasts(now) == 0
            quiet += 1
    assert quiet > 0
    if name == "BSVUSDT":
        assert (quiet, longest / 60) == (2920, 51.0)


@pytest.mark.skipif(not DATA.is_dir(), reason="no recorded candles here")
def test_a_bar_without_a_trade_repeats_the_close_before_it():
    """The rule on which the judgement rests, in 29,000 bars of a quiet market."""
    (path,) = DATA.glob("BSVUSDT__3__*.json.gz")
    rows = json.loads(gzip.decompress(path.read_bytes()))["rows"][::-1]
    empty = [(before, row) for before, row in itertools.pairwise(rows) if float(row[5]) == 0]
    assert len(empty) == 2920
    assert all({*row[1:5]} == {before[4]} and float(row[6]) == 0 for before, row in empty)
    assert {int(b[0]) - int(a[0]) for a, b in itertools.pairwise(rows)} == {STEP}

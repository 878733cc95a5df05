"""Strategies are causal, forget what they say they forget, and give sane signals."""

import numpy as np
import pytest

from domain.candle import Bars, resample, timeframe_ms
from domain.errors import ConfigError
from sandbox.tape import GeneratedTape
from strategies import indicators as ta
from strategies.table import TABLE
from strategies.trend_pullback import TrendPullback

START = 1_763_000_000_000
DAYS = 12
TAPE = GeneratedTape(5, 6, START)
VARIANTS = [
    ("scalp", {}),
    ("mean_reversion", {}),
    ("trend_pullback", {}),
    ("trend_pullback", {"trigger": "3m"}),
]


def build(name, parameters):
    kind = TABLE[name]
    return kind(kind.Parameters(**parameters))


def frames_of(symbol: str, names) -> dict[str, Bars]:
    minutes = TAPE.bars(symbol, START, START + DAYS * 86_400_000)
    return {name: resample(minutes, timeframe_ms(name), 60_000) for name in names}


def cut(frames, name, end_index):
    """The bars that were closed when bar ``end_index`` of timeframe ``name`` had closed."""
    closed = int(frames[name].open_time[end_index]) + timeframe_ms(name)
    return {
        key: bars[: int(np.searchsorted(bars.open_time, closed - timeframe_ms(key), side="right"))]
        for key, bars in frames.items()
    }


def signals(strategy, frames, symbol):
    columns, state = strategy.columns(frames), strategy.start(symbol)
    return [strategy.step(i, columns, state) for i in range(len(frames[strategy.timeframes[0]]))]


@pytest.mark.parametrize(("name", "parameters"), VARIANTS)
def test_no_column_looks_into_the_future(name, parameters):
    """Recomputed on truncated history, every row is what it was with the future known."""
    strategy = build(name, parameters)
    frames = frames_of("SOL/USDT:USDT", strategy.timeframes)
    whole = strategy.columns(frames)
    for end in (700, 799, 801, 1000):
        part = strategy.columns(cut(frames, strategy.timeframes[0], end))
        for key, values in part.items():
            np.testing.assert_array_equal(values, whole[key][: end + 1], err_msg=key)


@pytest.mark.parametrize(("name", "parameters"), VARIANTS)
def test_a_window_of_the_warm_up_gives_the_signals_of_all_history(name, parameters):
    """What the bot keeps in memory is enough: older bars no longer matter."""
    strategy = build(name, parameters)
    step = strategy.timeframes[0]
    found = compared = 0
    for symbol in TAPE.instruments:
        frames = frames_of(symbol, strategy.timeframes)
        known = signals(strategy, frames, symbol)
        for i in [i for i, signal in enumerate(known) if signal is not None][-3:]:
            window = {key: bars[-strategy.warmup_bars[key] - 1 :] for key, bars in cut(frames, step, i).items()}
            if any(len(bars) <= strategy.warmup_bars[key] for key, bars in window.items()):
                continue
            compared += 1
            again = signals(strategy, window, symbol)[-1]
            found += again is not None
            if again is not None:
                assert again.entry == known[i].entry
                assert again.stop == pytest.approx(known[i].stop, rel=1e-7)
    assert compared >= 5
    # a setup that began before the window is the only thing a shorter memory may miss
    assert found >= compared - 1


@pytest.mark.parametrize(("name", "parameters"), VARIANTS)
def test_signals_appear_on_both_sides_with_stop_and_target_in_order(name, parameters):
    strategy = build(name, parameters)
    given = [
        s for symbol in TAPE.instruments for s in signals(strategy, frames_of(symbol, strategy.timeframes), symbol) if s
    ]
    assert {signal.side for signal in given} == {"long", "short"}
    for signal in given:
        assert signal.side.sign * signal.stop < signal.side.sign * signal.entry < signal.side.sign * signal.target
        assert signal.time == signal.bar_start + timeframe_ms(signal.timeframe)


def test_a_trigger_that_does_not_divide_the_context_is_refused():
    with pytest.raises(ConfigError, match="does not divide"):
        TrendPullback(TrendPullback.Parameters(trigger="7m"))


def test_pivots_are_known_only_after_the_bars_to_their_right():
    values = np.array([1.0, 2, 5, 2, 1, 0, 3, 9, 1, 1])
    known, found = ta.pivots(values, 2, 2, high=True)
    assert found.tolist() == [5.0, 9.0]
    assert known.tolist() == [4, 9]
    newest, age = ta.latest(known, found, len(values))
    assert np.isnan(newest[:4]).all()
    assert newest[4:].tolist() == [5.0] * 5 + [9.0]
    assert age[4:].tolist() == [0, 1, 2, 3, 4, 0]


def test_alignment_shows_an_outer_bar_only_once_it_has_closed():
    closes = np.array([3, 6, 9, 12, 15, 18])
    aligned = ta.align(closes, np.array([5, 10, 15]), {"value": np.array([1.0, 2.0, 3.0])})["value"]
    np.testing.assert_array_equal(aligned, [np.nan, 1, 1, 2, 3, 3])


def test_percentile_rank_counts_how_many_do_not_exceed_the_newest():
    ranks = ta.percentile_rank(np.array([3.0, 1, 2, 5, 4]), 3)
    np.testing.assert_allclose(ranks, [np.nan, np.nan, 2 / 3, 1.0, 2 / 3])

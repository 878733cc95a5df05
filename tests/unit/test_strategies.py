"""Strategies are causal, forget what they say they forget, and give sane signals."""

import numpy as np
import pandas as pd
import pytest

import settings
from app.backtest import chosen_plans
from bootstrap.parts import plans
from domain.candle import Bars, resample, timeframe_ms
from domain.errors import ConfigError
from domain.signal import Signal
from domain.source import Source
from sandbox.tape import GeneratedTape
from strategies import indicators as ta
from strategies.examples.donchian import Donchian
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
    ("breakout", {"timeframe": "15m"}),
    ("donchian", {}),
]
KINDS = {**TABLE, "donchian": Donchian}


def build(name, parameters):
    kind = KINDS[name]
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
    given = [strategy.step(i, columns, state) for i in range(len(frames[strategy.timeframes[0]]))]
    return [one if isinstance(one, Signal) else None for one in given]


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
        sign = signal.side.sign
        assert sign * signal.stop < sign * signal.entry
        assert not signal.target or sign * signal.entry < sign * signal.target
        assert signal.time == signal.bar_start + timeframe_ms(signal.timeframe)


def test_a_breakout_is_a_close_beyond_the_bars_before_it_and_has_no_target():
    """The channel by pandas, which counts windows in its own way."""
    strategy, symbol = build("breakout", {"timeframe": "15m", "length": 20}), "BTC/USDT:USDT"
    frames = frames_of(symbol, strategy.timeframes)
    bars = frames["15m"]
    top = pd.Series(bars.high).rolling(20).max().shift(1)
    bottom = pd.Series(bars.low).rolling(20).min().shift(1)
    known = ~np.isnan(strategy.columns(frames)["atr"])
    expected = np.where(bars.close > top, 1, np.where(bars.close < bottom, -1, 0)) * known
    given = signals(strategy, frames, symbol)
    assert [one.side.sign if one else 0 for one in given] == expected.tolist()
    assert {one.target for one in given if one} == {0.0}
    assert all(one.risk == pytest.approx(5 * one.notes["atr"]) for one in given if one)


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


def test_which_strategies_run_depends_on_the_market_unless_they_are_asked_for():
    given = {"scalp": {"markets": "practice"}, "breakout": {"markets": "real"}, "mean_reversion": {}}
    held = settings.Settings(strategies=given)
    assert set(plans(held)) == {"scalp", "mean_reversion"}
    assert set(plans(held, source=Source.BYBIT)) == {"breakout", "mean_reversion"}
    assert set(chosen_plans(held, ["breakout"], Source.SYNTHETIC)) == {"breakout"}
    only = settings.Settings(strategies={"breakout": {"markets": "real"}})
    with pytest.raises(ConfigError, match="none is enabled on synthetic"):
        plans(only)


def test_a_strategy_brings_its_exits_and_the_settings_change_single_ones():
    held = settings.Settings(strategies={"breakout": {"exits": {"timeout_bars": 6}}})
    exits = plans(held)["breakout"].exits
    assert (exits.trail_start_r, exits.trail_distance_r, exits.timeout_ms) == (0.01, 1.0, 86_400_000)

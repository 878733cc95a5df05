"""Examines a strategy before anything is traded on it, on made-up markets."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.causality import MORE_HISTORY, examine
from backtest.managed import Trial
from backtest.signals import frames_of, said
from backtest.tape import Tape
from bootstrap import user_strategies
from domain import informative
from domain.candle import Series, resample, timeframe_ms
from domain.durations import MINUTE_MS
from domain.errors import RevenantError
from domain.order import Side
from domain.signal import Leave, Signal
from engine.columns import columns_of, newest_of
from engine.foreign_code import Failure, attempt, naming
from sandbox.tape import GeneratedTape
from sections import StrategyChoice

if TYPE_CHECKING:
    from pathlib import Path

    from backtest.signals import Said

START = 1_763_000_000_000
SYMBOLS, SEED = 2, 7
BARS = 1_000
"""Bars that signals are looked for on, beside those before them that the checks need."""
MINUTES_MAX = 1_000_000
"""More are not made up: strategies on bars of a day are checked on fewer of them."""
SLOW_MS = 5.0
"""More than this for a bar is long: with fifty symbols that close together it is a quarter of a second."""
REPEATS = 20
MANAGED_MAX = 50
"""Signals of a symbol whose positions are managed for a check."""


@dataclass(slots=True)
class Verdict:
    """What was found of a strategy.

    Attributes:
        columns: the names of its columns.
        longs, shorts: signals on each side.
        leaves: bars on which it says leave.
        adjusts: bars on which it moves a stop or takes a part off, of those looked at.
        bar_ms: how long it takes for a bar, with a window as a live bot has it.
        faults: what has to be mended, in words.
        remarks: what should be known of it.
    """

    strategy: str
    timeframes: tuple[str, ...]
    warmup_bars: dict[str, int]
    bars: int = 0
    columns: list[str] = field(default_factory=list)
    longs: int = 0
    shorts: int = 0
    leaves: int = 0
    adjusts: int = 0
    bar_ms: float = 0.0
    faults: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def check_file(path: Path, choice: StrategyChoice | None = None) -> Verdict:
    """Examine the strategy that a file holds. Raises ConfigError when it does not load."""
    kind = user_strategies.load_file(path)
    return check(kind.name, kind, choice or StrategyChoice())


def check(name: str, kind: type[Any], choice: StrategyChoice) -> Verdict:
    """Examine a strategy with chosen parameters. Raises ConfigError when it cannot be made of them."""
    strategy = user_strategies.built(name, kind, choice)
    verdict = Verdict(name, tuple(strategy.timeframes), dict(strategy.warmup_bars))
    before = max(verdict.warmup_bars.values()) + 1
    tape = _tape(strategy, before)
    symbols = sorted({series.symbol for series in tape.series})
    trial = attempt(lambda: _measure(strategy, symbols[0], tape, before, verdict), user_strategies.LOAD_S)
    if isinstance(trial, Failure):
        verdict.faults.append(f"strategy {name}: {trial}")
        return verdict
    try:
        for symbol in symbols:
            _examine(strategy, symbol, tape, before, verdict)
        _compare_with_another(name, kind, choice, symbols[0], tape, before, verdict)
    except RevenantError as error:
        verdict.faults.append(str(error))
    _remark(verdict)
    return verdict


def _tape(strategy: Any, before: int) -> Tape:
    """Return made-up bars, as many as signals, warm-up and more history need."""
    timeframes, looked_at = strategy.timeframes, informative.written(strategy)
    step = timeframe_ms(timeframes[0])
    longest = max(timeframe_ms(timeframe) for timeframe in timeframes)
    minutes = (longest * MORE_HISTORY * before + step * BARS) // MINUTE_MS
    made = GeneratedTape(SEED, SYMBOLS, START)
    begin, end = made.span()[0], made.span()[0] + min(minutes, MINUTES_MAX) * MINUTE_MS
    bars = {}
    for symbol in made.instruments:
        held = made.bars(symbol, begin, end)
        for timeframe in timeframes:
            bars[Series(symbol, timeframe)] = resample(held, timeframe_ms(timeframe), MINUTE_MS)
    # any market does for what is not made up here: it is looked at, not traded
    others = {name: next(iter(made.instruments)) for name in looked_at} | informative.meant(
        [strategy], made.instruments
    )
    return Tape(bars, dict.fromkeys(bars, before), others)


def _span(strategy: Any, symbol: str, tape: Tape) -> tuple[int, int]:
    track = tape.track(Series(symbol, strategy.timeframes[0]))
    return track.close_time(max(0, len(track) - BARS) - 1), track.close_time(len(track) - 1)


def _examine(strategy: Any, symbol: str, tape: Tape, before: int, verdict: Verdict) -> None:
    since, until = _span(strategy, symbol, tape)
    if not _look_at_columns(strategy, symbol, tape, before, verdict):
        return
    with naming(strategy.name):
        found = examine(strategy, symbol, tape, since, until, before)
    for column, at in found.ahead.items():
        verdict.faults.append(f"{symbol}: column {column} changes with bars that come later, first at {at}")
    unstable = found.unstable[:3]
    verdict.faults += [f"{symbol}: {one}; is warmup_bars large enough?" for one in unstable]
    gave = list(said(strategy, symbol, tape, since, until, before))
    signals = [one for _, one in gave if isinstance(one, Signal)]
    verdict.bars += min(BARS, len(tape.track(Series(symbol, strategy.timeframes[0]))))
    verdict.longs += sum(signal.side is Side.LONG for signal in signals)
    verdict.shorts += sum(signal.side is Side.SHORT for signal in signals)
    verdict.leaves += len(gave) - len(signals)
    _cut_short(strategy, symbol, tape, before, gave, verdict)
    if getattr(strategy, "manage", None) is not None:
        _manage(strategy, symbol, tape, before, signals[-MANAGED_MAX:], verdict)


def _look_at_columns(strategy: Any, symbol: str, tape: Tape, before: int, verdict: Verdict) -> bool:
    """Look at the columns' shape and numbers; say whether they can be stepped over."""
    frames, _ = frames_of(strategy, symbol, tape, 0, len(tape.track(Series(symbol, strategy.timeframes[0]))), before)
    with naming(strategy.name):
        columns = columns_of(strategy, symbol, frames)
    verdict.columns = list(columns)
    size = len(frames[strategy.timeframes[0]])
    for name, values in columns.items():
        if len(values) != size:
            verdict.faults.append(f"{symbol}: column {name} has {len(values)} rows for {size} bars")
        elif np.isinf(np.asarray(values, np.float64)).any():
            verdict.faults.append(f"{symbol}: column {name} is infinite in places; a division by zero?")
        elif size > before and np.isnan(np.asarray(values, np.float64)[before:]).all():
            verdict.faults.append(f"{symbol}: column {name} has no value after {before} bars of warm-up")
    return all(len(values) == size for values in columns.values())


def _cut_short(
    strategy: Any, symbol: str, tape: Tape, before: int, gave: list[Said], verdict: Verdict
) -> None:  # fmt: skip
    """Find the last things said again on bars that end with theirs: a live bot knows no later ones."""
    since, _ = _span(strategy, symbol, tape)
    step = timeframe_ms(strategy.timeframes[0])
    for kind in (Signal, Leave):
        for start, known in [one for one in gave if isinstance(one[1], kind)][-3:]:
            again = list(said(strategy, symbol, tape, since, start + step, before))
            if not again or again[-1] != (start, known):
                what = f"the {kind.__name__.lower()} at {start + step}"
                verdict.faults.append(f"{symbol}: {what} is another, or none, without later bars")


def _manage(
    strategy: Any, symbol: str, tape: Tape, before: int, signals: list[Signal], verdict: Verdict
) -> None:  # fmt: skip
    """Have the strategy manage what its signals would have led to, and ask again without later bars."""
    trial = Trial(strategy, symbol, tape, before)
    for signal in signals:
        trial.follow(signal)
    verdict.adjusts += trial.adjusts
    verdict.faults += [f"{symbol}: {one}" for one in trial.faults()[:3]]
    if trial.refused:
        verdict.remarks.append(f"{symbol}: {trial.refused} adjustments are refused: {trial.reason}")


def _compare_with_another(
    name: str, kind: type[Any], choice: StrategyChoice, symbol: str, tape: Tape, before: int, verdict: Verdict
) -> None:
    one, other = (user_strategies.built(name, kind, choice) for _ in range(2))
    since, until = _span(one, symbol, tape)
    first, second = (list(said(strategy, symbol, tape, since, until, before)) for strategy in (one, other))
    if first != second or list(said(one, symbol, tape, since, until, before)) != first:
        verdict.faults.append(f"{symbol}: other signals the next time; does chance or a clock decide?")


def _measure(strategy: Any, symbol: str, tape: Tape, before: int, verdict: Verdict) -> None:
    size = len(tape.track(Series(symbol, strategy.timeframes[0])))
    window, _ = frames_of(strategy, symbol, tape, size - 1, size, before)
    frames = newest_of(strategy, window)
    state, last, took = strategy.start(symbol), len(frames[strategy.timeframes[0]]) - 1, []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        strategy.step(last, columns_of(strategy, symbol, frames), state)
        took.append(time.perf_counter() - begun)
    verdict.bar_ms = round(float(np.median(took)) * 1000, 3)


def _remark(verdict: Verdict) -> None:
    if not verdict.longs + verdict.shorts:
        verdict.remarks.append("no signal on made-up markets; backtest check tries it on stored bars")
    elif not (verdict.longs and verdict.shorts):
        verdict.remarks.append(f"signals on one side only: {verdict.longs} long, {verdict.shorts} short")
    if verdict.bar_ms > SLOW_MS:
        verdict.remarks.append(f"slow: {verdict.bar_ms:.1f} ms for a bar of one symbol; everything waits for it")

"""A closed bar in, its signal's vector out, beside TA-Lib computing the same indicators on the same arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.measured import Measured, compared, in_turns
from domain.candle import Bar, Bars, Series
from domain.order import Side
from domain.signal import Signal
from domain.technical import talib
from market.frames import Frames
from ml.features import features
from strategies.scalp import Scalp

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS, HELD, STEP = 400, 500, 180_000
SERIES = Series("A/USDT:USDT", "3m")


def measure() -> list[Measured]:
    """Measure one symbol's bar close."""
    bars = history(HELD + ROUNDS + 2)
    frames, strategy = Frames({SERIES: HELD}), Scalp(Scalp.Parameters())
    frames.seed(SERIES, bars[:HELD])
    state, rows = strategy.start(SERIES.symbol), bars.rows()[HELD:]

    def ours(number: int) -> None:
        take(frames, strategy, state, rows[number])

    calls = recorded(lambda: ours(0))
    pairs = in_turns(lambda number: ours(number + 1), lambda _: [work(*given) for work, given in calls], ROUNDS, 1e6)
    what = "closed bar in, signal and 34 features out, 500 bars held; TA-Lib computing the same indicators"
    names = ", ".join(sorted({work.__name__ for work, _ in calls}))
    return [compared("bar_close", what, "us", pairs, 2, details=f"{len(calls)} calls of {names}")]


def take(frames: Frames, strategy: Scalp, state: Any, row: Bar) -> None:
    """Do what the daemon does with a closed bar that gives a signal."""
    (closed,) = frames.offer(SERIES, row)
    held = frames.bars(SERIES)
    columns = strategy.columns({SERIES.timeframe: held})
    strategy.step(len(held) - 1, columns, state)
    start, close = closed.bar.open_time, closed.bar.close
    signal = Signal("scalp", SERIES.symbol, "3m", start, start + STEP, Side.LONG, close, close * 0.99, close * 1.02)
    named = features(signal, held, Bars.empty(), 0.00055)
    assert named is not None


def recorded(work: Callable[[], object]) -> list[tuple[Callable[..., Any], tuple[Any, ...]]]:
    """Return the calls of TA-Lib, with copies of what they were given, that a piece of work makes."""
    calls: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
    real = {name: getattr(talib, name) for name in talib.get_functions()}

    def spy(function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*given: Any) -> Any:
            calls.append((function, tuple(np.array(one) if isinstance(one, np.ndarray) else one for one in given)))
            return function(*given)

        return called

    try:
        for name, function in real.items():
            setattr(talib, name, spy(function))
        work()
    finally:
        for name, function in real.items():
            setattr(talib, name, function)
    return calls


def history(count: int, seed: int = 1) -> Bars:
    """Return so many 3m bars."""
    draw = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(draw.normal(0, 0.002, count)))
    opened = np.r_[100.0, close[:-1]]
    high, low = np.maximum(opened, close) * 1.001, np.minimum(opened, close) * 0.999
    return Bars(np.arange(count) * STEP, opened, high, low, close, draw.random(count) + 1, close)

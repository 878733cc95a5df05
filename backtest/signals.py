"""All signals of the past, found before anybody trades on them: strategies know nothing of positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from domain.candle import Series

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np

    from backtest.tape import Tape
    from domain.candle import Bars
    from domain.signal import Signal

CHUNK = 100_000
"""Bars whose columns are held at once."""


def find(strategy: Any, symbol: str, tape: Tape, since: int, until: int, before: int) -> Iterator[Signal]:
    """Yield a strategy's signals on bars that close in (since, until], oldest first.

    The strategy's memory begins ``before`` bars earlier, as a live bot's does that starts at ``since``: indicators see
    as many bars as a window has, and its state lives through them.
    """
    own = Series(symbol, strategy.timeframes[0])
    track, state = tape.track(own), strategy.start(symbol)
    first, end = max(0, track.closed(since) - before), track.closed(until)
    for start in range(first, end, CHUNK):
        stop = min(start + CHUNK, end)
        frames, offset = frames_of(strategy, symbol, tape, start, stop, before)
        if not all(len(held) for held in frames.values()):
            continue
        columns = strategy.columns(frames)
        for row in range(start - offset, stop - offset):
            signal = strategy.step(row, columns, state)
            if signal is not None and signal.bar_start + track.step > since:
                yield signal


def frames_of(
    strategy: Any, symbol: str, tape: Tape, start: int, stop: int, before: int
) -> tuple[dict[str, Bars], int]:
    """Return the bars of rows [start, stop) and so many before them, in all timeframes, and the row of the first."""
    track, offset = tape.track(Series(symbol, strategy.timeframes[0])), max(0, start - before)
    frames = {track.series.timeframe: track.bars[offset:stop]}
    begins, ends = track.bars.open_time.item(offset), track.close_time(stop - 1)
    for timeframe in strategy.timeframes[1:]:
        other = tape.track(Series(symbol, timeframe))
        frames[timeframe] = other.bars[max(0, other.opening(begins) - before) : other.closed(ends)]
    return frames, offset


@dataclass(frozen=True, slots=True)
class Replayed:
    """A strategy whose signals are known: the trader asks it bar by bar, as it asks any other.

    ``signals`` are its signals by symbol and open time of their bar.
    """

    strategy: Any
    signals: Mapping[tuple[str, int], Signal]

    @property
    def timeframes(self) -> tuple[str, ...]:
        """The strategy's own."""
        return tuple(self.strategy.timeframes)

    @property
    def warmup_bars(self) -> Mapping[str, int]:
        """The strategy's own."""
        return dict(self.strategy.warmup_bars)

    def start(self, symbol: str) -> str:
        """Return the symbol: that is all there is to know."""
        return symbol

    def columns(self, bars: Mapping[str, Bars]) -> Mapping[str, np.ndarray]:
        """Return the times of the bars that are decided on."""
        return {"open_time": bars[self.timeframes[0]].open_time}

    def step(self, i: int, columns: Mapping[str, np.ndarray], state: str) -> Signal | None:
        """Return the signal of a bar, None where it gave none."""
        return self.signals.get((state, int(columns["open_time"][i])))

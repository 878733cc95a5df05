"""All that strategies say in the past, found before anybody trades on it: they know nothing of positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from domain import informative
from domain.candle import Series
from domain.signal import Signal, given
from engine.columns import columns_of
from engine.foreign_code import naming

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from backtest.tape import Tape
    from domain.candle import Bars, Times
    from domain.holding import Holding
    from domain.signal import Leave

MANAGED = 2_000
"""Bars whose columns are held at once for a symbol in which a strategy manages a position."""
CHUNK = 100_000
"""Bars whose columns are held at once."""


Said = tuple[int, "Signal | Leave"]
"""The open time of a bar (UTC ms), and what a strategy said on it."""


def find(strategy: Any, symbol: str, tape: Tape, since: int, until: int, before: int) -> Iterator[Signal]:
    """Yield a strategy's signals on bars that close in (since, until], oldest first; see ``said``."""
    for _, found in said(strategy, symbol, tape, since, until, before):
        if isinstance(found, Signal):
            yield found


def said(strategy: Any, symbol: str, tape: Tape, since: int, until: int, before: int) -> Iterator[Said]:
    """Yield what a strategy says on bars that close in (since, until], oldest first.

    The strategy's memory begins ``before`` bars earlier, as a live bot's does that starts at ``since``: indicators see
    as many bars as a window has, and its state lives through them.

    Raises:
        BadData: when the strategy fails, or gives what is no signal of the bar; with its name, file and line.
    """
    own = Series(symbol, strategy.timeframes[0])
    track, state = tape.track(own), strategy.start(symbol)
    first, end = max(0, track.closed(since) - before), track.closed(until)
    for start in range(first, end, CHUNK):
        stop = min(start + CHUNK, end)
        frames, offset = frames_of(strategy, symbol, tape, start, stop, before)
        if not all(len(held) for held in frames.values()):
            continue
        with naming(strategy.name):
            found = _stepped(strategy, own, frames, range(start - offset, stop - offset), state)
        yield from (one for one in found if one[0] + track.step > since)


def _stepped(strategy: Any, own: Series, frames: Mapping[str, Bars], rows: range, state: Any) -> list[Said]:
    columns = columns_of(strategy, own.symbol, frames)
    opened, found = frames[own.timeframe].open_time, list[Said]()
    for row in rows:
        gave = strategy.step(row, columns, state)
        one = None if gave is None else given(gave, strategy.name, own, opened.item(row))
        if one is not None:
            found.append((opened.item(row), one))
    return found


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
    for name in informative.written(strategy):
        for timeframe in strategy.timeframes:
            other = tape.track(Series(tape.others[name], timeframe))
            held = other.bars[max(0, other.opening(begins) - before) : other.closed(ends)]
            frames[informative.key(name, timeframe)] = held
    return frames, offset


class PastColumns:
    """Columns of a strategy at any bar of a tape, made for many bars at once: a position is asked about in a row.

    Args:
        strategy: whose columns they are.
        tape: the bars.
        before: bars that indicators see before the first, as many as a window of a live bot has.
    """

    def __init__(self, strategy: Any, tape: Tape, before: int) -> None:
        self._strategy, self._tape, self._before = strategy, tape, before
        self._made: dict[str, tuple[range, int, Any]] = {}

    def at(self, symbol: str, start: int) -> tuple[int, Any]:
        """Return columns with the bar of a symbol that opened at a time (UTC ms), and the row of that."""
        track = self._tape.track(Series(symbol, self._strategy.timeframes[0]))
        row = track.opening(start)
        rows, offset, columns = self._made.get(symbol, (range(0), 0, None))
        if row not in rows:
            rows = range(row, min(row + MANAGED, len(track)))
            frames, offset = frames_of(self._strategy, symbol, self._tape, row, rows.stop, self._before)
            columns = columns_of(self._strategy, symbol, frames)
            self._made[symbol] = rows, offset, columns
        return row - offset, columns


class Replayed:
    """A strategy of which is known what it says: the trader asks it bar by bar, as it asks any other.

    Args:
        strategy: the one that said it.
        known: what it said by symbol and open time of the bar.

    Attributes:
        timeframes: the strategy's own.
        warmup_bars: the strategy's own.
        informative: the strategy's own.
    """

    def __init__(self, strategy: Any, known: Mapping[tuple[str, int], Signal | Leave]) -> None:
        self._known = known
        self.timeframes: tuple[str, ...] = tuple(strategy.timeframes)
        self.warmup_bars: dict[str, int] = dict(strategy.warmup_bars)
        self.informative = informative.written(strategy)

    def start(self, symbol: str) -> str:
        """Return the symbol: that is all there is to know."""
        return symbol

    def columns(self, bars: Mapping[str, Bars]) -> Times:
        """Return the times of the bars that are decided on."""
        return bars[self.timeframes[0]].open_time

    def step(self, i: int, columns: Times, state: str) -> Signal | Leave | None:
        """Return what was said on a bar, None where nothing was."""
        return self._known.get((state, columns.item(i)))


class ReplayedManager(Replayed):
    """The same of a strategy that manages its positions: what it makes of them cannot be known beforehand."""

    def __init__(self, strategy: Any, known: Mapping[tuple[str, int], Signal | Leave], past: PastColumns) -> None:
        super().__init__(strategy, known)
        self._strategy, self._past = strategy, past

    def manage(self, holding: Holding, i: int, columns: Times) -> Any:
        """Return what the strategy makes of a position on a bar."""
        row, seen = self._past.at(holding.symbol, columns.item(i))
        return self._strategy.manage(holding, row, seen)


def replayed(strategy: Any, known: Mapping[tuple[str, int], Signal | Leave], tape: Tape, before: int) -> Replayed:
    """Return a strategy of which is known what it says, for a trader on a tape; see ``said`` for ``before``."""
    if getattr(strategy, "manage", None) is None:
        return Replayed(strategy, known)
    return ReplayedManager(strategy, known, PastColumns(strategy, tape, before))

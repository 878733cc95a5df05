"""Whether a strategy looks into the future, and whether its past matters longer than it says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.signals import frames_of, said
from domain.candle import Series
from domain.signal import Leave
from engine.columns import columns_of

if TYPE_CHECKING:
    from backtest.tape import Tape
    from domain.signal import Signal

ROWS = 200
"""Bars at which the future is cut off, spread over the time."""
SAME = 1e-9
MORE_HISTORY = 4


@dataclass(slots=True)
class Causality:
    """What was found of a strategy on a symbol.

    Attributes:
        rows: bars at which the future was cut off.
        ahead: columns whose value at a bar changes when the bars after it are taken away, with the first time (UTC ms).
        signals: signals that are the same with more history.
        leaves: so are these bars on which it says leave.
        unstable: what only one history gives, or what differs, in words.
    """

    strategy: str
    symbol: str
    rows: int = 0
    ahead: dict[str, int] = field(default_factory=dict)
    signals: int = 0
    leaves: int = 0
    unstable: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing was found."""
        return not (self.ahead or self.unstable)


def examine(strategy: Any, symbol: str, tape: Tape, since: int, until: int, before: int) -> Causality:
    """Look whether a strategy is causal, and as forgetful as it says, on bars that close in (since, until].

    ``before`` is how many bars a live window has. Both checks need bars from before ``since``.
    """
    found = Causality(strategy.name, symbol)
    own = Series(symbol, strategy.timeframes[0])
    track = tape.track(own)
    first, last = track.closed(since), track.closed(until)
    whole, offset = frames_of(strategy, symbol, tape, first, last, before)
    if last <= first or not all(len(held) for held in whole.values()):
        return found
    columns = columns_of(strategy, symbol, whole)
    for row in np.unique(np.linspace(first, last - 1, ROWS).astype(int)).tolist():
        cut, cut_offset = frames_of(strategy, symbol, tape, row, row + 1, row - offset)
        seen = columns_of(strategy, symbol, cut)
        found.rows += 1
        for name, values in columns.items():
            if not _same(values[row - offset], seen[name][row - cut_offset]):
                found.ahead.setdefault(name, track.bars.open_time.item(row))
    short, long = (_said(strategy, symbol, tape, since, until, many) for many in (before, MORE_HISTORY * before))
    for start in sorted({*short, *long}):
        one, other = short.get(start), long.get(start)
        if one is None or other is None:
            what = "leave" if isinstance(one or other, Leave) else "a signal"
            found.unstable.append(f"bar {start}: {what} with {'more' if one is None else 'less'} history only")
        elif not _alike(one, other):
            what = "leave" if isinstance(one, Leave) else "another signal"
            found.unstable.append(f"bar {start}: {what} where more history says otherwise")
        elif isinstance(one, Leave):
            found.leaves += 1
        else:
            found.signals += 1
    return found


def _said(strategy: Any, symbol: str, tape: Tape, since: int, until: int, before: int) -> dict[int, Signal | Leave]:
    return dict(said(strategy, symbol, tape, since, until, before))


def _alike(one: Signal | Leave, other: Signal | Leave) -> bool:
    if isinstance(one, Leave) or isinstance(other, Leave):
        return one == other
    return one.side is other.side and np.allclose(_prices(one), _prices(other), rtol=1e-6)


def _prices(signal: Signal) -> tuple[float, float, float]:
    return signal.entry, signal.stop, signal.target


def _same(one: Any, other: Any) -> bool:
    return bool(one == other or np.isclose(one, other, rtol=SAME, atol=0, equal_nan=True))

"""What a strategy makes of the positions that its signals would have led to: the same whenever it is asked?"""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from backtest.signals import PastColumns, frames_of
from domain.candle import Series
from domain.errors import BadData
from domain.exits import ExitPlan
from domain.fills import Costs
from domain.holding import Adjust, managed, stop_asked
from domain.instrument import Instrument
from domain.phantom import follow, open_phantom
from engine.columns import columns_of
from engine.foreign_code import naming

if TYPE_CHECKING:
    from backtest.tape import Tape
    from domain.holding import Holding
    from domain.phantom import PhantomTrade
    from domain.signal import Leave, Signal

FREE = Costs(Decimal(0), Decimal(0), Decimal(0), Decimal(0))
ASKED_AGAIN = 60
"""Answers that are asked for again, spread over all of them."""
BARS_MAX = 500
"""Bars that a position is managed for."""


class Answer(NamedTuple):
    """What a strategy said about a position on the bar that opened at ``start`` (UTC ms)."""

    start: int
    holding: Holding
    said: Adjust | Leave | None


class Trial:
    """Follows signals of a strategy on a tape, without costs, and remembers what it said about them.

    Attributes:
        adjusts: answers that moved a stop or took a part off.
        refused: answers that asked for what may not be, and ``reason`` of the first.
    """

    def __init__(self, strategy: Any, symbol: str, tape: Tape, before: int) -> None:
        self._strategy, self._symbol, self._tape, self._before = strategy, symbol, tape, before
        self._track = tape.track(Series(symbol, strategy.timeframes[0]))
        self._columns = PastColumns(strategy, tape, before)
        self._answers: list[Answer] = []
        self.adjusts = self.refused = 0
        self.reason = ""

    def follow(self, signal: Signal) -> None:
        """Manage what a signal leads to until it ends. Raises BadData when the strategy fails."""
        rules = _rules(self._symbol, signal.entry)
        phantom = open_phantom(
            signal, ExitPlan(), rules, FREE, phantom_id="check", gate="check", score=None, features=None
        )
        first = self._track.closed(signal.time)
        for row in range(first, min(first + BARS_MAX, len(self._track))):
            bar = self._track.bars.row(row)
            phantom.next_open = bar.open_time
            follow(phantom, bar, rules, FREE, manage=partial(self._ask, phantom, rules, bar.open_time))
            if phantom.outcome:
                break

    def faults(self) -> list[str]:
        """Return what is said otherwise when it is asked again, or where later bars are not known, in words."""
        found = []
        for answer in self._answers[:: max(1, len(self._answers) // ASKED_AGAIN)]:
            row = self._track.opening(answer.start)
            frames, offset = frames_of(self._strategy, self._symbol, self._tape, row, row + 1, self._before)
            cut = columns_of(self._strategy, self._symbol, frames)
            if not _alike(self._say(answer.holding, *self._columns.at(self._symbol, answer.start)), answer.said):
                found.append(f"bar {answer.start}: manage says something else the next time; by chance, or memory?")
            elif not _alike(self._say(answer.holding, row - offset, cut), answer.said):
                found.append(f"bar {answer.start}: manage says something else without later bars")
        return found

    def _ask(self, phantom: PhantomTrade, rules: Instrument, start: int, holding: Holding) -> Adjust | Leave | None:
        said = self._say(holding, *self._columns.at(self._symbol, start))
        self._answers.append(Answer(start, holding, said))
        if isinstance(said, Adjust):
            self.adjusts += 1
            try:
                stop_asked(said, phantom.bracket, rules)
            except BadData as error:
                self.refused, self.reason = self.refused + 1, self.reason or str(error)
        return said

    def _say(self, holding: Holding, row: int, columns: Any) -> Adjust | Leave | None:
        with naming(self._strategy.name):
            return managed(self._strategy.manage(holding, row, columns))


def _rules(symbol: str, price: float) -> Instrument:
    """Return rules with ticks so fine that rounding decides nothing."""
    one = Decimal(1)
    tick = one.scaleb(Decimal(str(price)).adjusted() - 8)
    return Instrument(symbol, symbol, tick, tick, tick, one.scaleb(12), tick, one)


def _alike(one: Adjust | Leave | None, other: Adjust | Leave | None) -> bool:
    if not (isinstance(one, Adjust) and isinstance(other, Adjust)):
        return one == other
    # other sums of the same numbers leave other last digits
    close = one.stop == other.stop or (
        one.stop is not None and other.stop is not None and abs(one.stop / other.stop - 1) < 1e-6  # noqa: PLR2004
    )
    return close and one.keep == other.keep

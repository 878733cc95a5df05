"""Has the strategies decide on closed bars; one that fails decides no more, and nothing else suffers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from domain.candle import Bars, Series, timeframe_ms
from domain.exits import ExitPlan
from domain.leaves import Leaves
from domain.signal import Leave, Signal, given, leave_in
from engine.columns import columns_of, newest_of
from engine.commands import SwitchedOff
from engine.foreign_code import Failure, attempt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from domain.candle import ClosedBar


@dataclass(frozen=True, slots=True)
class Plan:
    """One strategy in use: how it decides, and how its positions are managed."""

    strategy: Any
    exits: ExitPlan


@dataclass(frozen=True, slots=True)
class Decided:
    """A signal, and whether there were enough bars for it to count (``warm``)."""

    signal: Signal
    warm: bool


class Decisions:
    """Steps strategies over bars.

    Args:
        plans: strategies by name.
        bars: gives the closed bars of a series.
        unloaded: why strategies that are in use could not be loaded, by name.
        step_s: how long a strategy may take for a bar, 0 for ever.

    Attributes:
        off: strategies that decide no more, and why.
        leaves: what strategies have said of leaving.
        leaving: symbols in which they may do nothing else.
    """

    def __init__(
        self, plans: Mapping[str, Plan], bars: Callable[[Series], Bars], unloaded: Mapping[str, str], step_s: float
    ) -> None:
        self._plans, self._bars, self._step_s = plans, bars, step_s
        self._states: dict[tuple[str, str], Any] = {}
        self.off: dict[str, str] = dict(unloaded)
        self.leaves = Leaves()
        self.leaving: set[str] = set()
        self._untold = [SwitchedOff(name, reason) for name, reason in unloaded.items()]

    def untold(self) -> list[SwitchedOff]:
        """Return what was switched off while nobody could be told: when loading, and when warming up."""
        told, self._untold = self._untold, []
        return told

    def warm_up(self, symbol: str, missed_after: int) -> list[Signal]:
        """Step every strategy over the bars at hand; return the signals that came after ``missed_after`` (UTC ms)."""
        missed: list[Signal] = []
        for name in self._plans:
            if name in self.off:
                continue
            found = attempt(lambda name=name: list(self._past(name, symbol)), self._step_s)  # type: ignore[misc]
            if isinstance(found, Failure):
                self._untold.append(self._switch_off(name, symbol, found))
            else:
                missed += [signal for signal in found if signal.time > missed_after]
        return missed

    def step(self, name: str, closed: ClosedBar) -> Decided | SwitchedOff | None:
        """Have a strategy decide on the newest bar of a symbol, as it stood when the bar closed."""
        symbol, strategy = closed.series.symbol, self._plans[name].strategy
        if name in self.off or (name, symbol) not in self._states:
            return None
        frames = {timeframe: self.until(symbol, timeframe, closed.close_time) for timeframe in strategy.timeframes}
        if not all(map(len, frames.values())):
            return None
        found = attempt(lambda: self._newest(name, closed.series, frames), self._step_s)
        if isinstance(found, Failure):
            return self._switch_off(name, symbol, found)
        if (left := leave_in(found)) is not None:
            self.leaves.note(name, closed.series, closed.bar.open_time, left)
        if not isinstance(found, Signal) or symbol in self.leaving:
            return None
        return Decided(found, all(len(frames[one]) >= bars for one, bars in strategy.warmup_bars.items()))

    def until(self, symbol: str, timeframe: str, close_time: int) -> Bars:
        """Return the bars that had closed by a time: windows may have run ahead of the bar that is decided on."""
        bars, newest = self._bars(Series(symbol, timeframe)), close_time - timeframe_ms(timeframe)
        if len(bars) and bars.open_time.item(-1) <= newest:
            return bars
        last = int(bars.open_time.searchsorted(newest, side="right"))
        return bars[:last] if last < len(bars) else bars

    def _past(self, name: str, symbol: str) -> Iterator[Signal]:
        strategy = self._plans[name].strategy
        state = self._states[name, symbol] = strategy.start(symbol)
        frames = {timeframe: self._bars(Series(symbol, timeframe)) for timeframe in strategy.timeframes}
        if not all(map(len, frames.values())):
            return
        own = Series(symbol, strategy.timeframes[0])
        columns = columns_of(strategy, symbol, frames)
        for i, start in enumerate(frames[own.timeframe].open_time.tolist()):
            found = given(strategy.step(i, columns, state), name, own, start)
            if (left := leave_in(found)) is not None:
                self.leaves.note(name, own, start, left)
            if isinstance(found, Signal) and symbol not in self.leaving:
                yield found

    def _newest(self, name: str, series: Series, frames: Mapping[str, Bars]) -> Signal | Leave | None:
        strategy = self._plans[name].strategy
        frames = newest_of(strategy, frames)
        own, columns = frames[series.timeframe], columns_of(strategy, series.symbol, frames)
        found = strategy.step(len(own) - 1, columns, self._states[name, series.symbol])
        return given(found, name, series, own.open_time.item(-1))

    def _switch_off(self, name: str, symbol: str, failure: Failure) -> SwitchedOff:
        self.off[name] = str(failure)
        return SwitchedOff(name, str(failure), symbol)

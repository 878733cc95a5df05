"""Has the strategies decide on closed bars; one that fails decides no more, and nothing else suffers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from domain import informative
from domain.candle import TIME_MAX, Bars, Series, timeframe_ms
from domain.exits import ExitPlan
from domain.holding import managed
from domain.leaves import Leaves
from domain.signal import Leave, Signal, given, leave_in
from domain.symbols import Symbols
from domain.trading_hours import ALWAYS
from engine.columns import columns_of, newest_of
from engine.commands import SwitchedOff
from engine.foreign_code import Failure, attempt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from decimal import Decimal

    from domain.candle import ClosedBar, Times
    from domain.holding import Adjust, Holding, Manage
    from domain.trading_hours import TradingHours


@dataclass(frozen=True, slots=True)
class Plan:
    """One strategy in use: how it decides, and how its positions are managed.

    ``symbols`` are those that it takes, patterns too, all when it names none; ``blacklist`` those that it does not.
    ``risk_percent`` and ``leverage`` are limits of its own, None for those of all; ``hours`` are when it may enter.
    """

    strategy: Any
    exits: ExitPlan
    symbols: tuple[str, ...] = ()
    blacklist: tuple[str, ...] = ()
    risk_percent: Decimal | None = None
    leverage: Decimal | None = None
    hours: TradingHours = ALWAYS

    def takes(self, symbol: str) -> bool:
        """Return whether its signals on a symbol count."""
        if not (self.symbols or self.blacklist):
            return True
        name = Symbols([symbol])
        wanted = not self.symbols or any(map(name.listed, self.symbols))
        return wanted and not any(map(name.listed, self.blacklist))


@dataclass(frozen=True, slots=True)
class Decided:
    """A signal, and why it does not count: too few bars (``warm``), or a bar of another symbol that is ``late``."""

    signal: Signal
    warm: bool
    late: str = ""


class Decisions:
    """Steps strategies over bars.

    Args:
        plans: strategies by name.
        bars: gives the closed bars of a series.
        unloaded: why strategies that are in use could not be loaded, by name.
        step_s: how long a strategy may take for a bar, 0 for ever.
        others: what the other symbols that strategies look at are called here, by the names that they write.

    Attributes:
        off: strategies that decide no more, and why.
        leaves: what strategies have said of leaving.
        leaving: symbols in which they may do nothing else.
    """

    def __init__(
        self, plans: Mapping[str, Plan], bars: Callable[[Series], Bars], unloaded: Mapping[str, str], step_s: float,
        others: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self._plans, self._bars, self._step_s, self._others = plans, bars, step_s, others or {}
        self._states: dict[tuple[str, str], Any] = {}
        self.off: dict[str, str] = dict(unloaded)
        self.leaves = Leaves()
        self.leaving: set[str] = set()
        self._managing = {
            name: plan.strategy for name, plan in plans.items() if getattr(plan.strategy, "manage", None) is not None
        }
        self._seen: dict[tuple[str, str], tuple[Times, Any]] = {}
        self._untold = [SwitchedOff(name, reason) for name, reason in unloaded.items()]

    def untold(self) -> list[SwitchedOff]:
        """Return what was switched off while nobody could be told: when loading, and when warming up."""
        told, self._untold = self._untold, []
        return told

    def warm_up(self, symbol: str, missed_after: int, holder: str = "") -> list[Signal]:
        """Step every strategy over the bars at hand; return the signals that came after ``missed_after`` (UTC ms).

        One that does not take the symbol is stepped only as the ``holder`` of a position there, which it may leave.
        """
        missed: list[Signal] = []
        for name, plan in self._plans.items():
            if name in self.off or not (name == holder or plan.takes(symbol)):
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
        frames = self._frames(strategy, symbol, closed.close_time)
        if not all(map(len, frames.values())):
            return None
        found = attempt(lambda: self._newest(name, closed.series, frames), self._step_s)
        if isinstance(found, Failure):
            return self._switch_off(name, symbol, found)
        if (left := leave_in(found)) is not None:
            self.leaves.note(name, closed.series, closed.bar.open_time, left)
        if not isinstance(found, Signal) or self._only_leaves(name, symbol):
            return None
        warm = all(len(frames[one]) >= bars for one, bars in strategy.warmup_bars.items())
        return Decided(found, warm, informative.late(strategy, frames, closed.close_time))

    def _frames(self, strategy: Any, symbol: str, close_time: int) -> dict[str, Bars]:
        """Return the bars that a strategy sees of a symbol, and of others that it looks at, as a bar closes."""
        frames = {timeframe: self.until(symbol, timeframe, close_time) for timeframe in strategy.timeframes}
        for name in informative.written(strategy):
            for timeframe in strategy.timeframes:
                frames[informative.key(name, timeframe)] = self.until(self._others[name], timeframe, close_time)
        return frames

    def manages(self, name: str, timeframe: str = "") -> bool:
        """Return whether a strategy manages its positions itself, those of a timeframe if one is named."""
        strategy = self._managing.get(name)
        return strategy is not None and name not in self.off and timeframe in {"", strategy.timeframes[0]}

    def manager(self, name: str, series: Series, bar_start: int) -> Manage | None:
        """Return what asks a strategy about a position of its own on a bar; None of one that does not manage."""
        return partial(self.manage, name, series, bar_start) if self.manages(name, series.timeframe) else None

    def manage(self, name: str, series: Series, bar_start: int, holding: Holding) -> Adjust | Leave | None:
        """Ask a strategy what is to become of a position of its own on a bar that it has seen, None where it has not.

        One that fails is switched off; who that is ``untold`` says.
        """
        seen = self._seen.get((name, series.symbol))
        if seen is None or not self.manages(name, series.timeframe):
            return None
        strategy, (times, columns) = self._managing[name], seen
        row = int(times.searchsorted(bar_start))
        if row == len(times) or times.item(row) != bar_start:
            return None
        found = attempt(lambda: managed(strategy.manage(holding, row, columns)), self._step_s)
        if isinstance(found, Failure):
            self._untold.append(self._switch_off(name, series.symbol, found))
            return None
        return found

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
        frames = self._frames(strategy, symbol, TIME_MAX)
        if not all(map(len, frames.values())):
            return
        own = Series(symbol, strategy.timeframes[0])
        columns = self._columns(name, symbol, frames)
        for i, start in enumerate(frames[own.timeframe].open_time.tolist()):
            found = given(strategy.step(i, columns, state), name, own, start)
            if (left := leave_in(found)) is not None:
                self.leaves.note(name, own, start, left)
            if isinstance(found, Signal) and not self._only_leaves(name, symbol):
                yield found

    def _only_leaves(self, name: str, symbol: str) -> bool:
        return symbol in self.leaving or not self._plans[name].takes(symbol)

    def _newest(self, name: str, series: Series, frames: Mapping[str, Bars]) -> Signal | Leave | None:
        strategy = self._plans[name].strategy
        frames = newest_of(strategy, frames)
        own, columns = frames[series.timeframe], self._columns(name, series.symbol, frames)
        found = strategy.step(len(own) - 1, columns, self._states[name, series.symbol])
        return given(found, name, series, own.open_time.item(-1))

    def _columns(self, name: str, symbol: str, frames: Mapping[str, Bars]) -> Any:
        """Return a strategy's columns; those of one that manages are remembered until its next bar."""
        strategy = self._plans[name].strategy
        if name not in self._managing:
            return columns_of(strategy, symbol, frames)
        # windows are views that later bars spoil, and phantoms are shown a bar after orders have been waited for
        frames = {timeframe: held.copy() for timeframe, held in frames.items()}
        columns = columns_of(strategy, symbol, frames)
        self._seen[name, symbol] = frames[strategy.timeframes[0]].open_time, columns
        return columns

    def _switch_off(self, name: str, symbol: str, failure: Failure) -> SwitchedOff:
        self.off[name] = str(failure)
        return SwitchedOff(name, str(failure), symbol)

"""Rolling windows of closed bars, and the rule that nobody ever sees a hole in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from domain.candle import TIME_MAX, Bar, Bars, ClosedBar, Series, check_bar, timeframe_ms
from domain.durations import DAY_MS
from domain.errors import BadData

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

HELD_MAX = 2_000
"""Bars that wait behind a hole, per series; what comes after is asked for again later."""

AHEAD_MS = 20 * DAY_MS
"""How much later than the host's clock and than all that was told a bar may be: practice markets outrun clocks."""

GIVEN_MAX = 1_000
"""Batches that are remembered to have been given out."""


class Window:
    """The newest bars of one series in arrays that never grow; ``capacity`` bars are always at hand."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._columns: list[Any] = [np.zeros(2 * capacity, np.int64), *(np.zeros(2 * capacity) for _ in range(6))]
        self._end = 0

    def append(self, bar: Bar) -> None:
        """Add a bar that is newer than all before."""
        if self._end == 2 * self._capacity:
            for column in self._columns:
                column[: self._capacity] = column[self._capacity :]
            self._end = self._capacity
        for column, value in zip(self._columns, bar, strict=True):
            column[self._end] = value
        self._end += 1

    def fill(self, bars: Bars) -> None:
        """Put the newest of these bars in place of what is held."""
        newest = bars[-self._capacity :]
        self._end = len(newest)
        for column, values in zip(self._columns, newest.columns(), strict=True):
            column[: self._end] = values

    def bars(self) -> Bars:
        """Return the window without copying: valid until the next append."""
        start = max(0, self._end - self._capacity)
        return Bars(*(column[start : self._end] for column in self._columns))

    def last_time(self) -> int | None:
        """Return the newest open time, None while empty."""
        return int(self._columns[0][self._end - 1]) if self._end else None

    def last(self) -> Bar:
        """Return the newest bar."""
        values = [column[self._end - 1] for column in self._columns]
        return Bar(int(values[0]), *(float(value) for value in values[1:]))


@dataclass(slots=True)
class Counters:
    """What happened to the bars that came in."""

    received: int = 0
    released: int = 0
    duplicates: int = 0
    corrections: int = 0
    invalid: int = 0
    filled: int = 0
    absent: int = 0
    overflowed: int = 0


@dataclass(slots=True)
class _Line:
    window: Window
    step_ms: int
    held: dict[int, Bar] = field(default_factory=dict)
    told: tuple[int, int] = (0, 0)
    """[start, end) of which the exchange has told every bar there is, so that what is missing there never was."""


class Frames:
    """All series, each strictly increasing and contiguous.

    A bar that comes after a hole is held until the hole is filled, or until the exchange has said that it has no
    such bar; then it and its successors are released, each once. What opens more than ``ahead_ms`` later than ``now``
    (UTC ms) and than the newest bar is believed of nobody; without either, anything is. ``listed`` says since when a
    symbol is traded (UTC ms): no bar that had closed by then is taken.
    """

    def __init__(
        self, capacities: Mapping[Series, int], ahead_ms: int = AHEAD_MS,
        now: Callable[[], int] = lambda: 0, listed: Mapping[str, int] | None = None,
    ) -> None:  # fmt: skip
        self._lines: dict[Series, _Line] = {}
        self._ahead_ms, self._now, self._listed = ahead_ms, now, listed or {}
        self.counters = Counters()
        self.follow(capacities)

    def follow(self, capacities: Mapping[Series, int]) -> None:
        """Make windows for more series."""
        self._lines |= {key: _Line(Window(size), timeframe_ms(key.timeframe)) for key, size in capacities.items()}

    @property
    def series(self) -> list[Series]:
        """Every series kept."""
        return list(self._lines)

    def bars(self, series: Series) -> Bars:
        """Return the window of a series, a view that the next bar invalidates."""
        return self._lines[series].window.bars()

    def last_time(self, series: Series) -> int | None:
        """Return the open time of the newest released bar."""
        return self._lines[series].window.last_time()

    def seed(self, series: Series, bars: Bars) -> None:
        """Put history in place of what the window holds."""
        line = self._lines[series]
        line.held.clear()
        listed = self._listed_at(series.symbol)
        early = int(np.searchsorted(bars.open_time, listed - line.step_ms, side="right")) if listed else 0
        line.window.fill(bars[early:])

    def _check(self, series: Series, bar: Bar, step_ms: int) -> None:
        check_bar(bar, step_ms)
        listed = self._listed_at(series.symbol)
        if listed and bar.open_time + step_ms <= listed:
            raise BadData(f"bar {bar.open_time}: closed before the symbol was listed")

    def _check_horizon(self, series: Series, bar: Bar) -> None:
        if bar.open_time > self.horizon(series):
            raise BadData(f"bar {bar.open_time}: opens in the future")

    def _listed_at(self, symbol: str) -> int:
        # one that has yet to be listed has no bars at all: what says so, beside bars, is not believed
        since = self._listed.get(symbol, 0)
        return since if since <= self._now() + self._ahead_ms else 0

    def offer(self, series: Series, bar: Bar) -> list[ClosedBar]:
        """Take a closed bar and return the bars that became contiguous with it, oldest first.

        Raises:
            BadData: when the bar is impossible; it is counted and not kept.
        """
        line = self._lines[series]
        self.counters.received += 1
        try:
            self._check(series, bar, line.step_ms)
            self._check_horizon(series, bar)
        except BadData:
            self.counters.invalid += 1
            raise
        last = line.window.last_time()
        if last is not None and bar.open_time <= last:
            self._repeated(line, bar, last)
            return []
        if bar.open_time in line.held:
            self.counters.duplicates += 1
            return []
        if len(line.held) >= HELD_MAX:
            self.counters.overflowed += 1
            return []
        line.held[bar.open_time] = bar
        return self._release(series, line)

    def horizon(self, series: Series) -> int:
        """Return the latest open time that is believed of a series."""
        known = max(self._now(), self._lines[series].window.last_time() or 0)
        return known + self._ahead_ms if known else TIME_MAX

    def hole(self, series: Series, seen_open: int | None = None) -> tuple[int, int] | None:
        """Return [start, end) of the bars missing before the next held bar, or before a bar seen forming."""
        line = self._lines[series]
        last = line.window.last_time()
        ends = [time for time in (*line.held, seen_open) if time is not None]
        if last is None or not ends:
            return None
        start, end = self._next_time(line, last), min(ends)
        return (start, end) if start < end else None

    def confirm_absent(self, series: Series, start: int, end: int, had: Bars) -> list[ClosedBar]:
        """Take the exchange's word for which bars of [start, end) exist; return what is released by it."""
        line, inside = self._lines[series], 0
        last = line.window.last_time()
        for bar in had.rows():
            inside += start <= bar.open_time < end
            self.counters.received += 1
            try:
                self._check(series, bar, line.step_ms)
            except BadData:
                self.counters.invalid += 1
                continue
            self.counters.filled += 1
            if last is not None and bar.open_time <= last:
                self._repeated(line, bar, last)
            else:
                line.held.setdefault(bar.open_time, bar)
        self.counters.absent += max(0, (end - start) // line.step_ms - inside)
        known = line.told
        line.told = (known[0], max(known[1], end)) if known[0] <= start <= known[1] else (start, end)
        return self._release(series, line)

    def _release(self, series: Series, line: _Line) -> list[ClosedBar]:
        released: list[ClosedBar] = []
        # in one go: a hole of thousands of bars must not be looked through for each of them
        for opens in sorted(line.held) if self._contiguous(line) else ():
            last = line.window.last_time()
            if last is not None and not last + line.step_ms <= opens <= self._next_time(line, last):
                break
            bar = line.held.pop(opens)
            line.window.append(bar)
            released.append(ClosedBar(series, bar))
        self.counters.released += len(released)
        return released

    def _contiguous(self, line: _Line) -> bool:
        """Return whether anything held can be released: nearly always one bar, or none of many that wait."""
        last = line.window.last_time()
        return last is None or len(line.held) == 1 or min(line.held, default=last) <= self._next_time(line, last)

    def _repeated(self, line: _Line, bar: Bar, last: int) -> None:
        if bar.open_time == last and bar != line.window.last():
            self.counters.corrections += 1
        else:
            self.counters.duplicates += 1

    @staticmethod
    def _next_time(line: _Line, last: int) -> int:
        """Return the first open time after ``last`` of which nobody knows whether there is such a bar."""
        due, (start, end) = last + line.step_ms, line.told
        return end if start <= due < end else due


class Batches:
    """Gathers bars that close at the same time into one batch, longer timeframe first, then by symbol.

    A batch is due when every series that closes then has come, or ``grace_s`` after its first bar; batches are
    given out in the order of time. Series that are ``excused`` are not waited for, and a bar whose batch has been given
    out already follows at once, by itself.
    """

    def __init__(self, series: list[Series], grace_s: float) -> None:
        self._steps = {key: timeframe_ms(key.timeframe) for key in series}
        self._grace_s = grace_s
        self._pending: dict[int, dict[Series, ClosedBar]] = {}
        self._first_seen: dict[int, float] = {}
        self._excused: frozenset[Series] = frozenset()
        self._given: dict[int, None] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def follow(self, series: Iterable[Series]) -> None:
        """Wait for more series too."""
        self._steps |= {key: timeframe_ms(key.timeframe) for key in series}

    def forget(self, series: Series) -> None:
        """Wait for a series no longer."""
        self._steps.pop(series, None)

    def excuse(self, quiet: Iterable[Series]) -> None:
        """Wait for all but these series: markets in which nothing is traded, whose bars come late."""
        self._excused = frozenset(quiet)

    def add(self, bars: list[ClosedBar], now_s: float) -> None:
        """Take released bars at monotonic time ``now_s``."""
        for closed in bars:
            self._pending.setdefault(closed.close_time, {})[closed.series] = closed
            self._first_seen.setdefault(closed.close_time, now_s)

    def due(self, now_s: float) -> list[list[ClosedBar]]:
        """Take out the batches that are due."""
        ready = []
        for time in sorted(self._pending):
            if time not in self._given and not self._complete(time) and now_s - self._first_seen[time] < self._grace_s:
                break
            bars = self._pending.pop(time).values()
            del self._first_seen[time]
            self._given[time] = None
            while len(self._given) > GIVEN_MAX:
                del self._given[next(iter(self._given))]
            ready.append(sorted(bars, key=lambda one: (-timeframe_ms(one.series.timeframe), one.series.symbol)))
        return ready

    def wait_s(self, now_s: float) -> float | None:
        """Return the seconds until the oldest batch is due by grace, None when nothing waits."""
        if not self._pending:
            return None
        oldest = min(self._pending)
        if oldest in self._given:
            return 0.0
        return max(0.0, self._first_seen[oldest] + self._grace_s - now_s)

    def _complete(self, time: int) -> bool:
        arrived = self._pending[time]
        due = sum(time % step == 0 for step in self._steps.values())
        if len(arrived) >= due:
            return True
        missing = (series for series, step in self._steps.items() if time % step == 0 and series not in arrived)
        return self._excused.issuperset(missing)


def coarsest_parts(followed: Iterable[Series]) -> dict[Series, Series]:
    """Return of each series that others can be put together to, the one of these with the longest bars."""
    steps = {series: timeframe_ms(series.timeframe) for series in followed}
    parts: dict[Series, Series] = {}
    for part in sorted(steps, key=steps.__getitem__):
        for whole, step in steps.items():
            if whole.symbol == part.symbol and steps[part] < step and not step % steps[part]:
                parts[whole] = part
    return parts


def disagreement(whole: Bar, parts: Bars) -> str | None:
    """Say how a longer bar differs from the shorter bars it should consist of, None when it does not."""
    if not len(parts):
        return None
    built = (parts.open[0], parts.high.max(), parts.low.min(), parts.close[-1])
    if built == tuple(whole[1:5]):
        return None
    return f"exchange says {whole[1:5]}, its parts say {tuple(float(value) for value in built)}"

"""Lets the live trader trade on stored bars: the same decisions, weighed, sized and managed by the same code.

Nothing happens in most bars: no signal, no order touched, no stop to trail. Those are passed over; all others go
through the account and the trader exactly as a live batch of bars does.
"""

from __future__ import annotations

import contextlib
import gc
import heapq
from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from backtest.tape import first_touch
from domain.candle import Bar, ClosedBar, Series, timeframe_ms
from domain.errors import Rejected
from domain.exits import observe
from domain.order import OrderState, Side
from domain.records import OrderEnded, StopMoved
from engine.commands import CancelOrder, Command, MoveStop, PlaceOrder, RecordTrade, Refused, Remember

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from backtest.tape import Tape
    from backtest.venue import Venue
    from domain.candle import Floats, Times
    from domain.judgement import Judgement
    from domain.records import Fill
    from domain.signal import Signal
    from domain.trade import Trade
    from engine.positions import Position
    from engine.trader import Trader

DAY_MS = 86_400_000
NEVER = 2**62
GARBAGE = 200_000
"""New objects after which cycles of garbage are looked for."""
NOTHING = 1e-12
"""Float prices are compared this fraction early: what is looked at once too often does no harm."""


@dataclass(frozen=True, slots=True)
class Funding:
    """Funding payments of a symbol: when (UTC ms, ascending), and at which rates."""

    times: Times
    rates: Floats


class Decision(NamedTuple):
    """What became of a signal: the gate that refused it, "" when it was taken, and what was thought of it."""

    signal: Signal
    gate: str
    detail: str
    judged: Judgement


@dataclass(slots=True)
class Outcome:
    """What a backtest led to.

    Attributes:
        trades: finished trades, by the time of their end.
        decisions: every signal in the order of time.
        equity: (UTC ms, equity in quote units) at the beginning, every midnight at which something was held, every
            trade's end, and the end.
        open: symbols whose positions were still open at the end; they count in the equity, not as trades.
        bars: bars that were played, of the finest timeframe.
    """

    trades: list[Trade] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    equity: list[tuple[int, Decimal]] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    bars: int = 0


@contextlib.contextmanager
def _collecting_seldom() -> Iterator[None]:
    """Look for cycles of garbage less often: what a backtest makes it keeps, and looking through that takes a tenth."""
    usual = gc.get_threshold()
    gc.set_threshold(GARBAGE, usual[1], usual[2])
    try:
        yield
    finally:
        gc.set_threshold(*usual)


class Runner:
    """Plays a tape to a trader.

    Args:
        trader: with strategies whose signals are known, see ``Replayed``, and the tape's windows.
        venue: where its orders go.
        tape: the bars.
        signal_times: when each symbol's signals come (UTC ms), in any order.
        finest: the timeframe that orders are matched on, of every symbol.
        told: the finest timeframe that the trader is told of.
        funding: payments by symbol.
    """

    def __init__(
        self, trader: Trader, venue: Venue, tape: Tape, signal_times: Mapping[str, Iterable[int]], finest: str,
        told: str, funding: Mapping[str, Funding],
    ) -> None:  # fmt: skip
        self._trader, self._venue, self._tape, self._funding = trader, venue, tape, funding
        self._matched = {series.symbol: series for series in tape.series if series.timeframe == finest}
        self._told = {symbol: Series(symbol, told) for symbol in self._matched}
        spoken = {series.timeframe for series in tape.series if timeframe_ms(series.timeframe) >= timeframe_ms(told)}
        self._spoken = [(name, timeframe_ms(name)) for name in sorted(spoken, key=timeframe_ms, reverse=True)]
        self._signals: dict[int, set[str]] = defaultdict(set)
        for symbol, times in signal_times.items():
            for time in times:
                self._signals[time].add(symbol)
        self._due: dict[str, int] = {}
        self._agenda: list[tuple[int, str]] = []
        self._busy: set[str] = set()
        self._funded: dict[str, int] = {}
        self.outcome = Outcome()

    def run(self, since: int, until: int, progress: Callable[[int], None] = lambda _: None) -> Outcome:
        """Play all bars that close in (since, until]; ``progress`` is told the time now and then."""
        with _collecting_seldom():
            return self._run(since, until, progress)

    def _run(self, since: int, until: int, progress: Callable[[int], None]) -> Outcome:
        for time in self._signals:
            heapq.heappush(self._agenda, (time, ""))
        for midnight in range(-(-(since + 1) // DAY_MS) * DAY_MS, until + 1, DAY_MS):
            heapq.heappush(self._agenda, (midnight, ""))
        self._trader.situation.market_time = since
        for symbol in sorted(self._matched):
            self._trader.warm_up(symbol, NEVER)
        self._note_equity(since)
        day = 0
        while self._agenda and self._agenda[0][0] <= until:
            time = self._agenda[0][0]
            symbols = set()
            while self._agenda and self._agenda[0][0] == time:
                symbol = heapq.heappop(self._agenda)[1]
                if symbol and self._due.get(symbol) == time:
                    symbols.add(symbol)
            # a midnight at which nothing is held or asked for changes nothing: the day turns with the next bar told
            if time > since and (symbols or self._busy or time in self._signals):
                self._play(time, symbols)
            if time // DAY_MS > day:
                day = time // DAY_MS
                progress(time)
        self._finish(since, until)
        return self.outcome

    def _play(self, time: int, due: set[str]) -> None:
        """Live through the moment at which bars close."""
        self._tape.now = time
        fills = self._match(time, due)
        self._mark(time)
        # a live bot hears what came of its orders only when it has decided on all bars of the moment
        commands = [command for fill in fills for command in self._trader.on_fill(fill)]
        commands += [command for held in self._trader.flat() for command in self._trader.finish(held)]
        situation = self._trader.situation
        situation.equity = self._venue.equity
        if time % DAY_MS == 0:
            self._note_equity(time)
        moved = {*due, *self._signals.get(time, ())}
        told = {symbol for symbol in moved if self._has_to_decide(symbol, time)}
        for place, series in enumerate(self._batch(time, due)):
            if series.symbol in told:
                commands += self._tell(series, time)
                continue
            self._note_price(series, time)
            if not place and not time % DAY_MS:
                # whichever bar is told first turns the day
                commands += self._trader.turn_of_day(time)
        self._carry_out(commands)
        # signals that were only refused leave everything as it was
        changed = any(not isinstance(command, Refused | Remember) for command in commands)
        for symbol in moved if changed or fills else due:
            self._plan(symbol, time)

    def _match(self, time: int, due: Iterable[str]) -> list[Fill]:
        fills: list[Fill] = []
        for symbol in sorted(due):
            series = self._matched[symbol]
            row = self._tape.closing(series, time)
            if row is None:
                continue
            bars = self._tape.whole(series)
            self._fold(symbol, time - 1)
            if row:
                # the account reads a bar from where the last one ended
                self._venue.mark(symbol, float(bars.close[row - 1]))
            was_flat = not self._venue.held(symbol)
            fills += self._venue.on_bar(symbol, bars.row(row), time)
            if was_flat:
                self._funded[symbol] = int(bars.open_time[row])
            fills += self._fund(symbol, time)
        return fills

    def _fund(self, symbol: str, time: int) -> list[Fill]:
        """Pay the funding that fell due since the last look."""
        known = self._funding.get(symbol)
        if known is None:
            return []
        first, last = known.times.searchsorted((self._funded.get(symbol, time), time), side="right")
        self._funded[symbol] = time
        return [
            fill for row in range(first, last)
            for fill in self._venue.on_funding(symbol, Decimal(repr(float(known.rates[row]))), int(known.times[row]))
        ]  # fmt: skip

    def _mark(self, time: int) -> None:
        """Give the account the prices of the moment, and the trader those of the moment before."""
        for symbol in {*self._busy, *self._signals.get(time, ())}:
            matched, told = self._matched[symbol], self._told[symbol]
            row = self._tape.closed(matched, time) - 1
            if row >= 0:
                self._venue.mark(symbol, self._tape.whole(matched).close.item(row))
            before = self._tape.closed(told, time - 1) - 1
            if before >= 0:
                price = self._tape.whole(told).close.item(before)
                self._trader.situation.prices[symbol] = Decimal(repr(price))

    def _batch(self, time: int, due: Iterable[str]) -> list[Series]:
        """Return the series to tell the trader of, in the order of a live batch."""
        batch = self._closing({*due, *self._busy, *self._signals.get(time, ())}, time)
        if time % DAY_MS == 0:
            first = next(self._closing(self._matched, time), None)
            return [first, *(series for series in batch if series != first)] if first is not None else []
        return list(batch)

    def _closing(self, symbols: Iterable[str], time: int) -> Iterator[Series]:
        """Yield the series of symbols that have a bar which closes at a time, the longest timeframe first."""
        for timeframe, step in self._spoken:
            if time % step:
                continue
            for symbol in sorted(symbols):
                series = Series(symbol, timeframe)
                if self._tape.closing(series, time) is not None:
                    yield series

    def _has_to_decide(self, symbol: str, time: int) -> bool:
        """Say whether a bar may lead the trader to anything: a signal, or a position that its bars move.

        A stop and a target that lie still are the exchange's business.
        """
        if symbol in self._signals.get(time, ()):
            return True
        held = self._trader.book.of_symbol(symbol)
        if held is None:
            return False
        plan = held.opening.plan
        return held.pending or held.leaving or bool(plan.trail_start_r or plan.partial_r or plan.timeout_ms)

    def _tell(self, series: Series, time: int) -> list[Command]:
        row = self._tape.closing(series, time)
        assert row is not None
        held = self._trader.book.of_symbol(series.symbol)
        if held is not None and held.opening.timeframe == series.timeframe:
            self._fold(series.symbol, time - 1)
        return self._trader.on_bar(ClosedBar(series, self._tape.whole(series).row(row)))

    def _note_price(self, series: Series, time: int) -> None:
        """Have the trader know what a bar says that it has nothing to do about."""
        row, situation = self._tape.closing(series, time), self._trader.situation
        assert row is not None
        situation.prices[series.symbol] = Decimal(repr(float(self._tape.whole(series).close[row])))
        situation.market_time = max(situation.market_time, time)

    def _fold(self, symbol: str, until: int) -> None:
        """Show an open position the extremes of the bars that were passed over, up to a time."""
        held = self._trader.book.of_symbol(symbol)
        if held is None or held.pending or held.flat:
            return
        series = Series(symbol, held.opening.timeframe)
        bars, step = self._tape.whole(series), self._tape.step(series)
        begin = max(held.observed_until, held.opening.bar_start, self._first_managed(held, step))
        first, last = int(bars.open_time.searchsorted(begin)), self._tape.closed(series, until)
        if last <= first:
            return
        close = bars.close.item(last - 1)
        high, low = float(bars.high[first:last].max()), float(bars.low[first:last].min())
        seen = observe(held.bracket, Bar(bars.open_time.item(first), close, high, low, close, 0.0, 0.0))
        # the stop stays where the exchange has it, as it does in the trader
        held.bracket = msgspec.structs.replace(held.bracket, best=seen.best, worst=seen.worst)
        held.observed_until = bars.open_time.item(last - 1) + step

    @staticmethod
    def _first_managed(held: Position, step: int) -> int:
        """Return the open time of the bar in which a position was opened: the first that it is managed on."""
        return held.bracket.opened_at // step * step

    def _plan(self, symbol: str, time: int) -> None:
        """Find out when a symbol has to be looked at next."""
        held, waiting = self._trader.book.of_symbol(symbol), self._venue.orders(symbol)
        if held is None and not waiting:
            self._busy.discard(symbol)
            self._due.pop(symbol, None)
            return
        self._busy.add(symbol)
        due = min(self._next_match(symbol, time), self._next_manage(held, time) if held is not None else NEVER)
        self._due[symbol] = due
        if due < NEVER:
            heapq.heappush(self._agenda, (due, symbol))

    def _next_match(self, symbol: str, time: int) -> int:
        """Return when the next bar closes that may fill an order, or that funding falls due in."""
        series = self._matched[symbol]
        bars, step = self._tape.whole(series), self._tape.step(series)
        row = self._tape.closed(series, time)
        if row >= len(bars):
            return NEVER
        levels = self._venue.levels(symbol)
        if levels is None:
            return int(bars.open_time[row]) + step
        touched = first_touch(bars.high, bars.low, row, *levels)
        known = self._funding.get(symbol)
        if known is not None and self._venue.held(symbol):
            place = int(known.times.searchsorted(time, side="right"))
            if place < len(known.times):
                paid = int(bars.open_time.searchsorted(int(known.times[place]) - step))
                touched = min(touched, max(row, paid))
        return int(bars.open_time[touched]) + step if touched < len(bars) else NEVER

    def _next_manage(self, held: Position, time: int) -> int:
        """Return when the next bar closes on which the trader has something to do about a position."""
        series = Series(held.symbol, held.opening.timeframe)
        bars, step = self._tape.whole(series), self._tape.step(series)
        row, plan = self._tape.closed(series, time), held.opening.plan
        found = len(bars)
        if held.pending or held.leaving or held.flat:
            found = row
        elif plan.timeout_ms:
            found = int(bars.open_time.searchsorted(held.bracket.opened_at + plan.timeout_ms - step))
        if plan.trail_start_r and not held.pending and row < len(bars):
            long, bracket = held.opening.side is Side.LONG, held.bracket
            start = bracket.entry + held.opening.side.sign * Decimal(str(plan.trail_start_r)) * bracket.risk
            far = start if not bracket.best else (max if long else min)(start, bracket.best)
            above, below = (float(far) * (1 - NOTHING), -np.inf) if long else (np.inf, float(far) * (1 + NOTHING))
            found = min(found, first_touch(bars.high, bars.low, row, above, below))
        found = max(row, found)
        return int(bars.open_time[found]) + step if found < len(bars) else NEVER

    def _carry_out(self, commands: Sequence[Command]) -> None:
        for command in commands:
            if isinstance(command, PlaceOrder):
                self._place(command)
            elif isinstance(command, CancelOrder):
                state, filled = self._venue.cancel(command.order_id, command.time)
                ended = OrderEnded(
                    time=command.time, order_id=command.order_id, symbol=command.symbol, state=state,
                    reason="cancelled", filled=filled,
                )  # fmt: skip
                self._carry_out(self._trader.on_order_ended(ended))
            elif isinstance(command, MoveStop):
                self._move(command)
            elif isinstance(command, RecordTrade):
                self.outcome.trades.append(command.trade)
                self._note_equity(self._tape.now)
            elif isinstance(command, Refused):
                self.outcome.decisions.append(Decision(command.signal, command.gate, command.detail, command.judged))

    def _place(self, command: PlaceOrder) -> None:
        now, request, opening = self._tape.now, command.request, command.intent.opening
        if command.signal is not None:
            self.outcome.decisions.append(Decision(command.signal, "", "", command.judged))
        try:
            if opening is not None:
                self._venue.set_leverage(request.symbol, opening.leverage, now)
            self._venue.place(request, now)
        except Rejected as error:
            ended = OrderEnded(
                time=now, order_id=request.order_id, symbol=request.symbol, state=OrderState.REJECTED, reason=str(error)
            )
            self._carry_out(self._trader.on_order_ended(ended))
        else:
            self._busy.add(request.symbol)

    def _move(self, command: MoveStop) -> None:
        try:
            self._venue.set_stop(command.symbol, command.stop, command.time)
        except Rejected:
            self._carry_out(self._trader.on_stop_refused(command.digest, command.cause, command.time))
            return
        self._trader.on_stop_moved(
            StopMoved(
                time=command.time, digest=command.digest, symbol=command.symbol, stop=command.stop, cause=command.cause
            )
        )

    def _note_equity(self, time: int) -> None:
        self.outcome.equity.append((time, self._venue.equity))

    def _finish(self, since: int, until: int) -> None:
        self._tape.now = until
        self._mark(until)
        self._note_equity(until)
        self.outcome.open = sorted(held.symbol for held in self._trader.book.positions() if not held.pending)
        self.outcome.bars = sum(
            self._tape.closed(series, until) - self._tape.closed(series, since) for series in self._matched.values()
        )

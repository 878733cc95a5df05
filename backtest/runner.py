"""Lets the live trader trade on stored bars: the same decisions, weighed, sized and managed by the same code.

Nothing happens in most bars: no signal, no order touched, no stop to trail. Those are passed over; all others go
through the account and the trader exactly as a live batch of bars does.
"""

from __future__ import annotations

import contextlib
import gc
import heapq
from collections import defaultdict, deque
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from backtest.tape import first_touch
from domain.candle import ClosedBar, Series, timeframe_ms
from domain.errors import Rejected
from domain.exits import widen
from domain.order import OrderState, Side
from domain.records import OrderEnded, StopMoved
from engine.commands import CancelOrder, Command, MoveStop, PlaceOrder, RecordTrade, Refused, Remember

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from backtest.tape import Tape, Track
    from backtest.venue import Venue
    from domain.candle import Floats, Times
    from domain.judgement import Judgement
    from domain.records import Fill
    from domain.signal import Signal
    from domain.trade import Trade
    from engine.position import Position
    from engine.trader import Trader

DAY_MS = 86_400_000
NEVER = 2**62
NOBODY: frozenset[str] = frozenset()
IDLE = frozenset({Refused, Remember})
"""Commands that change nothing for anybody."""
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
def collecting_seldom() -> Iterator[None]:
    """Look for cycles of garbage less often: what a backtest makes it keeps, and looking through that takes a tenth."""
    usual = gc.get_threshold()
    gc.set_threshold(GARBAGE, usual[1], usual[2])
    try:
        yield
    finally:
        gc.set_threshold(*usual)


@dataclass(slots=True, eq=False)
class Lane:
    """One symbol on its way through the bars; times are UTC ms.

    Attributes:
        matched: bars that its orders are matched on.
        told: the finest bars that the trader is told of.
        spoken: all bars that the trader is told of, by timeframe.
        funding: its payments, None when nobody knows of any.
        due: when its orders or its position have to be looked at next.
        marked: row of ``matched`` whose close the account was told of last.
        folded: up to when the open position has been shown the bars that were passed over.
        funded: up to when funding has been paid.
    """

    symbol: str
    matched: Track
    told: Track
    spoken: dict[str, Track]
    funding: Funding | None
    due: int = NEVER
    marked: int = -1
    folded: int = 0
    funded: int = NEVER


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
        self._trader, self._venue, self._tape = trader, venue, tape
        spoken: dict[str, dict[str, Track]] = defaultdict(dict)
        for series in tape.series:
            if timeframe_ms(series.timeframe) >= timeframe_ms(told):
                spoken[series.symbol][series.timeframe] = tape.track(series)
        self._lanes: dict[str, Lane] = {}
        for symbol in sorted(series.symbol for series in tape.series if series.timeframe == finest):
            matched, tracks = tape.track(Series(symbol, finest)), spoken[symbol]
            self._lanes[symbol] = Lane(symbol, matched, tracks[told], tracks, funding.get(symbol))
        names = {name for tracks in spoken.values() for name in tracks}
        self._spoken = [(name, timeframe_ms(name)) for name in sorted(names, key=timeframe_ms, reverse=True)]
        self._signals: dict[int, set[str]] = defaultdict(set)
        for symbol, times in signal_times.items():
            for time in times:
                self._signals[time].add(symbol)
        self._agenda: list[tuple[int, str]] = []
        self._busy: set[str] = set()
        self._acts: dict[type, Callable[[Any], None]] = {
            PlaceOrder: self._place, CancelOrder: self._cancel, MoveStop: self._move, RecordTrade: self._keep,
            Refused: self._decide,
        }  # fmt: skip
        self.outcome = Outcome()

    def run(self, since: int, until: int, progress: Callable[[int], None] = lambda _: None) -> Outcome:
        """Play all bars that close in (since, until]; ``progress`` is told the time now and then."""
        midnights = range(-(-(since + 1) // DAY_MS) * DAY_MS, until + 1, DAY_MS)
        fixed = deque(sorted(time for time in {*self._signals, *midnights} if since < time <= until))
        self._trader.situation.market_time = since
        for symbol in self._lanes:
            self._trader.warm_up(symbol, NEVER)
        self._note_equity(since)
        agenda, day = self._agenda, 0
        while True:
            time, due = min(agenda[0][0] if agenda else NEVER, fixed[0] if fixed else NEVER), []
            if time > until:
                break
            if fixed and fixed[0] == time:
                fixed.popleft()
            while agenda and agenda[0][0] == time:
                # the agenda tells of a moment's symbols in their order; of one that has moved on it tells in vain
                lane = self._lanes[heapq.heappop(agenda)[1]]
                if lane.due == time:
                    due.append(lane)
                    lane.due = NEVER
            # a midnight at which nothing is held or asked for changes nothing: the day turns with the next bar told
            if due or self._busy or time in self._signals:
                self._play(time, due)
            if time >= day:
                day = (time // DAY_MS + 1) * DAY_MS
                progress(time)
        self._finish(since, until)
        return self.outcome

    def _play(self, time: int, due: list[Lane]) -> None:
        """Live through the moment at which bars close."""
        self._tape.now = time
        signalled, midnight = self._signals.get(time, NOBODY), time % DAY_MS == 0
        if not due and not midnight and all(map(self._lies_still, signalled)):
            # all that can come of it is that the signals are refused: nobody has to know what anything is worth
            self._carry_out(self._tell_only([self._lanes[symbol] for symbol in sorted(signalled)], time))
            return
        fills: list[Fill] = []
        for lane in due:
            fills += self._match(lane, time)
        # a live bot hears what came of its orders only when it has decided on all bars of the moment
        commands = self._take(fills) if fills else []
        lanes = [self._lanes[symbol] for symbol in sorted(self._busy | signalled)]
        moved = [lane for lane in lanes if lane.symbol in signalled or lane in due]
        deciding = [lane for lane in moved if self._has_to_decide(lane, signalled)]
        if deciding or midnight or commands:
            self._mark(lanes, time)
        if deciding or midnight:
            self._trader.situation.equity = equity = self._venue.equity
            if midnight:
                self.outcome.equity.append((time, equity))
            commands += self._tell(lanes, deciding, time)
        self._carry_out(commands)
        # signals that were only refused leave everything as it was
        if fills or not {type(command) for command in commands} <= IDLE:
            due = moved
        for lane in due:
            self._plan(lane, time)

    def _take(self, fills: Iterable[Fill]) -> list[Command]:
        """Tell the trader what was filled; have it make trades of what is flat then."""
        commands: list[Command] = []
        for fill in fills:
            commands += self._trader.on_fill(fill)
        for held in self._trader.flat():
            commands += self._trader.finish(held)
        return commands

    def _match(self, lane: Lane, time: int) -> list[Fill]:
        """Let a bar fill what it reaches of a symbol's orders."""
        row = lane.matched.closing(time)
        if row is None:
            return []
        bars, venue = lane.matched.bars, self._venue
        self._fold(lane, time - 1)
        if row and lane.marked != row - 1:
            # the account reads a bar from where the last one ended
            venue.mark(lane.symbol, bars.close.item(row - 1))
        was_flat = not venue.held(lane.symbol)
        fills = venue.on_bar(lane.symbol, bars.row(row), time)
        lane.marked = row
        if was_flat:
            lane.funded = bars.open_time.item(row)
        return fills + self._fund(lane, time) if lane.funding is not None else fills

    def _fund(self, lane: Lane, time: int) -> list[Fill]:
        """Pay the funding that fell due since the last look."""
        known = lane.funding
        assert known is not None
        first, last = known.times.searchsorted((lane.funded, time), side="right")
        lane.funded = time
        return [
            fill for row in range(first, last)
            for fill in self._venue.on_funding(lane.symbol, Decimal(repr(known.rates.item(row))), known.times.item(row))
        ]  # fmt: skip

    def _mark(self, lanes: Iterable[Lane], time: int) -> None:
        """Give the account the prices of the moment, and the trader those of the moment before."""
        for lane in lanes:
            row = lane.matched.closed(time) - 1
            if row >= 0 and row != lane.marked:
                self._venue.mark(lane.symbol, lane.matched.bars.close.item(row))
                lane.marked = row
            before = lane.told.closed(time - 1) - 1
            if before >= 0:
                self._trader.situation.prices[lane.symbol] = Decimal(repr(lane.told.bars.close.item(before)))

    def _batch(self, lanes: Iterable[Lane], time: int) -> Iterable[tuple[Lane, Track, int]]:
        """Return the bars to tell the trader of, in the order of a live batch."""
        batch = self._closing(lanes, time)
        if time % DAY_MS:
            return batch
        first = next(self._closing(self._lanes.values(), time), None)
        return [first, *(one for one in batch if one != first)] if first is not None else []

    def _closing(self, lanes: Iterable[Lane], time: int) -> Iterator[tuple[Lane, Track, int]]:
        """Yield the bars of symbols, in their order, that close at a time, those of the longest timeframe first."""
        for timeframe, step in self._spoken:
            if time % step:
                continue
            for lane in lanes:
                track = lane.spoken.get(timeframe)
                row = track.closing(time) if track is not None else None
                if track is not None and row is not None:
                    yield lane, track, row

    def _has_to_decide(self, lane: Lane, signalled: Collection[str]) -> bool:
        """Say whether a bar may lead the trader to anything: a signal, or a position that its bars move."""
        if lane.symbol in signalled:
            return True
        held = self._trader.book.of_symbol(lane.symbol)
        return held is not None and _is_moved(held)

    def _lies_still(self, symbol: str) -> bool:
        """Say whether there is a position, and nothing that a bar could lead the trader to do with it."""
        held = self._trader.book.of_symbol(symbol)
        return held is not None and not _is_moved(held)

    def _tell(self, lanes: Iterable[Lane], deciding: Collection[Lane], time: int) -> list[Command]:
        """Tell the trader of the bars that close: those that it has to decide on, and of the others just the price."""
        commands: list[Command] = []
        situation, turning = self._trader.situation, time % DAY_MS == 0
        for lane, track, row in self._batch(lanes, time):
            if lane in deciding:
                commands += self._ask(lane, track, row, time)
            else:
                situation.prices[lane.symbol] = Decimal(repr(track.bars.close.item(row)))
                situation.market_time = max(situation.market_time, time)
                # whichever bar is told first turns the day
                commands += self._trader.turn_of_day(time) if turning else ()
            turning = False
        return commands

    def _tell_only(self, lanes: Sequence[Lane], time: int) -> list[Command]:
        """Tell the trader of the bars of some symbols."""
        return [done for lane, track, row in self._closing(lanes, time) for done in self._ask(lane, track, row, time)]

    def _ask(self, lane: Lane, track: Track, row: int, time: int) -> list[Command]:
        held = self._trader.book.of_symbol(lane.symbol)
        if held is not None and held.opening.plan.trail_start_r and held.opening.timeframe == track.series.timeframe:
            self._fold(lane, time - 1)
        return self._trader.on_bar(ClosedBar(track.series, track.bars.row(row)))

    def _fold(self, lane: Lane, until: int) -> None:
        """Show an open position the extremes of the bars that were passed over, up to a time.

        Its stop stays where the exchange has it, as it does in the trader.
        """
        held = self._trader.book.of_symbol(lane.symbol)
        if held is None or held.pending or held.flat:
            return
        track = lane.spoken[held.opening.timeframe]
        # the bar in which a position was opened is the first that it is managed on
        begin = max(lane.folded, held.opening.bar_start, held.bracket.opened_at // track.step * track.step)
        first, last = track.opening(begin), track.closed(until)
        if first < last:
            held.bracket = widen(held.bracket, *track.extremes(first, last))
            lane.folded = track.close_time(last - 1)

    def _plan(self, lane: Lane, time: int) -> None:
        """Find out when a symbol has to be looked at next."""
        held = self._trader.book.of_symbol(lane.symbol)
        if held is None and not self._venue.orders(lane.symbol):
            self._busy.discard(lane.symbol)
            lane.due = NEVER
            return
        self._busy.add(lane.symbol)
        lane.due = min(self._next_match(lane, time), self._next_manage(lane, held, time))
        if lane.due < NEVER:
            heapq.heappush(self._agenda, (lane.due, lane.symbol))

    def _next_match(self, lane: Lane, time: int) -> int:
        """Return when the next bar closes that may fill an order, or that funding falls due in."""
        track, row = lane.matched, lane.matched.closed(time)
        if row >= len(track):
            return NEVER
        levels = self._venue.levels(lane.symbol)
        if levels is None:
            return track.close_time(row)
        touched, known = first_touch(track.bars.high, track.bars.low, row, *levels), lane.funding
        if known is not None and self._venue.held(lane.symbol):
            place = int(known.times.searchsorted(time, side="right"))
            if place < len(known.times):
                touched = min(touched, max(row, track.opening(known.times.item(place) - track.step)))
        return track.close_time(touched) if touched < len(track) else NEVER

    def _next_manage(self, lane: Lane, held: Position | None, time: int) -> int:
        """Return when the next bar closes on which the trader has something to do about a position."""
        if held is None:
            return NEVER
        track, plan = lane.spoken[held.opening.timeframe], held.opening.plan
        row, found = track.closed(time), len(track)
        if held.pending or held.leaving or held.flat:
            found = row
        elif plan.timeout_ms:
            found = track.opening(held.bracket.opened_at + plan.timeout_ms - track.step)
        if plan.trail_start_r and not held.pending and row < len(track):
            long, bracket = held.opening.side is Side.LONG, held.bracket
            start = bracket.entry + held.opening.side.sign * Decimal(str(plan.trail_start_r)) * bracket.risk
            far = start if not bracket.best else (max if long else min)(start, bracket.best)
            above, below = (float(far) * (1 - NOTHING), -np.inf) if long else (np.inf, float(far) * (1 + NOTHING))
            found = min(found, first_touch(track.bars.high, track.bars.low, row, above, below))
        found = max(row, found)
        return track.close_time(found) if found < len(track) else NEVER

    def _carry_out(self, commands: Sequence[Command]) -> None:
        for command in commands:
            act = self._acts.get(type(command))
            if act is not None:
                act(command)

    def _decide(self, refused: Refused) -> None:
        self.outcome.decisions.append(Decision(refused.signal, refused.gate, refused.detail, refused.judged))

    def _keep(self, finished: RecordTrade) -> None:
        self.outcome.trades.append(finished.trade)
        self._note_equity(self._tape.now)

    def _cancel(self, command: CancelOrder) -> None:
        state, filled = self._venue.cancel(command.order_id, command.time)
        ended = OrderEnded(
            time=command.time, order_id=command.order_id, symbol=command.symbol, state=state,
            reason="cancelled", filled=filled,
        )  # fmt: skip
        self._carry_out(self._trader.on_order_ended(ended))

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
            if opening is not None:
                self._lanes[request.symbol].folded = 0

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
        self._mark([self._lanes[symbol] for symbol in self._busy], until)
        self._note_equity(until)
        self.outcome.open = sorted(held.symbol for held in self._trader.book.positions() if not held.pending)
        self.outcome.bars = sum(
            lane.matched.closed(until) - lane.matched.closed(since) for lane in self._lanes.values()
        )  # fmt: skip


def _is_moved(held: Position) -> bool:
    """Say whether bars move a position; a stop and a target that lie still are the exchange's business."""
    plan = held.opening.plan
    return held.pending or held.leaving or bool(plan.trail_start_r or plan.partial_r or plan.timeout_ms)

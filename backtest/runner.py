"""Lets the live trader trade on stored bars: the same decisions, weighed, sized and managed by the same code.

Nothing happens in most bars: no signal, no order touched, no stop to trail. Those are passed over; all others go
through the account and the trader exactly as a live batch of bars does.
"""

from __future__ import annotations

import bisect
import contextlib
import gc
import heapq
from collections import defaultdict, deque
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.outcome import REJECTED, Decision, Holdings, OpenPosition, Outcome
from backtest.tape import first_touch
from domain.account_state import Payment
from domain.candle import ClosedBar, Series, decimal_of, timeframe_ms
from domain.durations import DAY_MS
from domain.errors import BadData, Rejected
from domain.exits import widen, widen_last
from domain.order import Cause, OrderState, Side
from domain.records import OrderEnded, StopMoved
from domain.trade import ZERO
from engine.commands import CancelOrder, Command, MoveStop, PlaceOrder, RecordTrade, Refused, Remember, SwitchedOff
from engine.managing import REFUSED

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from backtest.outcome import Funding
    from backtest.rules import RulesInForce
    from backtest.tape import Tape, Track
    from backtest.venue import Venue
    from domain.records import Fill
    from engine.position import Position
    from engine.trader import Trader

NEVER = 2**62
NOBODY: frozenset[str] = frozenset()
IDLE = frozenset({Refused, Remember})
"""Commands that change nothing for anybody."""
GARBAGE = 200_000
"""New objects after which cycles of garbage are looked for."""
NOTHING = 1e-12
"""Float prices are compared this fraction early: what is looked at once too often does no harm."""


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
        opened: when the order was sent that its position came from.
        leaves: when strategies say leave, by name, in the order of time.
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
    opened: int = NEVER
    leaves: dict[str, Sequence[int]] = field(default_factory=dict)


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
        rules: moves the trading rules that trader and venue share; they stay as they are without.
        leaves: when strategies say leave, by their name and the symbol, in the order of time.
    """

    def __init__(
        self, trader: Trader, venue: Venue, tape: Tape, signal_times: Mapping[str, Iterable[int]], finest: str,
        told: str, funding: Mapping[str, Funding], rules: RulesInForce | None = None,
        leaves: Mapping[tuple[str, str], Sequence[int]] | None = None,
    ) -> None:  # fmt: skip
        self._trader, self._venue, self._tape, self._rules = trader, venue, tape, rules
        spoken: dict[str, dict[str, Track]] = defaultdict(dict)
        for series in tape.series:
            if timeframe_ms(series.timeframe) >= timeframe_ms(told):
                spoken[series.symbol][series.timeframe] = tape.track(series)
        self._lanes: dict[str, Lane] = {}
        for symbol in sorted(series.symbol for series in tape.series if series.timeframe == finest):
            matched, tracks = tape.track(Series(symbol, finest)), spoken[symbol]
            self._lanes[symbol] = Lane(symbol, matched, tracks[told], tracks, funding.get(symbol))
        for (strategy, symbol), left in (leaves or {}).items():
            self._lanes[symbol].leaves[strategy] = left
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
            Refused: self._decide, SwitchedOff: self._fail,
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
        self._note_holdings(since)
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
        self._turn_rules(lanes, time)
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
            self._show_last(self._lanes[held.symbol], held)
            commands += self._trader.finish(held)
        self._note_holdings(self._tape.now)
        return commands

    def _show_last(self, lane: Lane, held: Position) -> None:
        """Show a position what it has not seen yet of the bars up to its end."""
        matched = lane.matched
        row = matched.closing(self._tape.now)
        if row is None:
            return
        begin = max(lane.folded, held.opening.bar_start, held.bracket.opened_at // matched.step * matched.step)
        if (first := matched.opening(begin)) < row:
            held.bracket = widen(held.bracket, *matched.extremes(first, row))
        if held.last_time > matched.bars.open_time.item(row):
            left = next(one.price for one in reversed(held.fills.values()) if one.time == held.last_time)
            held.bracket = widen_last(held.bracket, matched.bars.high.item(row), matched.bars.low.item(row), left)

    def _turn_rules(self, lanes: Iterable[Lane], time: int) -> None:
        """Put the rules of a time in force."""
        for lane in lanes:
            if self._rules is not None and self._rules.changes(lane.symbol):
                busy = self._venue.held(lane.symbol) or self._venue.orders(lane.symbol)
                self._rules.move(lane.symbol, time, lane.opened if busy else time)

    def _match(self, lane: Lane, time: int) -> list[Fill]:
        """Let a bar fill what it reaches of a symbol's orders."""
        row = lane.matched.closing(time)
        if row is None:
            return []
        bars, venue = lane.matched.bars, self._venue
        self._fold(lane, time - 1)
        self._turn_rules([lane], bars.open_time.item(row))
        if row and lane.marked != row - 1:
            # the account reads a bar from where the last one ended
            venue.mark(lane.symbol, bars.close.item(row - 1))
        was_flat = not venue.held(lane.symbol)
        lane.marked = row
        if was_flat:
            lane.funded = bars.open_time.item(row)
        return venue.on_bar(lane.symbol, bars.row(row), time, self._payments(lane, time))

    @staticmethod
    def _payments(lane: Lane, time: int) -> list[Payment]:
        """Return the funding payments that fell due since the last look."""
        known = lane.funding
        if known is None:
            return []
        first, last = known.times.searchsorted((lane.funded, time), side="right")
        lane.funded = time
        return [Payment(known.times.item(row), Decimal(repr(known.rates.item(row)))) for row in range(first, last)]

    def _mark(self, lanes: Iterable[Lane], time: int) -> None:
        """Give the account the prices of the moment, and the trader those of the moment before."""
        for lane in lanes:
            row = lane.matched.closed(time) - 1
            if row >= 0 and row != lane.marked:
                self._venue.mark(lane.symbol, lane.matched.bars.close.item(row))
                lane.marked = row
            before = lane.told.closed(time - 1) - 1
            if before >= 0:
                self._trader.situation.prices[lane.symbol] = decimal_of(lane.told.bars.close.item(before))

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
        return held is not None and self._is_moved(held, lane)

    def _lies_still(self, symbol: str) -> bool:
        """Say whether there is a position, and nothing that a bar could lead the trader to do with it."""
        held = self._trader.book.of_symbol(symbol)
        return held is not None and not self._is_moved(held, self._lanes[symbol])

    def _tell(self, lanes: Iterable[Lane], deciding: Collection[Lane], time: int) -> list[Command]:
        """Tell the trader of the bars that close: those that it has to decide on, and of the others just the price."""
        commands: list[Command] = []
        situation, turning = self._trader.situation, time % DAY_MS == 0
        for lane, track, row in self._batch(lanes, time):
            if lane in deciding:
                commands += self._ask(lane, track, row, time)
            else:
                situation.prices[lane.symbol] = decimal_of(track.bars.close.item(row))
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
        if held is not None and held.opening.plan.trails and held.opening.timeframe == track.series.timeframe:
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
        if held.pending or held.leaving or held.flat or self._manages(held):
            found = row
        elif plan.timeout_ms:
            found = track.opening(held.bracket.opened_at + plan.timeout_ms - track.step)
        if plan.trails and not held.pending and row < len(track):
            long, bracket = held.opening.side is Side.LONG, held.bracket
            start = bracket.trail_price
            far = start if not bracket.best else (max if long else min)(start, bracket.best)
            above, below = (float(far) * (1 - NOTHING), -np.inf) if long else (np.inf, float(far) * (1 + NOTHING))
            found = min(found, first_touch(track.bars.high, track.bars.low, row, above, below))
        if plan.roi and not held.pending:
            sign, close = held.opening.side.sign, track.bars.close
            least = float(held.bracket.entry * (1 + sign * min(fraction for _, fraction in plan.roi)))
            above, below = (least * (1 - NOTHING), -np.inf) if sign > 0 else (np.inf, least * (1 + NOTHING))
            found = min(found, first_touch(close, close, row, above, below))
        leaves = lane.leaves.get(held.opening.strategy, ())
        if (place := bisect.bisect_right(leaves, time)) < len(leaves):
            found = min(found, track.opening(leaves[place] - track.step))
        found = max(row, found)
        return track.close_time(found) if found < len(track) else NEVER

    def _carry_out(self, commands: Sequence[Command]) -> None:
        for command in commands:
            act = self._acts.get(type(command))
            if act is not None:
                act(command)

    def _decide(self, refused: Refused) -> None:
        self.outcome.decisions.append(Decision(refused.signal, refused.gate, refused.detail, refused.judged))

    @staticmethod
    def _fail(switched_off: SwitchedOff) -> None:
        raise BadData(f"strategy {switched_off.strategy}: {switched_off.reason}")

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
        gate, why = "", ""
        try:
            if opening is not None:
                self._venue.set_leverage(request.symbol, opening.leverage, now)
            self._venue.place(request, now)
        except Rejected as error:
            gate, why = REJECTED, str(error)
            ended = OrderEnded(
                time=now, order_id=request.order_id, symbol=request.symbol, state=OrderState.REJECTED, reason=str(error)
            )
            self._carry_out(self._trader.on_order_ended(ended))
        else:
            self._busy.add(request.symbol)
            if opening is not None:
                lane = self._lanes[request.symbol]
                lane.folded, lane.opened = 0, now
        if command.signal is not None:
            self.outcome.decisions.append(Decision(command.signal, gate, why, command.judged))
        elif gate:
            self.outcome.rejected[f"{command.intent.cause.value}_rejected"] += 1

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
        self._note_holdings(until)
        if refused := self._trader.counts[REFUSED]:
            self.outcome.rejected[REFUSED] = refused
        there = sorted(self._trader.book.positions(), key=lambda held: held.symbol)
        self.outcome.open = [self._open(held) for held in there if not held.pending]
        self.outcome.bars = sum(
            lane.matched.closed(until) - lane.matched.closed(since) for lane in self._lanes.values()
        )  # fmt: skip

    def _note_holdings(self, time: int) -> None:
        self.outcome.holdings.append(Holdings(time, float(self._venue.wallet), self._venue.holdings()))

    def _open(self, held: Position) -> OpenPosition:
        paid = held.fills.values()
        fees, funding = (
            sum((one.fee for one in paid if (one.cause is Cause.FUNDING) is due), ZERO) for due in (False, True)
        )
        return OpenPosition(
            held.symbol, held.opening.side.value, held.bracket.opened_at, held.entry_price, held.qty, fees, funding,
            held.unrealised(self._venue.price(held.symbol)),
        )  # fmt: skip

    def _is_moved(self, held: Position, lane: Lane) -> bool:
        """Say whether bars move a position; a stop and a target that lie still are the exchange's business."""
        plan, left = held.opening.plan, held.opening.strategy in lane.leaves
        moved = plan.trails or plan.partial_r or plan.timeout_ms or plan.roi
        return held.pending or held.leaving or left or bool(moved) or self._manages(held)

    def _manages(self, held: Position) -> bool:
        """Say whether a position's strategy wants to be asked about it on every bar."""
        return self._trader.decisions.manages(held.opening.strategy)

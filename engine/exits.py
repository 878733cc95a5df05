"""How positions are left: stops that move, partial targets, timeouts, exits, and orders that are withdrawn."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from domain import ids
from domain.candle import decimal_of, timeframe_ms
from domain.errors import BadData
from domain.exits import after_partial, tighten, time_to_leave, timed_out, trail, widen
from domain.order import Cause, OrderKind, OrderRequest, Side
from domain.records import Abandoned
from domain.trade import ZERO
from engine.commands import CancelOrder, Command, MoveStop, PlaceOrder, Remember, intent_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from domain.candle import ClosedBar
    from domain.instrument import Instrument
    from engine.position import Position
    from engine.positions import Book
    from engine.situation import Situation

PARTIAL_ATTEMPTS_MAX = 3
EXIT_ATTEMPTS_MAX = 999
"""Failed attempts in a row up to which an exit is told often; it is never given up, however many there are."""

BAR_LATE_MS = 5_000
"""So long after it closed a bar is waited for before time is told by the clock instead."""


class Exits:
    """Decides how positions of a book are managed and closed; ``paper`` marks order ids."""

    def __init__(
        self, book: Book, situation: Situation, instruments: Mapping[str, Instrument], *, paper: bool,
        unfilled_timeout_ms: int,
    ) -> None:  # fmt: skip
        self._book, self._situation, self._instruments = book, situation, instruments
        self._paper, self._unfilled_timeout_ms = paper, unfilled_timeout_ms

    def exit(self, held: Position, cause: Cause, time: int) -> list[Command]:
        """Close what is open of a position at the market, unless that is under way; its entry is withdrawn.

        What is larger than the largest order goes out slice by slice: each one that has filled leads to the next.
        """
        commands = self.withdraw_entry(held, time)
        if held.exit_order or held.qty <= 0:
            return commands
        order_id = ids.order_id(held.digest, "x", held.exit_attempts, paper=self._paper)
        qty, whole = self._slice(held)
        request = OrderRequest(
            order_id, held.symbol, held.opening.side.exit, OrderKind.MARKET, qty, reduce_only=True, whole=whole
        )
        return [*commands, self._place(request, cause, time)]

    def _slice(self, held: Position) -> tuple[Decimal, bool]:
        """Return how much the next exit takes, and whether it has to ask for all: no order has that quantity."""
        instrument = self._instruments.get(held.symbol)
        if instrument is None:
            return held.qty, False
        qty = instrument.slice_qty(held.qty)
        if instrument.fits(qty):
            return qty, False
        fitting = instrument.floor_qty(qty)
        # as much as fits goes first: what asks for all may close more than is ours
        return (fitting, False) if instrument.fits(fitting) else (min(held.qty, instrument.max_qty), True)

    def leave(self, held: Position, time: int) -> list[Command]:
        """Get out of a position because the operator says so.

        An entry that has not filled is cancelled; should it fill all the same, it is closed at once, after a restart
        too.
        """
        if not held.pending:
            return self.exit(held, Cause.FORCE_EXIT, time)
        commands: list[Command] = []
        if not held.unwanted:
            abandoned = Abandoned(time=time, digest=held.digest)
            self._book.apply(abandoned)
            commands.append(Remember(abandoned))
        return commands + self.withdraw_entry(held, time)

    def reduce(self, held: Position, qty: Decimal, time: int) -> list[Command]:
        """Close a part of a position at the market because the operator says so; stop and target stay for the rest.

        Raises:
            BadData: when the position cannot be left in part now, or the exchange's rules have no such part.
        """
        instrument, parts = self._instruments.get(held.symbol), held.reductions
        if not held.entry_ended or held.flat or held.unwanted:
            raise BadData("its entry has not ended yet: close all of it, or try again once it has")
        if held.exit_attempts:
            raise BadData("it is being closed already")
        if any(not one.settled for one in parts):
            raise BadData("what became of the part before is not known yet: ask again in a moment")
        part = instrument.floor_qty(qty) if instrument is not None else ZERO
        if instrument is None or not instrument.fits(part) or part > instrument.max_qty:
            raise BadData(f"the exchange takes no order for {qty.normalize():f} of {held.qty}")
        if held.qty - part < instrument.min_qty:
            raise BadData(f"too little would be left of {held.qty}: close all of it")
        order_id = ids.order_id(held.digest, "r", len(parts), paper=self._paper)
        request = OrderRequest(order_id, held.symbol, held.opening.side.exit, OrderKind.MARKET, part, reduce_only=True)
        return [self._place(request, Cause.FORCE_EXIT, time)]

    def withdraw_entry(self, held: Position, time: int) -> list[Command]:
        """Cancel what an entry may still add."""
        return [CancelOrder(held.symbol, held.entry_order, time)] if held.entry_rest else []

    def manage(self, held: Position, closed: ClosedBar, *, leave: bool = False) -> list[Command]:
        """Return what a closed bar of its timeframe calls for in a position: a moved stop, an exit, a withdrawal.

        ``leave`` says that its strategy wants out; an entry that has not filled is withdrawn then.
        """
        now = closed.close_time
        if held.flat or held.unwanted:
            return self.withdraw_entry(held, now)
        if held.pending:
            return self.withdraw_entry(held, now) if leave else self._expire(held, now)
        if held.leaving:
            return self.exit(held, held.exit_cause, now)
        return [*self._expire(held, now), *self._follow_bar(held, closed, leave=leave)]

    def _follow_bar(self, held: Position, closed: ClosedBar, *, leave: bool) -> list[Command]:
        now = closed.close_time
        if closed.bar.open_time < held.opening.bar_start or held.observed_until >= now:
            return []
        held.observed_until = now
        held.bracket = widen(held.bracket, closed.bar.high, closed.bar.low)
        wanted = trail(held.bracket)
        if cause := time_to_leave(held.bracket, closed.bar.close, now, leave=leave):
            return self.exit(held, cause, now)
        if self._partial_done(held):
            # asked for again on every bar until the exchange has it
            wanted = after_partial(wanted)
        asked = held.wanted
        wanted = tighten(wanted, asked.stop, asked.stop_cause)
        moved = self._move_stop(held, wanted.stop, wanted.stop_cause, now) if wanted.stop != held.bracket.stop else []
        # a stop that the price has passed takes all of it off
        passed = moved and held.opening.side.sign * (decimal_of(closed.bar.close) - wanted.stop) <= 0
        return moved if passed else [*moved, *self._take_part(held, now)]

    def overdue(self, now: int) -> list[Command]:
        """Return what time alone calls for at a market time: entries and positions that have outlived their plan.

        A symbol that is silent closes no bars. Where it is not, its own bar decides, as in a backtest: this waits until
        the bar that should have is overdue.
        """
        commands: list[Command] = []
        for held in self._book.positions():
            if held.flat or held.unwanted or held.leaving:
                continue
            first, step = held.opening.bar_start, timeframe_ms(held.opening.timeframe)
            closed = first + (now - BAR_LATE_MS - first) // step * step
            commands += self._expire(held, closed)
            if not held.pending and timed_out(held.bracket, closed):
                commands += self.exit(held, Cause.TIMEOUT, now)
        return commands

    def _expire(self, held: Position, now: int) -> list[Command]:
        if now - held.intended_at < self._unfilled_timeout_ms:
            return []
        return self.withdraw_entry(held, now)

    def pursue(self, held: Position, time: int) -> list[Command]:
        """Return what is still to be done of what was decided: the partial target's order, a part, a moved stop."""
        done = self._partial_done(held)
        wanted = after_partial(held.wanted) if done else held.wanted
        commands = [] if done else self._take_partial(held, time)
        if wanted.stop != held.bracket.stop:
            commands += self._move_stop(held, wanted.stop, wanted.stop_cause, time)
        return [*commands, *self._take_part(held, time)]

    def retry_partial(self, refused: OrderRequest, time: int) -> list[Command]:
        """Return the order for the partial target again where the rules, read anew, explain why it was refused."""
        name, instrument = ids.parse_order_id(refused.order_id), self._instruments.get(refused.symbol)
        held = self._book.find(name.digest) if name is not None else None
        if held is None or held.flat or held.unwanted or instrument is None or refused.price is None:
            return []
        explained = instrument.price(refused.price) != refused.price or not instrument.fits(refused.qty)
        return self._take_partial(held, time) if explained else []

    def _partial_done(self, held: Position) -> bool:
        """Return whether the partial target counts as taken: all of it, or all but what is too little for an order."""
        if held.partial_taken or not held.partial_filled or held.partial_order:
            return held.partial_taken
        instrument = self._instruments.get(held.symbol)
        return instrument is not None and held.partial_planned - held.partial_filled < instrument.min_qty

    def _take_partial(self, held: Position, time: int) -> list[Command]:
        """Return the order for the partial target: a share of the whole position, once its entry has ended."""
        price, instrument = held.bracket.partial_price, self._instruments.get(held.symbol)
        spent = held.partial_attempts - len(held.outgrown) >= PARTIAL_ATTEMPTS_MAX
        if price is None or instrument is None or spent or not held.entry_ended:
            return []
        planned = instrument.floor_qty(held.opened * Decimal(str(held.opening.plan.partial_fraction)))
        if held.partial_order:
            return self._outgrow_partial(held, planned, time)
        qty = min(planned - held.partial_filled, held.qty)
        if qty < instrument.min_qty or held.qty - qty < instrument.min_qty:
            return []
        request = OrderRequest(
            ids.order_id(held.digest, "p", held.partial_attempts, paper=self._paper), held.symbol,
            held.opening.side.exit, OrderKind.LIMIT, qty, instrument.price(price), reduce_only=True,
        )  # fmt: skip
        return [self._place(request, Cause.PARTIAL, time)]

    def _outgrow_partial(self, held: Position, planned: Decimal, time: int) -> list[Command]:
        """Withdraw a partial target that has become too small, so that one of the right size takes its place."""
        order = held.orders[held.partial_order]
        if not order.working or held.partial_planned >= planned:
            return []
        held.outgrown.add(order.order_id)
        return [CancelOrder(held.symbol, order.order_id, time)]

    def _take_part(self, held: Position, time: int) -> list[Command]:
        """Return the order for what its strategy wants off, once its entry has ended; what is too little stays."""
        instrument = self._instruments.get(held.symbol)
        if instrument is None or held.surplus <= 0 or not held.entry_ended or held.part_order:
            return []
        if held.exit_order or held.leaving or held.unwanted or held.part_failures >= PARTIAL_ATTEMPTS_MAX:
            return []
        if any(not one.settled for one in held.reductions):
            # what the operator is closing is not known to be gone yet
            return []
        qty = instrument.floor_qty(min(held.surplus, instrument.max_qty))
        if qty < instrument.min_qty or held.qty - qty < instrument.min_qty:
            return []
        request = OrderRequest(
            ids.order_id(held.digest, "t", held.part_attempts, paper=self._paper), held.symbol,
            held.opening.side.exit, OrderKind.MARKET, qty, reduce_only=True,
        )  # fmt: skip
        return [self._place(request, Cause.PARTIAL, time)]

    def _move_stop(self, held: Position, stop: Decimal, cause: Cause, time: int) -> list[Command]:
        instrument = self._instruments.get(held.symbol)
        if instrument is None:
            return []
        rounded = instrument.price_down(stop) if held.opening.side is Side.LONG else instrument.price_up(stop)
        if held.opening.side.sign * (rounded - held.bracket.stop) < instrument.tick:
            return []
        held.known_stops.add(rounded)
        return [MoveStop(held.digest, held.symbol, rounded, cause, time, held.opening.side)]

    def tidy(self, symbol: str = "") -> list[Command]:
        """Cancel what nothing is to come of any more, in one symbol or in all.

        That is what is left over of recorded positions, and the rest of entries whose position is closed or closing.
        """
        now = self._situation.market_time
        left = self._book.leftovers.items()
        commands: list[Command] = [CancelOrder(where, order, now) for order, where in left if symbol in {"", where}]
        for held in self._book.positions():
            if symbol in {"", held.symbol} and (held.flat or held.unwanted or held.leaving or held.exit_order):
                commands += self.withdraw_entry(held, now)
        return commands

    def _place(self, request: OrderRequest, cause: Cause, time: int) -> PlaceOrder:
        intent = intent_of(request, cause, time)
        # the book learns at once, so that the next bar does not decide the same again
        self._book.apply(intent)
        return PlaceOrder(intent, request)

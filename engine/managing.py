"""Asks strategies about the positions of their own, bar by bar, and writes down what they decide."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from domain.candle import Series, timeframe_ms
from domain.errors import BadData
from domain.exits import widen
from domain.holding import holding_of, stop_asked
from domain.records import Managed
from domain.signal import Leave
from domain.trade import ZERO
from engine.commands import AdjustRefused, Command, Remember

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping

    from domain.candle import Bar, ClosedBar
    from domain.exits import Bracket
    from domain.holding import Adjust
    from domain.instrument import Instrument
    from engine.decisions import Decisions
    from engine.position import Position
    from engine.positions import Book

REFUSED = "adjust_refused"


class Managing:
    """Between strategies, which want something of their positions, and the book, which keeps it.

    ``counts`` is told of what was refused.
    """

    def __init__(
        self, book: Book, decisions: Decisions, instruments: Mapping[str, Instrument], counts: Counter[str]
    ) -> None:
        self._book, self._decisions, self._instruments, self._counts = book, decisions, instruments, counts
        self._told: set[str] = set()

    def on_bar(self, held: Position, closed: ClosedBar) -> tuple[bool, list[Command]]:
        """Return whether its strategy leaves a position as a bar of its timeframe closes, and what it decided else."""
        series, start = closed.series, closed.bar.open_time
        if self._decisions.leaves.on_bar(held.opening.strategy, series, start, held.opening.side):
            return True, []
        idle = held.pending or held.flat or held.unwanted or held.leaving or bool(held.exit_order)
        seen = start < held.opening.bar_start or held.observed_until >= closed.close_time
        if idle or seen or not self._decisions.manages(held.opening.strategy, series.timeframe):
            return False, []
        return self._ask(held, widen(held.wanted, closed.bar.high, closed.bar.low), closed.bar)

    def catch_up(self, held: Position) -> tuple[bool, list[Command]]:
        """Return the same for the bars that nobody has acted on: those since the last decision that was written down.

        Each is asked about as the position stood when it closed.
        """
        timeframe, strategy = held.opening.timeframe, held.opening.strategy
        opened_at, since = max(held.bracket.opened_at, held.intended_at), held.decided_until
        # at which price a leave came nobody knows any more, so one that needs a gain waits for the next
        left = self._decisions.leaves.since(strategy, Series(held.symbol, timeframe), opened_at, held.opening.side)
        if left and held.opening.plan.least_gain is None:
            return True, []
        if not self._decisions.manages(strategy, timeframe):
            return False, []
        commands: list[Command] = []
        bars = self._decisions.until(held.symbol, timeframe, 2**62)
        first = int(bars.open_time.searchsorted(held.opening.bar_start, side="right"))
        seen = msgspec.structs.replace(held.bracket, best=ZERO, worst=ZERO)
        for bar in bars[first:].copy().rows():
            seen = widen(seen, bar.high, bar.low)
            if bar.open_time + timeframe_ms(timeframe) <= since:
                continue
            bracket = msgspec.structs.replace(held.wanted, best=seen.best, worst=seen.worst)
            leave, decided = self._ask(held, bracket, bar)
            commands += decided
            if leave:
                return True, commands
        return False, commands

    def _ask(self, held: Position, bracket: Bracket, bar: Bar) -> tuple[bool, list[Command]]:
        series, step = Series(held.symbol, held.opening.timeframe), timeframe_ms(held.opening.timeframe)
        now, bars = bar.open_time + step, (bar.open_time - held.opening.bar_start) // step
        holding = holding_of(held.symbol, bracket, bar.close, held.remaining(now), bars, held.parts_taken(now))
        said = self._decisions.manage(held.opening.strategy, series, bar.open_time, holding)
        if isinstance(said, Leave):
            return said.means(held.opening.side), []
        return False, self._adjust(held, said, now) if said is not None else []

    def _adjust(self, held: Position, said: Adjust, now: int) -> list[Command]:
        """Write down what is to become of a position, where that is news."""
        rules = self._instruments.get(held.symbol)
        if rules is None:
            return []
        before = held.managed or Managed(time=0, digest=held.digest, symbol=held.symbol)
        stop, keep = before.stop, before.keep
        refused: list[Command] = []
        try:
            asked = stop_asked(said, held.bracket, rules)
            # a stop only ever tightens: what is looser than the one in force leaves it where it is
            if asked and held.opening.side.sign * (asked - held.wanted.stop) >= rules.tick:
                stop = asked
        except BadData as error:
            refused = self._refuse(held, str(error))
        if said.keep is not None:
            keep = min(keep, Decimal(str(said.keep)))
        made = Managed(time=now, digest=held.digest, symbol=held.symbol, stop=stop, keep=keep)
        if msgspec.structs.replace(made, time=before.time) == before:
            return refused
        self._book.apply(made)
        return [*refused, Remember(made)]

    def _refuse(self, held: Position, reason: str) -> list[Command]:
        self._counts[REFUSED] += 1
        strategy = held.opening.strategy
        if strategy in self._told:
            return []
        self._told.add(strategy)
        return [AdjustRefused(strategy, held.symbol, reason)]

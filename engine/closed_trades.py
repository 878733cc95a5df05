"""Trades that have ended, in the order of their exits, and what was concluded from the time before each of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, pairwise
from typing import TYPE_CHECKING, NamedTuple, overload

if TYPE_CHECKING:
    from collections.abc import Hashable
    from decimal import Decimal

    from domain.trade import Trade

CLOSED_MAX = 5_000
LATER_MAX = 100
EVERY = ""


class Exit(NamedTuple):
    """A trade's exit: its market time (UTC ms), its number in the order of exits, and the trade."""

    at: int
    number: int
    trade: Trade


class Line:
    """The exits of a symbol, or of all, and what was concluded at each: that is concluded once."""

    def __init__(self, most: int) -> None:
        self._exits: deque[Exit] = deque(maxlen=most)
        self._most = most
        self._verdicts: dict[Hashable, dict[int, bool | Decimal]] = {}

    def add(self, ended: Exit) -> None:
        """Take the newest exit."""
        self._exits.append(ended)

    def copy(self) -> Line:
        """Return the same for another thread, with all that has been concluded."""
        other = Line(self._most)
        other._exits = self._exits.copy()
        other._verdicts = {rule: known.copy() for rule, known in self._verdicts.items()}
        return other

    def newest_first(self) -> Iterator[tuple[int, Exit]]:
        """Yield how many exits were later, and the exit."""
        return enumerate(reversed(self._exits))

    def judged(
        self, rule: Hashable, later: int, after: int, judge: Callable[[Sequence[Trade]], bool | Decimal]
    ) -> bool | Decimal:
        """Return what a rule concludes at the exit that ``later`` others followed, from the trades up to it.

        ``after`` is the market time (UTC ms) from which on it looks at them. Nothing that comes later changes it.
        """
        known = self._verdicts.setdefault(rule, {})
        number = self._exits[-1 - later].number
        if number not in known:
            if len(known) >= 2 * self._most:
                oldest = self._exits[0].number
                self._verdicts[rule] = known = {one: verdict for one, verdict in known.items() if one >= oldest}
            known[number] = judge(self._window(later, after))
        return known[number]

    def _window(self, later: int, after: int) -> list[Trade]:
        window = []
        for ended in islice(reversed(self._exits), later, None):
            if ended.at <= after:
                break
            window.append(ended.trade)
        window.reverse()
        return window


class ClosedTrades(Sequence["Trade"]):
    """The newest trades that have ended, oldest exit first."""

    def __init__(self, trades: Iterable[Trade] = (), most: int = CLOSED_MAX) -> None:
        self._most = most
        self._take(())
        self.extend(trades)

    @classmethod
    def of(cls, trades: Sequence[Trade]) -> ClosedTrades:
        """Return trades in this form."""
        return trades if isinstance(trades, ClosedTrades) else cls(trades)

    def append(self, trade: Trade) -> None:
        """Take a trade that has ended; one that is told late goes where its exit belongs."""
        self.extend((trade,))

    def extend(self, trades: Iterable[Trade]) -> None:
        """Take trades that have ended; those that are told late go where their exits belong."""
        told = list(trades)
        newest = self._trades[-1].exit_time if self._trades else None
        if any(one.exit_time < before.exit_time for before, one in pairwise(told)) or (
            newest is not None and told and told[0].exit_time < newest
        ):
            self._take(sorted((*self._trades, *told), key=lambda one: one.exit_time))
            return
        for trade in told:
            self._add(trade)

    def amend(self, trade: Trade) -> None:
        """Take the next version of a trade that is here."""
        self._take([trade if one.trade_id == trade.trade_id else one for one in self._trades])

    def copy(self) -> ClosedTrades:
        """Return the same for another thread, with all that has been concluded."""
        other = ClosedTrades(most=self._most)
        other._trades, other._number = self._trades.copy(), self._number
        other._lines = {symbol: line.copy() for symbol, line in self._lines.items()}
        other._later = {after: held.copy() for after, held in self._later.items()}
        return other

    def line(self, symbol: str) -> Line:
        """Return the exits of a symbol, or of all (``EVERY``)."""
        found = self._lines.get(symbol)
        if found is None:
            found = self._lines[symbol] = Line(self._most)
        return found

    def since(self, after: int) -> ClosedTrades:
        """Return the trades that ended after a market time (UTC ms), all of them for 0; it is kept up to date."""
        if not after:
            return self
        found = self._later.get(after)
        if found is None:
            if len(self._later) >= LATER_MAX:
                self._later.clear()
            newer = (one for one in self._trades if _exit_ms(one) > after)
            found = self._later[after] = ClosedTrades(newer, self._most)
        return found

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._trades)

    def __iter__(self) -> Iterator[Trade]:
        """Yield them, oldest exit first."""
        return iter(self._trades)

    def __reversed__(self) -> Iterator[Trade]:
        """Yield them, newest exit first."""
        return reversed(self._trades)

    @overload
    def __getitem__(self, place: int) -> Trade: ...
    @overload
    def __getitem__(self, place: slice) -> list[Trade]: ...
    def __getitem__(self, place: int | slice) -> Trade | list[Trade]:
        """Return one, or some of them."""
        return list(self._trades)[place] if isinstance(place, slice) else self._trades[place]

    def __setitem__(self, place: int, trade: Trade) -> None:
        """Put another version in a place."""
        trades = list(self._trades)
        trades[place] = trade
        self._take(trades)

    def _take(self, trades: Iterable[Trade]) -> None:
        self._trades: deque[Trade] = deque(maxlen=self._most)
        self._lines: dict[str, Line] = {}
        self._later: dict[int, ClosedTrades] = {}
        self._number = 0
        for trade in trades:
            self._add(trade)

    def _add(self, trade: Trade) -> None:
        self._number += 1
        ended_ms = _exit_ms(trade)
        ended = Exit(round(ended_ms), self._number, trade)
        self._trades.append(trade)
        self.line(EVERY).add(ended)
        self.line(trade.symbol).add(ended)
        for after, held in self._later.items():
            if ended_ms > after:
                held.append(trade)


def _exit_ms(trade: Trade) -> float:
    return trade.exit_time.timestamp() * 1000

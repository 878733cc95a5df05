"""Since when more or less of a symbol has been on the exchange than executions explain, whoever saw it first."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from domain.trade import ZERO

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

    from domain.order import PositionReport
    from engine.positions import Book

WAIT_S = 2.0
"""Executions asked for so long after a difference was first seen would explain it: their list is late by less."""

MISSING_S = 3.0
"""So long, where less is there than ours: two late lists in a row may not show yet what an entry has just got."""

LATE_S = 1.5
"""By how much a list of positions may be older than the executions that are known."""

LISTED_S = 0.5
"""So long before that a list has to have shown it, too: by itself the private stream proves nothing."""

UNSEEN_S = 4.0
"""What nobody has seen for so long may have been something else."""

AMOUNTS_MAX = 20
"""Of so many amounts it is known since when at least so much of a symbol has been unexplained."""


NEVER = float("-inf")


@dataclass(slots=True)
class Clock:
    """When at least so much was unexplained ``first`` and ``last``, and since when lists have shown something else.

    ``listed`` is when a list first showed it; ``explained`` says that executions which came to be known since then may
    be all of it.
    """

    first: float
    last: float
    listed: float | None = None
    denied: float | None = None
    explained: bool = False


class Unexplained:
    """Compares what is reported of positions with the book, and remembers for how long they have differed.

    A list may be older than the executions that are known, so one that contradicts what was seen a moment ago ends
    nothing. The private stream may be older than that: what it tells begins a wait, and only lists go on with it. What
    is there beyond a position stays there when that one ends; with another position of ours everything begins anew.
    ``over`` takes the symbol when a difference that was first seen ``WAIT_S`` ago is still there; ``wake`` is for those
    who set it where something may not wait until the next look.
    """

    def __init__(self, book: Book, over: Callable[[str], None]) -> None:
        self._book, self._over = book, over
        self._clocks: dict[str, dict[Decimal, Clock]] = {}
        self._seen: dict[str, PositionReport] = {}
        self._known: dict[str, tuple[str, Decimal]] = {}
        self._asked: dict[str, float] = {}
        self.wake = asyncio.Event()

    def of(self, there: PositionReport) -> Decimal:
        """Return how much of a reported quantity neither our positions nor anybody's executions make up, signed."""
        return there.qty - self._book.net(there.symbol) - self._book.net_of_strays(there.symbol, 0)

    def hear(self, there: PositionReport) -> None:
        """Take note of what the private stream tells of a position."""
        self._begin(there.symbol, self._followed(there.symbol), self.of(there))

    def see(self, there: PositionReport) -> None:
        """Take note of what a list shows of a position."""
        now, symbol, amount = asyncio.get_running_loop().time(), there.symbol, self.of(there)
        clocks = self._followed(symbol)
        self._seen[symbol] = there
        for known, clock in list(clocks.items()):
            there_still = bool(amount) and ZERO < known / amount <= 1
            denied = clock.denied if clock.denied is not None else now
            if now - clock.last > UNSEEN_S or now - denied > LATE_S or (clock.explained and not amount):
                del clocks[known]
            elif there_still:
                clock.last, clock.denied, clock.explained = now, None, False
            else:
                clock.denied = denied
        self._begin(symbol, clocks, amount)
        for clock in clocks.values():
            if clock.last == now and clock.denied is None and clock.listed is None:
                clock.listed = now

    def _begin(self, symbol: str, clocks: dict[Decimal, Clock], amount: Decimal) -> None:
        loop = asyncio.get_running_loop()
        if amount and amount not in clocks:
            clocks[amount] = Clock(loop.time(), loop.time())
            loop.call_later(self._wait_s(symbol, amount), self._end, symbol)
        if len(clocks) > AMOUNTS_MAX:
            del clocks[next(iter(clocks))]

    def lasts(self, there: PositionReport, asked: float) -> bool:
        """Return whether executions ``asked`` for at a time of the loop (seconds) would explain what is reported."""
        clock = self._clocks.get(there.symbol, {}).get(self.of(there))
        asked = max(asked, self._asked.get(there.symbol, asked))
        if clock is None or clock.listed is None or asyncio.get_running_loop().time() - clock.last > UNSEEN_S:
            return False
        return asked >= max(clock.first + self._wait_s(there.symbol, self.of(there)), clock.listed + LISTED_S)

    def due(self) -> list[str]:
        """Return the symbols that have differed for so long that their executions have to be asked for."""
        now = asyncio.get_running_loop().time()
        lasting = {symbol: there for symbol, there in self._seen.items() if self.lasts(there, now)}
        return [symbol for symbol, there in lasting.items() if not self.lasts(there, NEVER)]

    def answered(self, symbol: str, asked: float) -> PositionReport | None:
        """Take that the executions of a symbol are known as of a time; return what they leave unexplained for long.

        What no list has shown for a while may have changed: it is due again.
        """
        there = self._seen.get(symbol)
        lasting = there is not None and self.lasts(there, asked)
        if there is not None and lasting:
            last = self._clocks[symbol][self.of(there)].last
            if asyncio.get_running_loop().time() - last > LATE_S:
                return None
        self._asked[symbol] = asked
        return there if lasting else None

    def _followed(self, symbol: str) -> dict[Decimal, Clock]:
        """Return since when amounts of a symbol have been unexplained, as far as the book has not changed meanwhile."""
        held, net = self._book.of_symbol(symbol), self._book.net(symbol)
        digest = held.digest if held is not None else ""
        before, known = self._known.get(symbol, (digest, net))
        clocks = self._clocks.setdefault(symbol, {})
        if digest and before and digest != before:
            clocks.clear()
        executed = net - known
        for amount, clock in clocks.items():
            clock.explained |= bool(executed) and ZERO < amount / executed <= 1
        self._known[symbol] = digest or before, net
        return clocks

    def _wait_s(self, symbol: str, amount: Decimal) -> float:
        """Return how long an amount has to stay unexplained."""
        net = self._book.net(symbol)
        missing = bool(net) and ZERO <= -amount / net <= 1
        return MISSING_S if missing else WAIT_S

    def _end(self, symbol: str) -> None:
        # most have long been explained by then
        if symbol in self.due():
            self._over(symbol)

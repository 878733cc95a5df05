"""Which executions made a position that nobody remembers: paged back through time until its beginning is found."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from domain.durations import DAY_MS, WEEK_MS
from engine import rebuild
from engine.executions import OVERLAP_MS

if TYPE_CHECKING:
    from decimal import Decimal

    from domain.order import PositionReport
    from domain.ports import Lists
    from domain.records import Fill
    from engine.rebuild import Run

log = structlog.get_logger(__name__)

WINDOW_MS = WEEK_MS
"""What Bybit answers for in one request (docs v5, "Get Trade History")."""

REACH_MS = 2 * 365 * DAY_MS
"""How far its executions go back."""

AT_ONCE = 8
SEARCH_S = 1.0
"""So long older executions are gone through before everything else has its turn again."""

EXECUTIONS_MAX = 20_000
"""A symbol with more of them was traded by a program that is not this one; looking further would cost too much."""


@dataclass(slots=True)
class Search:
    """How far back a position has been looked for, and what was found; kept when the exchange stops answering."""

    qty: Decimal
    reached: int
    newest: int
    fills: list[Fill] = field(default_factory=list)

    def add(self, fills: list[Fill]) -> None:
        """Add executions, each once, oldest first."""
        held = {fill.exec_id: fill for fill in (*self.fills, *fills)}
        self.fills = sorted(held.values(), key=lambda fill: fill.time)


class Origins:
    """Finds the executions of positions that the records do not know.

    What turns out to be somebody else's is not looked for again while it is there on the same side: a position of ours
    that came to be meanwhile would be known by the id of its order.
    """

    def __init__(self, lists: Lists) -> None:
        self._lists = lists
        self._searches: dict[str, Search] = {}
        self._strangers: dict[str, tuple[Decimal, Run | None]] = {}

    def forget(self, symbol: str) -> None:
        """Look for a symbol's position anew: something of ours was executed there that no record tells of."""
        self._strangers.pop(symbol, None)
        self._searches.pop(symbol, None)

    def keep(self, symbols: list[str]) -> None:
        """Forget all positions but those that are there and unknown."""
        for symbol in {*self._strangers, *self._searches} - set(symbols):
            self.forget(symbol)

    def settle(self, there: PositionReport, run: Run | None) -> None:
        """Take that a position is somebody else's."""
        self._strangers[there.symbol] = there.qty, run

    def unfinished(self, symbol: str) -> bool:
        """Return whether there are older executions of a symbol to be looked through."""
        return symbol in self._searches

    async def find(self, there: PositionReport, now: int, seconds: float = math.inf) -> Run | None:
        """Return the executions that made a position, None when they are not to be had, or not within so many seconds.

        A call goes on from where the last one ended. Raises Unavailable when the exchange stops answering.
        """
        until = asyncio.get_running_loop().time() + seconds
        known = self._strangers.get(there.symbol)
        if known is not None and known[0] * there.qty > 0:
            return known[1]
        search = self._searches.get(there.symbol)
        if search is None or search.qty != there.qty:
            search = self._searches[there.symbol] = Search(there.qty, now - WINDOW_MS, now - WINDOW_MS)
        fresh = await self._lists.fills_since(search.newest - OVERLAP_MS, now + DAY_MS, there.symbol)
        search.add(fresh)
        search.newest = now
        found = _made(search)
        if found is None and not await self._lists.flat(there.symbol):
            return await self._further_back(there, search, now, until)
        self._searches.pop(there.symbol, None)
        return found

    async def _further_back(self, there: PositionReport, search: Search, now: int, until: float) -> Run | None:
        oldest, found = max(0, now - REACH_MS, there.created - OVERLAP_MS), None
        if search.reached > oldest:
            log.warning("position looked for among older executions", symbol=there.symbol, since=oldest)
        while search.reached > oldest and len(search.fills) < EXECUTIONS_MAX:
            begins = [search.reached - (number + 1) * WINDOW_MS for number in range(AT_ONCE)]
            spans = [(max(start, oldest), start + WINDOW_MS - 1) for start in begins if start + WINDOW_MS > oldest]
            pages = await _all_of(self._lists, spans, there.symbol)
            search.add([fill for page in pages[::-1] for fill in page])
            search.reached = spans[-1][0]
            found = _made(search)
            if found is not None:
                break
            if asyncio.get_running_loop().time() >= until:
                return None
        self._searches.pop(there.symbol, None)
        return found


async def _all_of(lists: Lists, spans: list[tuple[int, int]], symbol: str) -> list[list[Fill]]:
    """Return the executions of each span. Raises Unavailable, as the first that is not answered."""
    asked = [lists.fills_since(start, end, symbol) for start, end in spans]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return [answer for answer in answers if not isinstance(answer, BaseException)]


def _made(search: Search) -> Run | None:
    """Return the run of executions that leads to the position: what came before it adds up to nothing."""
    held = [run for run in rebuild.runs(search.fills) if run.qty == search.qty]
    return held[-1] if held else None

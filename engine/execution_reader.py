"""Asks for executions: what is new in the whole account, and everything of a symbol where something is in doubt."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from domain.durations import DAY_MS, WEEK_MS
from engine.executions import OVERLAP_MS, begins_in_the_midst
from engine.memory import unremembered
from engine.recovery import REACH_MS

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from domain.ports import Lists
    from domain.records import Fill
    from engine.market_clock import MarketClock
    from engine.position import Position
    from engine.trader import Trader

EXECUTIONS_MAX = 200_000
BEGINNING_WEEKS = 12
"""How far back the beginning of a position is looked for whose end is the first that is seen of a symbol."""

QUIET_WEEKS = 4
"""So many weeks without an entry of ours may lie between two that nobody remembers."""

LATE_S = 5.0
"""An execution is listed within so many seconds of the host's clock; what comes later than that is found by doubts."""

OVERLAP_MAX_MS = 1_800_000
"""However fast a practice market goes, or jumps: no more market time than this is read again."""

UNSETTLED_S = 15.0
"""After so long the executions of an order that should have ended are looked for symbol by symbol."""


class Asked(NamedTuple):
    """When the list of executions was asked for, on the host's clock, and what the market time was."""

    wire: float
    market: int


class ReadMark:
    """Knows up to when all executions have been read, and from when on they have to be read again.

    The list may be late, so each reading begins some market time before the end of the last one: two minutes, and
    what the market has moved in the last seconds before that; while that is not known yet, half an hour.
    """

    def __init__(self) -> None:
        self._asked: deque[Asked] = deque()
        self._first = 0

    def start(self, since: int) -> int:
        """Return from which market time on to ask; ``since`` counts while nothing has been read."""
        if not self._asked:
            return since
        last = self._asked[-1]
        while len(self._asked) > 1 and self._asked[1].wire <= last.wire - LATE_S:
            self._asked.popleft()
        earlier = self._asked[0]
        moved = last.market - earlier.market if earlier.wire <= last.wire - LATE_S else OVERLAP_MAX_MS
        return max(self._first, last.market - min(OVERLAP_MAX_MS, moved + OVERLAP_MS))

    def note(self, asked: Asked, start: int) -> None:
        """Take that everything listed with a market time from ``start`` on has been read."""
        if not self._asked:
            self._first = start
        newest = self._asked[-1].market if self._asked else 0
        self._asked.append(Asked(asked.wire, max(newest, asked.market)))


class ExecutionReader:
    """Reads executions of the account.

    Each reading costs as much as has happened since the last one, whatever else the account does. What a list told
    too late for that is asked for by symbol, from the entry of the position on: where an order stays without its
    executions, where book and exchange differ for more than a moment, and before a position is recorded as closed.
    """

    def __init__(self, trader: Trader, lists: Lists, clock: MarketClock) -> None:
        self._trader, self._lists, self._clock = trader, lists, clock
        self._mark = ReadMark()
        self._unsettled_since: dict[str, float] = {}
        self._tried: dict[str, frozenset[str]] = {}

    async def since(self, time: int, *, lost: bool = False) -> list[Fill]:
        """Return every execution since a market time, and all of the positions that are older; a first reading.

        Where records are ``lost`` it goes further back for as long as entries turn up that nobody remembers, and for
        what opened the positions of which only the end is seen. Raises Unavailable.
        """
        found = {fill.exec_id: fill for fill in await self._read(time)}
        if lost:
            time = await self._further_back(found, time)
            await self._add_beginnings(found, time)
        for held in self._trader.book.positions():
            if held.intended_at < time:
                found |= {fill.exec_id: fill for fill in await self.of(held)}
        return sorted(found.values(), key=lambda fill: fill.time)

    async def _further_back(self, found: dict[str, Fill], time: int) -> int:
        """Add earlier weeks while entries turn up that nobody remembers; return where the last of them begins.

        A bot may have stood still for a while: a few weeks without such entries are passed over.
        """
        week, oldest, quiet = list(found.values()), max(0, self._clock.told() - REACH_MS), 0
        while time > oldest and len(found) < EXECUTIONS_MAX:
            quiet = 0 if unremembered(self._trader, week) else quiet + 1
            if quiet > QUIET_WEEKS:
                break
            start = max(oldest, time - WEEK_MS)
            week = await self._lists.fills_since(start, time - 1)
            found |= {fill.exec_id: fill for fill in week}
            time = start
        return time

    async def _add_beginnings(self, found: dict[str, Fill], time: int) -> None:
        """Add what opened the positions that the first executions of a symbol have closed."""
        for symbol in sorted({fill.symbol for fill in found.values()}):
            start, held = time, self._trader.book.of_symbol(symbol)
            for _ in range(BEGINNING_WEEKS if held is None else 0):
                if not begins_in_the_midst(fill for fill in found.values() if fill.symbol == symbol):
                    break
                start -= WEEK_MS
                week = await self._lists.fills_since(max(0, start), start + WEEK_MS - 1, symbol)
                found |= {fill.exec_id: fill for fill in week}

    async def news(self, since: int, doubted: Collection[str] = ()) -> list[Fill]:
        """Return what may have happened since the last reading, and all of the positions in doubt.

        ``since`` is where a first reading begins. Raises Unavailable.
        """
        start = self._mark.start(since)
        fills = await self._read(start)
        for held in self._looked_back(doubted):
            if held.intended_at < start:
                fills += await self.of(held)
        return fills

    async def of(self, held: Position) -> list[Fill]:
        """Return every execution in a position's symbol since its entry was intended. Raises Unavailable."""
        return await self._lists.fills_since(held.intended_at - OVERLAP_MS, self._until(), held.symbol)

    async def between(self, symbol: str, start: int, end: int) -> list[Fill]:
        """Return every execution of a symbol with a market time in [start, end] (UTC ms). Raises Unavailable."""
        return await self._lists.fills_since(start, end, symbol)

    async def before(self, fill: Fill) -> list[Fill]:
        """Return a week's executions of a symbol up to one of them. Raises Unavailable."""
        return await self._lists.fills_since(fill.time - WEEK_MS, fill.time, fill.symbol)

    async def unknown(self, fills: Sequence[Fill]) -> list[Fill]:
        """Return the executions of the symbols in which entries of ours have filled that no record tells of.

        Those are looked for among some executions, and among all that belong to nobody: from a week before the first of
        them on, once for as long as nothing is added to them. Raises Unavailable.
        """
        found: list[Fill] = []
        for symbol, lost in self._unremembered(fills).items():
            seen = frozenset(fill.exec_id for fill in (*lost, *self._trader.book.strays(symbol)))
            if self._tried.get(symbol) != seen:
                first = min(fill.time for fill in lost)
                found += await self._lists.fills_since(first - WEEK_MS, self._until(), symbol)
                # the list may be late: what was told already is not missing from it
                found += self._trader.book.strays(symbol)
                self._tried[symbol] = seen
        return [*{fill.exec_id: fill for fill in found}.values()]

    def _unremembered(self, fills: Sequence[Fill]) -> dict[str, list[Fill]]:
        strays = [fill for symbol in self._trader.book.stray_symbols() for fill in self._trader.book.strays(symbol)]
        found: dict[str, list[Fill]] = {}
        for fill in unremembered(self._trader, [*fills, *strays]):
            found.setdefault(fill.symbol, []).append(fill)
        self._tried = {symbol: seen for symbol, seen in self._tried.items() if symbol in found}
        return found

    async def _read(self, start: int) -> list[Fill]:
        asked, told, latest = asyncio.get_running_loop().time(), self._clock.told(), self._clock.now()
        fills = await self._lists.fills_since(start, latest + DAY_MS)
        # the exchange's own times go on where no bar tells the time
        newest = max((fill.time for fill in fills), default=0)
        self._mark.note(Asked(asked, max(told, min(newest, latest))), start)
        return fills

    def _until(self) -> int:
        return self._clock.now() + DAY_MS

    def _looked_back(self, doubted: Collection[str]) -> list[Position]:
        """Return the positions of which executions seem to be missing for longer than a list is usually late."""
        now, book = asyncio.get_running_loop().time(), self._trader.book
        late = {one.order_id: one.symbol for one in book.unsettled() if one.market or one.state is not None}
        self._unsettled_since = {name: self._unsettled_since.get(name, now) for name in late}
        symbols = {late[name] for name, since in self._unsettled_since.items() if now - since >= UNSETTLED_S}
        return [held for held in book.positions() if held.symbol in symbols | set(doubted)]

"""The newest trades in memory, and sums over all: what is older rests in the database alone."""

from __future__ import annotations

import bisect
import heapq
import threading
from collections import deque
from typing import TYPE_CHECKING

import msgspec

from domain import reports
from domain.trade_sums import TradeSums

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from domain.trade import Trade

    Place = tuple[datetime, str]

HELD_MAX = 20_000


class TradeWindow:
    """Holds at most ``most`` trades, a tenth more for moments; of older ones it knows what they made together.

    ``older`` reads trades that the database has, from an exit time on up to a place in the order of exits. Calls may
    come from any thread; those that may have to read say so.
    """

    def __init__(self, older: Callable[[datetime | None, Place], Iterable[Trade]], most: int = HELD_MAX) -> None:
        self._older, self._most = older, most
        self._lock, self._folding = threading.Lock(), threading.Lock()
        self._known: dict[str, Trade] = {}
        self._ordered: list[Trade] = []
        self._gone = TradeSums()
        self._edge: Place | None = None
        self._sums: TradeSums | None = TradeSums()
        # counts what makes the sums of those that have gone untrue, and what of that they have been made anew for
        self._torn = self._mended = self._revision = 0

    def __len__(self) -> int:
        """Return how many there are with those that have gone; an old one told anew may count twice until ``sums``."""
        return len(self._known) + len(self._gone)

    @property
    def whole(self) -> bool:
        """Whether every trade is at hand."""
        return self._edge is None

    def get(self, trade_id: str) -> Trade | None:
        """Return a trade that is at hand."""
        return self._known.get(trade_id)

    def newest(self) -> list[Trade]:
        """Return the trades that are at hand, in the order of their exits."""
        with self._lock:
            return list(self._ordered)

    def may_be_older(self, trade: Trade) -> bool:
        """Say whether a trade that is not at hand may be one of those that have gone."""
        return self._edge is not None and by_exit(trade) <= self._edge and trade.trade_id not in self._known

    def begin(self, trades: Iterable[Trade]) -> int:
        """Take what the database holds, oldest exit first; only the newest stay. Return how many there are."""
        held: deque[Trade] = deque()
        gone, edge, count = TradeSums(), self._edge, 0
        for trade in trades:
            count += 1
            there = self._known.get(trade.trade_id)
            if there is None or there.version < trade.version:
                held.append(trade)
            if len(held) > self._most:
                gone.add(held[0])
                edge = by_exit(held.popleft())
        with self._lock:
            self._gone, self._edge, self._sums = gone, edge, None
        self.learn(held)
        return count

    def learn(self, trades: Iterable[Trade]) -> list[Trade]:
        """Take trades, or higher versions of them, without their legs; return those that were news."""
        with self._lock:
            told, news = [_bare(one) for one in trades], []
            for trade in told:
                earlier = self._known.get(trade.trade_id)
                if earlier is not None and earlier.version >= trade.version:
                    continue
                news.append(trade)
                self._torn += self._edge is not None and by_exit(trade) <= self._edge
                self._known[trade.trade_id] = trade
                if len(told) == 1:
                    self._put_in_order(trade, earlier)
            if len(told) > 1 and news:
                self._ordered, self._sums = sorted(self._known.values(), key=by_exit), None
            self._revision += bool(news)
            return news

    def let_go(self, settled: Callable[[Trade], bool]) -> None:
        """Let the oldest go that are too many and that the database has."""
        if not self._folding.acquire(blocking=False):
            # they are being summed up: next time
            return
        try:
            with self._lock:
                excess = len(self._ordered) - self._most
                if excess > self._most // 10:
                    self._part([one for one in self._ordered[:excess] if settled(one)])
        finally:
            self._folding.release()

    def every(self, since: datetime | None = None) -> Iterator[Trade]:
        """Yield all trades that ended at a time or later, in the order of their exits. Reads; raises Unavailable."""
        with self._lock:
            held, edge = reports.since(self._ordered, since), self._edge
            known = frozenset(self._known) if edge else frozenset()
        if edge is None or (since is not None and since > edge[0]):
            return iter(held)
        older = (one for one in self._older(since, edge) if one.trade_id not in known)
        return heapq.merge(older, held, key=by_exit)

    def older(self) -> int:
        """Return how many have gone. Reads when that has to be found out anew; raises Unavailable."""
        with self._folding:
            self._mend()
            return len(self._gone)

    def sums(self) -> TradeSums:
        """Return the sums over all trades. Reads when they have to be made anew; raises Unavailable."""
        with self._folding:
            self._mend()
            with self._lock:
                if self._sums is not None:
                    return self._sums.copy()
                sums, held, edge, revision = self._gone.copy(), list(self._ordered), self._edge, self._revision
            if edge is not None and held and by_exit(held[0]) < edge:
                # one that waits for the database for long has its place among those that have gone
                sums, held = TradeSums(self.every()), []
            for trade in held:
                sums.add(trade)
            with self._lock:
                if revision == self._revision:
                    self._sums = sums
                return sums.copy()

    def doubt(self) -> None:
        """Have the sums of what has gone made anew, as when the database has lost some of it."""
        with self._lock:
            self._torn += 1

    def _mend(self) -> None:
        with self._lock:
            torn, edge, known = self._torn, self._edge, frozenset(self._known)
        if torn == self._mended:
            return
        gone = TradeSums(one for one in self._older(None, edge) if one.trade_id not in known) if edge else TradeSums()
        with self._lock:
            self._gone, self._sums, self._mended = gone, None, torn

    def _part(self, leaving: list[Trade]) -> None:
        for trade in leaving:
            if self._edge is not None and by_exit(trade) < self._edge:
                self._torn += 1
            else:
                self._gone.add(trade)
                self._edge = by_exit(trade)
            del self._known[trade.trade_id]
        self._ordered = [one for one in self._ordered if one.trade_id in self._known]

    def _put_in_order(self, trade: Trade, earlier: Trade | None) -> None:
        if earlier is not None:
            del self._ordered[bisect.bisect_left(self._ordered, by_exit(earlier), key=by_exit)]
        last = earlier is None and (not self._ordered or by_exit(self._ordered[-1]) < by_exit(trade))
        bisect.insort(self._ordered, trade, key=by_exit)
        if last and self._sums is not None:
            self._sums.add(trade)
        else:
            self._sums = None


def by_exit(trade: Trade) -> Place:
    """Return a trade's place in the order of exits."""
    return trade.exit_time, trade.trade_id


def _bare(trade: Trade) -> Trade:
    return msgspec.structs.replace(trade, legs=()) if trade.legs else trade

"""Finished trades: journal first, then every other tier behind its back, with statistics over all of them."""

from __future__ import annotations

import threading
from collections import deque
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from domain import trade as domain_trade
from domain.errors import BadData, RevenantError
from domain.ids import Identity
from domain.records import Close, Level
from domain.statistics import Statistics, describe
from domain.trade import Leg, Trade
from domain.trade_page import Wanted, page_of
from domain.trade_sums import TradeSums
from persistence.mirror import MIRROR_MAX, RedisMirror, SnapshotFile
from persistence.outbox import Outbox
from persistence.trade_table import TradeTable, same
from persistence.trade_window import HELD_MAX, TradeWindow, by_exit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from decimal import Decimal

    from domain.ports import Ledger
    from persistence.database import Database
    from persistence.files import AtomicFile
    from persistence.keyvalue import Redis

log = structlog.get_logger(__name__)

SNAPSHOT_S = 5.0
LAST_S = 0.1


class TradeTrackerPostgres:
    """Records trades of one owner, each exactly once.

    A trade is acknowledged when the journal has it. From there it is carried to the database, to Redis and to a
    snapshot file, each on a thread of its own (``start``), so that none of them is ever waited for. ``now`` gives
    the market time that periods of statistics end at, ``journaled`` all trades that the journal still tells of. The
    newest ``held_max`` trades are at hand, older ones are asked of the database. Calls are synchronous and may come
    from any thread.
    """

    def __init__(
        self,
        database: Database,
        ledger: Ledger | None,
        who: Identity,
        now: Callable[[], datetime],
        *,
        redis: Redis | None = None,
        snapshot: AtomicFile | None = None,
        journaled: Callable[[], Iterable[Trade]] = tuple,
        held_max: int = HELD_MAX,
    ) -> None:
        self._ledger, self._who, self._now = ledger, who, now
        self._copying = threading.Lock()
        self._newest: deque[Trade] = deque(maxlen=MIRROR_MAX)
        self._complete = False
        self.table = TradeTable(database, who, self.get_statistics, self._settled, journaled)
        self._window = TradeWindow(self.table.walk, held_max)
        self.table.older = self._window
        self.settling: Outbox[Trade] = Outbox("database", self.table)
        self.mirror = RedisMirror(redis, who, self._newest_trades) if redis is not None else None
        self._outboxes: list[Outbox[Trade]] = [self.settling]
        if self.mirror is not None:
            self._outboxes.append(Outbox("redis", self.mirror, size=MIRROR_MAX))
        self._snapshot = SnapshotFile(snapshot, self._newest_trades) if snapshot is not None else None
        if self._snapshot is not None:
            self._outboxes.append(Outbox("snapshot", self._snapshot, size=MIRROR_MAX, every_s=SNAPSHOT_S))

    @property
    def unsettled(self) -> int:
        """How many trades are not yet in the database."""
        return self.settling.waiting

    @property
    def complete(self) -> bool:
        """Whether the trades of earlier lives have been read from the database."""
        return self._complete

    @property
    def parked(self) -> dict[str, str]:
        """Trades that the database refuses for good, with its reasons."""
        return dict(self.settling.parked)

    def tiers(self) -> dict[str, dict[str, Any]]:
        """Return of each tier its state, what waits for it, and how long the oldest has been waiting."""
        return {outbox.name: outbox.report() for outbox in self._outboxes}

    def start(self) -> None:
        """Begin to carry trades to the tiers."""
        for outbox in self._outboxes:
            outbox.start()

    def close(self, seconds: float = 0.0) -> None:
        """Carry what can be carried in so many seconds, then stop; the rest is carried after the next start."""
        for outbox in self._outboxes[1:]:
            outbox.hurry()
        self.settling.close(seconds)
        for outbox in self._outboxes[1:]:
            # the copies had all that time too: what they could not do by now waits for the next start
            outbox.close(min(seconds, LAST_S))

    def __len__(self) -> int:
        """Return how many trades are known."""
        return len(self._window)

    def trades(self) -> list[Trade]:
        """Return the newest trades, settled or not, in the order of their exits; all of them up to ``held_max``."""
        return self._window.newest()

    def every(self, since: datetime | None = None) -> Iterator[Trade]:
        """Yield all trades that ended at a time or later, in the order of their exits. Raises Unavailable."""
        return self._window.every(since)

    def sums(self, since: datetime | None = None) -> TradeSums:
        """Return the sums over all trades, or over those that ended at a time or later. Raises Unavailable."""
        return self._window.sums() if since is None else TradeSums(self.every(since))

    def page(self, wanted: Wanted, since: datetime | None, offset: int, limit: int) -> dict[str, Any]:
        """Return some of the trades that are asked for, as ``domain.trade_page`` tells them. Raises Unavailable."""
        if self._window.whole:
            return page_of(list(self.every(since)), wanted, offset, limit)
        waiting = [one for one in self.trades() if _key(one) in self.settling]
        return self.table.page(wanted, since, waiting, offset, limit)

    def named(self, begin: str) -> list[Trade]:
        """Return the trades whose id begins so. Raises Unavailable."""
        held = {one.trade_id: one for one in self.trades() if one.trade_id.startswith(begin)}
        older = {} if self._window.whole else {one.trade_id: one for one in self.table.named(begin)}
        return list((older | held).values())

    def exits(self) -> dict[str, int]:
        """Return when each trade ended (UTC ms), by id; of the newest alone while the database is away."""
        try:
            older = {} if self._window.whole else self.table.exits()
        except RevenantError as error:
            log.warning("the database does not tell of older trades", reason=str(error))
            older = {}
        return older | {one.trade_id: round(one.exit_time.timestamp() * 1000) for one in self.trades()}

    def load(self, journaled: Iterable[Trade] = ()) -> int:
        """Learn of this owner's trades in the database; return how many it has.

        When the journal tells of them all, as after a crash, they are not read a second time.

        Raises:
            Unavailable: when it is away; what Redis has of them is taken then.
        """
        newest = domain_trade.newest(journaled)
        try:
            count = self._window.begin(self._of_journal(newest) or self.table.walk())
        except RevenantError:
            self.restore(self._mirrored())
            raise
        with self._copying:
            self._newest.extend(self.trades()[-MIRROR_MAX:])
        self._complete = True
        return count

    def _of_journal(self, told: dict[str, Trade]) -> list[Trade]:
        """Return what the database holds when the journal has told of all of it, else nothing."""
        if not told or self.table.counts()["trades"] > len(told):
            return []
        there = self.table.versions()
        if any(key not in told or told[key].version != version for key, version in there.items()):
            return []
        return sorted((told[key] for key in there), key=by_exit)

    def add_trade(self, trade: Trade) -> Level:
        """Record a finished trade, or a higher version of one, and say where it rests; the same again changes nothing.

        MEMORY is no acknowledgement: then neither the disk nor any other tier has taken it.
        """
        owned = self._owned(trade)
        there = self._window.get(owned.trade_id)
        if there is not None and (there.version > owned.version or same(there, owned)):
            return Level.JOURNALED if _key(there) in self.settling else Level.SETTLED
        level = Level.MEMORY
        if self._ledger is not None:
            level = self._ledger.append(Close(time=int(owned.exit_time.timestamp() * 1000), trade=owned)).level
        self.restore([owned])
        if level is Level.MEMORY:
            # nothing durable has it yet: this once the database is waited for
            self.settling.flush(1.0)
            fresh = there is None or there.version < owned.version
            waits = (_key(owned) if fresh else _told_again(owned)) in self.settling
            level = level if waits else Level.SETTLED
        return level

    def restore(self, trades: Iterable[Trade]) -> None:
        """Take trades that the journal already holds; they are carried to the tiers that may lack them."""
        fresh: dict[str, Trade] = {}
        queued: dict[str, Trade] = {}
        told = list(trades)
        older = self._older(told)
        for trade in told:
            there = fresh.get(trade.trade_id) or self._window.get(trade.trade_id) or older.get(trade.trade_id)
            if there is None or there.version < trade.version:
                # each version goes out by itself, so that no tier lacks the executions of the one before
                fresh[trade.trade_id] = queued[_key(trade)] = trade
            elif there.version == trade.version and there is not trade and not same(there, trade):
                self._keep_apart(trade)
        self._learn(fresh.values())
        for one in self._outboxes:
            one.put(queued)
        if self._complete:
            self._window.let_go(self._has_settled)

    def _older(self, told: list[Trade]) -> dict[str, Trade]:
        """Return those of many trades that only the database has any more, as it has them.

        While it is away they count as new: it finds out by itself that it has them.
        """
        asked = [one.trade_id for one in told if self._window.may_be_older(one)]
        try:
            return {one.trade_id: one for one in self.table.of(asked)} if len(told) > 1 and asked else {}
        except RevenantError as error:
            log.warning("the database does not tell which trades it has", reason=str(error))
            return {}

    def legs(self, trade_id: str) -> list[Leg]:
        """Return the executions of a trade that has reached the database. Raises Unavailable."""
        return self.table.legs(trade_id)

    def copies(self) -> dict[str, int]:
        """Return when each trade ended of which Redis or the snapshot holds a copy (UTC ms), by id."""
        copied = [*self._mirrored(), *(self._snapshot.load() if self._snapshot is not None else ())]
        return {trade.trade_id: round(trade.exit_time.timestamp() * 1000) for trade in copied if self._is_ours(trade)}

    def _is_ours(self, trade: Trade) -> bool:
        return (trade.source, trade.mode, trade.account) == tuple(self._who)

    def settle(self, seconds: float = 5.0) -> int:
        """Wait so long for the database to take what is unsettled; return how many trades still are not in it."""
        self.settling.flush(seconds)
        return self.unsettled

    def calculate_pnl(
        self,
        symbol: str,
        side: str,
        entry: Decimal,
        exit: Decimal,
        qty: Decimal,
        leverage: Decimal,
    ) -> tuple[Decimal, Decimal]:
        """Return (profit in quote units, percent of entry value times leverage), before fees and funding."""
        return domain_trade.calculate_pnl(symbol, side, entry, exit, qty, leverage)

    def get_statistics(self, days: int | None = None) -> Statistics:
        """Return the figures of all trades, or of those that ended in the last ``days`` days."""
        if days is not None and days < 1:
            raise BadData(f"days {days}: give 1 or more, or nothing for all time")
        return self.sums(self._now() - timedelta(days=days) if days else None).statistics()

    def format_stats_message(self, days: int | None = None) -> str:
        """Return the figures as a message; it says so when they may be incomplete or are not in the database yet."""
        text = describe(self.get_statistics(days), days)
        if not self._complete:
            return f"{text}\n\n⚠️ database unreachable: older trades are missing here"
        return f"{text}\n\n⚠️ {self.unsettled} trades are not in the database yet" if self.unsettled else text

    def _learn(self, trades: Iterable[Trade]) -> None:
        news = self._window.learn(trades)
        with self._copying:
            for trade in news:
                earlier = [one for one in self._newest if one.trade_id == trade.trade_id] if trade.version else []
                for one in earlier:
                    self._newest.remove(one)
                self._newest.append(trade)

    def _newest_trades(self) -> list[Trade]:
        with self._copying:
            return list(self._newest)

    def _settled(self) -> list[Trade]:
        return [trade for trade in self.trades() if self._has_settled(trade)]

    def _has_settled(self, trade: Trade) -> bool:
        return _key(trade) not in self.settling

    def _mirrored(self) -> list[Trade]:
        try:
            return self.mirror.load() if self.mirror is not None else []
        except RevenantError as error:
            log.warning("Redis does not answer either", reason=str(error))
            return []

    def _keep_apart(self, trade: Trade) -> None:
        # the first telling stays; the database keeps this one apart when it meets it
        log.error("a trade was told twice with different content", trade=trade.trade_id, symbol=trade.symbol)
        self.settling.put({_told_again(trade): trade})

    def _owned(self, trade: Trade) -> Trade:
        owner = (trade.source or self._who.source, trade.mode or self._who.mode, trade.account or self._who.account)
        if owner != tuple(self._who):
            raise BadData(f"trade on {trade.symbol} belongs to {'/'.join(owner)}, this is {'/'.join(self._who)}")
        name = trade.trade_id or domain_trade_id(trade, self._who)
        return msgspec.structs.replace(trade, source=owner[0], mode=owner[1], account=owner[2], trade_id=name)


def _key(trade: Trade) -> str:
    """Return what a version of a trade waits under."""
    return f"{trade.trade_id} version {trade.version}" if trade.version else trade.trade_id


def _told_again(trade: Trade) -> str:
    return f"{trade.trade_id} told again"


def domain_trade_id(trade: Trade, who: Identity) -> str:
    """Return the id of a trade that came without one: its owner, market and entry time make it unique."""
    from domain.ids import signal_digest, trade_id  # noqa: PLC0415  only hand-made trades need it

    start = int(trade.entry_time.timestamp() * 1000)
    return trade_id(signal_digest(who, trade.strategy_name, trade.symbol, trade.timeframe, start))

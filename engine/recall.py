"""What earlier lives left: the journal lived through again, the trades and the switch that the database holds."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import structlog

from domain import ids
from domain.errors import ConfigError, RevenantError, Unavailable
from domain.records import Close, Fill, Followed, Latch, Mended, Phantom, PhantomManaged, Record
from engine.memory import lost_since

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from domain.trade import Trade
    from engine.parts import Parts
    from engine.phantoms import Phantoms
    from engine.trader import Trader

log = structlog.get_logger(__name__)

REPLAY_S = 300.0
UNUSABLE = (ArithmeticError, LookupError, TypeError, ValueError)
"""What a record can raise with which nobody can reckon."""

REMEMBERED = 5_000
"""Newest trades whose outcome the phantoms are told of."""


@dataclass(slots=True)
class Past:
    """What the journal told.

    Attributes:
        records: how many records it held.
        until: market time of the newest (UTC ms), 0 when there was none.
        trades: the finished trades, as often as they were told.
        phantoms: the records of phantoms.
        latches: the last of each kind of lasting decision.
        unusable: records that nobody can reckon with: they count as missing.
        begun: market time of the first record (UTC ms), 0 when there was none.
        mended: whether it tells that the exchange has been asked for what was missing.
        lost_since: from which market time on others remember trades that it does not tell of, None when none do.
    """

    records: int = 0
    until: int = 0
    trades: list[Trade] = field(default_factory=list)
    phantoms: list[Phantom] = field(default_factory=list)
    latches: dict[type, Record] = field(default_factory=dict)
    unusable: list[Record] = field(default_factory=list)
    begun: int = 0
    mended: bool = False
    lost_since: int | None = None


def replay(trader: Trader, records: Iterable[Record], phantoms: Phantoms | None = None) -> Past:
    """Bring a trader, and the phantoms, to where their records say they were.

    They are taken as they come and let go of: the journal of a hundred thousand trades would not fit into a small
    machine's memory at once.
    """
    past = Past()
    waiting: list[Fill] = []
    for record in records:
        if isinstance(record, Fill):
            waiting.append(record)
        else:
            at_once = bool(waiting) and isinstance(record, Close) and trader.book.take_recorded(waiting, record)
            for fill in waiting if not at_once else ():
                _restore(trader, fill, past)
            waiting.clear()
            _restore(trader, record, past)
        past.records += 1
        past.begun = past.begun or record.time
        past.mended = past.mended or isinstance(record, Mended)
        past.until = max(past.until, record.time)
        if isinstance(record, Close):
            past.trades.append(record.trade)
        elif phantoms is not None and isinstance(record, Followed):
            phantoms.restore(record)
            # what happened in between is no business of the audit's
            past.phantoms += [record] if not isinstance(record, PhantomManaged) else []
        elif isinstance(record, Latch):
            past.latches[type(record)] = record
    for fill in waiting:
        _restore(trader, fill, past)
    return past


def _restore(trader: Trader, record: Record, past: Past) -> None:
    try:
        trader.restore(record)
    except UNUSABLE as error:
        # one such record, raised at every start, would keep the bot down and its positions alone for ever
        log.error("record set aside: nobody can reckon with it", kind=type(record).__name__, reason=repr(error))
        past.unusable.append(record)
        if isinstance(record, Fill):
            trader.book.forget(record)


class Recall:
    """Brings back what the trader and the trade tracker knew; what is done once is not done again."""

    def __init__(self, parts: Parts) -> None:
        self._trader, self._ledger, self._trades = parts.trader, parts.ledger, parts.trades
        self._latches, self._tiers, self._phantoms = parts.latches, parts.tiers, parts.phantoms
        self._reading: asyncio.Future[Past] | None = None
        self._past: Past | None = None

    async def run(self) -> Past:
        """Recall everything, at the first call.

        Raises:
            ConfigError: when the journal cannot be read to its end.
        """
        if self._past is None:
            past = await self._read()
            await self._restore_trades(past.trades)
            await self._find_lost(past)
            audited = await self._restore_phantoms(past.phantoms)
            if audited and past.lost_since is None:
                await self._archive([*self._phantoms.live(), *self._trader.book.live(), *past.latches.values()])
            # what this appends would be put away by an archive that came after it
            await self._restore_latches(past.latches)
            # the tracker has them now
            past.trades, past.phantoms = [], []
            self._past = past
        return self._past

    async def _read(self) -> Past:
        # a start that is tried again goes on waiting for the same reading: nobody may live the past twice
        if self._reading is None:
            reading = self._tiers.journal.within(REPLAY_S, self._replay)
            self._reading = asyncio.ensure_future(reading)
        try:
            return await asyncio.shield(self._reading)
        except Unavailable as error:
            raise ConfigError(f"the journal cannot be read ({error}): look at its disk, then start again") from error

    def _replay(self) -> Past:
        past = replay(self._trader, self._ledger.replay(), self._phantoms)
        for record in past.unusable:
            self._ledger.set_aside(record)
        return past

    async def _restore_trades(self, journaled: list[Trade]) -> None:
        try:
            await self._tiers.trades.within(REPLAY_S, self._trades.load, journaled)
        except Unavailable as error:
            log.warning("database away: starting on the journal alone", reason=str(error))
        await self._tiers.trades.within(REPLAY_S, self._trades.restore, journaled)
        held = self._trades.trades()
        self._trader.remember(held)
        self._trader.recorded.update(await self._tiers.trades.within(REPLAY_S, self._trades.exits))
        self._phantoms.take_trades(held[-REMEMBERED:])

    async def _find_lost(self, past: Past) -> None:
        """Find out whether others remember what the journal does not, and take what they know of open positions."""
        journaled = {trade.trade_id for trade in past.trades}
        elsewhere = await self._tiers.trades.within(REPLAY_S, self._trades.exits)
        elsewhere |= await self._tiers.trades.within(REPLAY_S, self._trades.copies)
        # once that was made good, what others know from before its first record is no news
        begun = past.begun if self._ledger.begins <= 1 and not past.mended else 0
        book = self._trader.book
        past.lost_since = lost_since(journaled, elsewhere, begun, past.until, book.positions())
        for held in book.positions():
            if ids.trade_id(held.digest) in elsewhere and ids.trade_id(held.digest) not in journaled:
                await self._take_recorded(ids.trade_id(held.digest))

    async def _take_recorded(self, trade_id: str) -> None:
        """Take a trade that the database holds whole for a position that the journal believes to be open."""
        with contextlib.suppress(Unavailable):
            legs = await self._tiers.trades.within(REPLAY_S, self._trades.legs, trade_id)
            known = await self._tiers.trades.within(REPLAY_S, self._trades.named, trade_id)
            if not known or not legs:
                # the exchange tells of its end
                return
            trade = msgspec.structs.replace(known[0], legs=tuple(legs))
            log.warning("taken from the database: the journal does not know its end", trade=trade_id)
            record = Close(time=round(trade.exit_time.timestamp() * 1000), trade=trade)
            await self._tiers.journal.call(self._ledger.append, record)
            self._trader.restore(record)

    async def _restore_phantoms(self, journaled: list[Phantom]) -> bool:
        """Take what a journal that was lost has told elsewhere; say whether the audit has everything."""
        trail, told = self._phantoms.trail, list(journaled)
        known = {(type(one), one.phantom.phantom_id) for one in journaled}
        with contextlib.suppress(Unavailable):
            found = await self._tiers.phantoms.within(REPLAY_S, trail.legacy)
            if not journaled or self._ledger.missing:
                found += await self._tiers.phantoms.within(REPLAY_S, trail.load)
            for record in found:
                if (type(record), record.phantom.phantom_id) not in known:
                    self._phantoms.restore(record)
                    await self._tiers.journal.call(self._ledger.append, record)
                    told.append(record)
            if len(told) > len(journaled):
                log.warning("phantoms taken that the journal does not know", records=len(told) - len(journaled))
                await self._tiers.phantoms.within(REPLAY_S, trail.converted)
            return await self._tiers.phantoms.within(REPLAY_S, trail.restore, told)
        return False

    async def _archive(self, live: list[Record]) -> None:
        settled = self._trades.complete and not self._trades.unsettled
        # what leads to an order that may still be out there has to stay
        if self._ledger.doubtful_since is not None or not settled or self._trader.book.leftovers:
            return
        with contextlib.suppress(Unavailable):
            await self._tiers.journal.within(REPLAY_S, self._ledger.archive, live)

    async def _restore_latches(self, known: Collection[type]) -> None:
        """Take switch and day from the database when the journal knows none, as after the loss of the disk."""
        with contextlib.suppress(RevenantError):
            for record in await self._tiers.lease.call(self._latches.load):
                if type(record) not in known:
                    log.warning("taken from the database: the journal does not know it", kind=type(record).__name__)
                    self._trader.restore(record)
                    await self._tiers.journal.call(self._ledger.append, record)

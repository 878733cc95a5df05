"""Positions as the records tell them: the same records give the same positions, live and at replay."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any

import msgspec

from domain import ids
from domain.order import Cause, OrderKind, OrderState
from domain.records import Abandoned, Adopted, Close, Fill, Intent, OrderEnded, OrderFound, Record, StopMoved
from domain.trade import ZERO
from engine.executions import divide, parts
from engine.order_register import OwnOrder
from engine.position import Position, bracket_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

    from domain.records import Opening

ASKED_AGAIN_MS = 3_600_000

SEEN_MAX = 100_000
"""Execution ids remembered, so that a fact told twice counts once."""

RECENT_MAX = 10_000
"""Executions of the last hour that are kept whole."""

STRAYS_MAX = 2_000
"""Executions that belong to no position yet."""

SENT_MAX = 10_000
"""Orders of earlier lives whose time of sending is remembered."""

DROPPED_MAX = 1_000
"""Entries given up that are remembered, in case one of them was accepted after all."""


class Book:
    """All positions, driven by records alone."""

    def __init__(self) -> None:
        self._by_digest: dict[str, Position] = {}
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._dropped: OrderedDict[str, Position] = OrderedDict()
        self._strays: OrderedDict[str, Fill] = OrderedDict()
        self._recent: deque[Fill] = deque(maxlen=RECENT_MAX)
        self._orphans: dict[str, OwnOrder] = {}
        self.sent_at: OrderedDict[str, int] = OrderedDict()
        self.last_fill_time = 0
        self._takes: dict[type, Callable[[Any], Position | None]] = {
            Intent: self._intend, Fill: self._fill, OrderEnded: self._end, StopMoved: self._move,
            Adopted: self._adopt, Close: self._close, Abandoned: self._abandon, OrderFound: self._find_order,
        }  # fmt: skip

    @property
    def leftovers(self) -> dict[str, str]:
        """Symbols of the orders of ours that belong to no position any more and may still fill, by order id."""
        return {order.order_id: order.symbol for order in self._orphans.values()}

    def unsettled(self) -> list[OwnOrder]:
        """Return every order of ours that may still fill, or of which executions are missing."""
        return [*self._orphans.values(), *(o for held in self._by_digest.values() for o in held.unsettled())]

    def order(self, order_id: str) -> OwnOrder | None:
        """Return an order of ours that belongs to a position, or is left over."""
        name = ids.parse_order_id(order_id)
        held = self._by_digest.get(name.digest) if name else None
        found = held.orders.get(order_id) if held is not None else None
        return found or self._orphans.get(order_id)

    @property
    def unmatched(self) -> int:
        """How many executions belong to no position of ours."""
        return sum(fill.cause is not Cause.FUNDING for fill in self._strays.values())

    @property
    def late_funding(self) -> int:
        """How many funding payments belong to no position of ours."""
        return len(self._strays) - self.unmatched

    def positions(self) -> list[Position]:
        """Return every position that is pending or open."""
        return list(self._by_digest.values())

    def live(self) -> list[Record]:
        """Return the records that this book could not be made again without.

        Executions of the last hour are among them: the exchange will be asked for those once more.
        """
        kept = [record for position in self._by_digest.values() for record in position.records]
        told = {record.exec_id for record in kept if isinstance(record, Fill)}
        told |= {exec_id for position in self._by_digest.values() for exec_id in position.fills}
        recent = [fill for fill in self._recent if fill.exec_id not in told]
        return [*recent, *kept]

    def find(self, digest: str) -> Position | None:
        """Return the position of a signal."""
        return self._by_digest.get(digest)

    def of_symbol(self, symbol: str) -> Position | None:
        """Return the position in a symbol: pending, open, or flat and still to be recorded."""
        for held in self._by_digest.values():
            if held.symbol == symbol:
                return held
        return None

    def knows(self, exec_id: str) -> bool:
        """Say whether an execution has been taken before."""
        return exec_id in self._seen or exec_id in self._strays

    def claimed(self, exec_id: str) -> bool:
        """Return whether an execution has been taken by a position, open or ended."""
        return exec_id in self._seen

    def drop(self, digest: str) -> None:
        """Forget a position that is flat, or never came to be."""
        held = self._by_digest.pop(digest, None)
        if held is not None and held.pending:
            self._dropped[digest] = held
            while len(self._dropped) > DROPPED_MAX:
                self._dropped.popitem(last=False)

    def close(self, held: Position) -> None:
        """Forget a position that has been recorded; orders of it whose end is not known are left over."""
        self._orphans |= {order.order_id: order for order in held.orders.values() if order.working}
        self.drop(held.digest)

    def given_up(self, digest: str) -> Opening | None:
        """Return what an entry that was given up unfilled had been meant to be."""
        held = self._dropped.get(digest)
        return held.opening if held is not None else None

    def apply(self, record: Record) -> Position | None:
        """Take a record and return the position that it changed, None when it changed none."""
        takes = self._takes.get(type(record))
        held = takes(record) if takes is not None else None
        if held is not None and not isinstance(record, Fill):
            held.records.append(record)
        return held

    def net_of_strays(self, symbol: str, since: int) -> Decimal:
        """Return the signed quantity that executions of nobody's have made of a symbol since a time (UTC ms)."""
        traded = (one for one in self._strays.values() if one.symbol == symbol and one.cause is not Cause.FUNDING)
        return sum((one.side.sign * one.qty for one in traded if one.time >= since), ZERO)

    def _intend(self, intent: Intent) -> Position | None:
        name = ids.parse_order_id(intent.order_id)
        if name is None:
            return None
        if intent.sent_at:
            # only intents that come from the journal bear it: those of earlier lives
            self.sent_at[intent.order_id] = intent.sent_at
            while len(self.sent_at) > SENT_MAX:
                self.sent_at.popitem(last=False)
        if intent.opening is not None:
            held = Position(
                name.digest, intent.symbol, intent.opening, intent.order_id, intent.qty, intent.time,
                bracket_of(intent.opening, intent.time),
            )  # fmt: skip
            self._by_digest.setdefault(name.digest, held)
        found = self._by_digest.get(name.digest)
        if found is not None and intent.order_id not in found.orders:
            market = intent.kind is OrderKind.MARKET
            order = OwnOrder(intent.order_id, intent.symbol, name.leg, intent.qty, intent.reduce_only, market)
            order.filled = self._filled(intent.order_id)
            found.intend(order, name.attempt, intent.cause)
            self._gather(found)
        return found

    def _abandon(self, abandoned: Abandoned) -> Position | None:
        held = self._by_digest.get(abandoned.digest)
        if held is not None:
            held.unwanted = True
        return held

    def _find_order(self, found: OrderFound) -> Position | None:
        name = ids.parse_order_id(found.order_id)
        if name is None or self.order(found.order_id) is not None:
            return None
        order = OwnOrder(found.order_id, found.symbol, name.leg, found.qty, found.reduce_only, market=False)
        held = self._by_digest.get(name.digest)
        if held is None or held.symbol != found.symbol:
            self._orphans[found.order_id] = order
            return None
        order.filled = self._filled(found.order_id)
        if name.leg == "e":
            held.entry_order = found.order_id
        held.intend(order, name.attempt, Cause.UNKNOWN)
        return held

    def _adopt(self, adopted: Adopted) -> Position | None:
        if adopted.digest in self._by_digest:
            return None
        first = min(fill.time for fill in adopted.fills)
        qty = sum((fill.qty for fill in adopted.fills if fill.side is adopted.opening.side.entry), ZERO)
        held = Position(
            adopted.digest, adopted.symbol, adopted.opening, "", qty, first, bracket_of(adopted.opening, first)
        )  # fmt: skip
        for fill in adopted.fills:
            self._see(fill)
            held.take(fill)
        self._by_digest[adopted.digest] = held
        return held

    def _see(self, fill: Fill) -> None:
        self._strays.pop(fill.exec_id, None)
        self._seen[fill.exec_id] = None
        while len(self._seen) > SEEN_MAX:
            self._seen.popitem(last=False)
        self.last_fill_time = max(self.last_fill_time, fill.time)

    def _fill(self, fill: Fill) -> Position | None:
        changed = self.take(fill)
        return changed[-1] if changed else None

    def take(self, fill: Fill) -> list[Position]:
        """Take an execution and return the positions that it changed, none when it is known.

        What it closes and what it opens may belong to different positions, or to nobody.
        """
        if self.knows(fill.exec_id):
            return []
        self._revive(fill)
        self._count(fill)
        self._recent.append(fill)
        while self._recent[0].time < fill.time - ASKED_AGAIN_MS:
            self._recent.popleft()
        changed = [held for part in parts(fill) for held in self._place(part, fill)]
        for held in changed:
            self._gather(held)
        self._drop_unopened(fill.order_id)
        return changed

    def _place(self, part: Fill, record: Fill) -> list[Position]:
        """Give an execution to the positions that it shapes; what is left over belongs to nobody yet."""
        owners = [] if part.exec_id in self._seen else self._owners(part)
        rest: Fill | None = part
        for number, held in enumerate(owners, start=1):
            if rest is None:
                return owners[: number - 1]
            # the last one takes all: more closed than opened says that executions of it are still missing
            given, rest = divide(rest, held.qty, "/") if number < len(owners) else (rest, None)
            self._see(given)
            held.take(given)
            if record not in held.records[-1:]:
                held.records.append(record)
            self._spill(held)
        if not owners and part.exec_id not in self._seen:
            self._stray(part)
        return owners

    def _owners(self, part: Fill) -> list[Position]:
        """Return the positions that an execution belongs to, the oldest first: more than one only for what closes."""
        name = ids.parse_order_id(part.order_id)
        named = self._by_digest.get(name.digest) if name is not None else None
        if name is not None and name.leg == "e" and not part.closed_qty:
            return [named] if named is not None else []
        if name is not None and name.leg != "e" and named is not None:
            return [named]
        # stops, targets, hands, entries that close another position, orders left over from an earlier one
        there = [
            held for held in self._by_digest.values()
            if held.symbol == part.symbol and not held.pending and part.time >= held.intended_at
        ]  # fmt: skip
        if part.cause is Cause.FUNDING:
            return [held for held in there if not held.flat or part.time <= held.last_time][:1]
        fitting = [held for held in there if not held.flat and held.opens(part) is not bool(part.closed_qty)]
        return fitting if part.closed_qty else fitting[:1]

    def _spill(self, held: Position) -> None:
        for fill in held.spill():
            self._seen.pop(fill.exec_id, None)
            self._stray(fill)

    def _stray(self, part: Fill) -> None:
        self._strays[part.exec_id] = part
        while len(self._strays) > STRAYS_MAX:
            self._strays.popitem(last=False)

    def _revive(self, fill: Fill) -> None:
        """Take back an entry that was given up as never accepted, and was accepted after all."""
        name = ids.parse_order_id(fill.order_id)
        if name is None or name.leg != "e" or name.digest not in self._dropped or fill.closed_qty >= fill.qty:
            return
        revived = self._by_digest[name.digest] = self._dropped.pop(name.digest)
        # what was reported of its end was wrong
        revived.orders[revived.entry_order].state = None

    def _count(self, fill: Fill) -> None:
        """Count an execution for the order of ours that made it, whichever position it shapes."""
        name = ids.parse_order_id(fill.order_id)
        if name is None:
            return
        held = self._by_digest.get(name.digest) or self._dropped.get(name.digest)
        order = (held.orders.get(fill.order_id) if held is not None else None) or self._orphans.get(fill.order_id)
        if order is None:
            return
        order.filled += fill.qty
        if order.settled:
            self._orphans.pop(fill.order_id, None)

    def _filled(self, order_id: str) -> Decimal:
        """Return how much an order has filled, as far as its executions are known."""
        known = [*self._strays.values(), *(fill for held in self.positions() for fill in held.fills.values())]
        return sum((fill.qty for fill in known if fill.order_id == order_id), ZERO)

    def _gather(self, held: Position) -> None:
        """Give a position the executions that belonged to nobody and do now: they may be told in any order."""
        there = (one for one in self._strays.values() if one.symbol == held.symbol)
        for stray in sorted(there, key=lambda one: one.time):
            if held in self._owners(stray):
                del self._strays[stray.exec_id]
                self._place(stray, stray)

    def _drop_unopened(self, order_id: str) -> None:
        """Forget a position whose entry has ended and only closed another one."""
        name = ids.parse_order_id(order_id)
        held = self._by_digest.get(name.digest) if name is not None and name.leg == "e" else None
        if held is not None and held.pending and held.entry_ended:
            self.drop(held.digest)

    def _end(self, ended: OrderEnded) -> Position | None:
        self._orphans.pop(ended.order_id, None)
        name = ids.parse_order_id(ended.order_id)
        held = self._by_digest.get(name.digest) if name else None
        if held is None or name is None:
            return None
        if (order := held.orders.get(ended.order_id)) is not None:
            order.end(ended.state, ended.filled)
        if name.leg == "e" and held.pending and ended.state is not OrderState.FILLED and not ended.filled:
            self.drop(held.digest)
        self._drop_unopened(ended.order_id)
        self._spill(held)
        return held

    def _close(self, close: Close) -> None:
        for held in self.positions():
            if held.symbol == close.trade.symbol and ids.trade_id(held.digest) == close.trade.trade_id:
                self.close(held)

    def _move(self, moved: StopMoved) -> Position | None:
        held = self._by_digest.get(moved.digest)
        if held is not None:
            held.bracket = msgspec.structs.replace(held.bracket, stop=moved.stop, stop_cause=moved.cause)
        return held

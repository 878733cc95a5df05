"""Positions as the records tell them: the same records give the same positions, live and at replay."""

from __future__ import annotations

import copy
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any

from domain import ids
from domain.durations import HOUR_MS
from domain.order import Cause, OrderKind, OrderState
from domain.records import (
    Abandoned,
    Adopted,
    Close,
    Fill,
    Intent,
    LeverageChanged,
    Managed,
    OrderEnded,
    OrderFound,
    Record,
    StopMoved,
    Touched,
)  # fmt: skip
from domain.trade import ZERO
from engine.attribution import Attribution, Claim
from engine.executions import told_again, whole_of
from engine.order_register import OwnOrder
from engine.position import Position, bracket_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

    from domain.records import Opening

NOBODY = ids.Identity("", "", "")
ASKED_AGAIN_MS = HOUR_MS
SEEN_MAX = 100_000
"""Execution ids remembered, so that a fact told twice counts once."""

RECENT_MAX = 10_000
"""Executions of the last hour that are kept whole."""

STRAYS_MAX = 500
"""Executions of a symbol that belong to no position and are remembered, in case one turns up for them."""

SENT_MAX = 10_000
"""Orders of earlier lives whose time of sending is remembered."""

DROPPED_MAX = 1_000
"""Entries given up that are remembered, in case one of them was accepted after all."""


class Book:
    """All positions, driven by records alone."""

    def __init__(self) -> None:
        self._by_digest: dict[str, Position] = {}
        self._told: OrderedDict[str, None] = OrderedDict()
        self._claimed: OrderedDict[str, None] = OrderedDict()
        self._dropped: OrderedDict[str, Position] = OrderedDict()
        self._pool: dict[str, dict[str, Fill]] = {}
        self._strays: dict[str, dict[str, Fill]] = {}
        self._unseen: dict[str, set[str]] = {}
        self._recent: deque[Fill] = deque(maxlen=RECENT_MAX)
        self._orphans: dict[str, OwnOrder] = {}
        self.sent_at: OrderedDict[str, int] = OrderedDict()
        self.last_fill_time = 0
        self._takes: dict[type, Callable[[Any], Position | None]] = {
            Intent: self._intend, Fill: self._fill, OrderEnded: self._end, StopMoved: self._move, Adopted: self._adopt,
            Close: self._close, Abandoned: self._abandon, OrderFound: self._find_order, LeverageChanged: self._move,
            Touched: self._touch, Managed: self._manage,
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
        return sum(part.cause is not Cause.FUNDING for strays in self._strays.values() for part in strays.values())

    @property
    def late_funding(self) -> int:
        """How many funding payments belong to no position of ours."""
        return sum(map(len, self._strays.values())) - self.unmatched

    def positions(self) -> list[Position]:
        """Return every position that is pending or open."""
        return list(self._by_digest.values())

    def live(self) -> list[Record]:
        """Return the records that this book could not be made again without.

        Executions of the last hour are among them: the exchange will be asked for those once more.
        """
        kept = [record for held in self._by_digest.values() for record in self._made_of(held)]
        told = {whole_of(exec_id) for held in self._by_digest.values() for exec_id in held.fills}
        recent = [fill for fill in self._recent if fill.exec_id not in told]
        return [*recent, *kept]

    def _made_of(self, held: Position) -> list[Record]:
        """Return the records of a position: what it was meant to be, its executions, and what became of its orders."""
        pool = self._pool.get(held.symbol, {})
        fills = {name: pool.get(name) or pool[whole_of(name)] for name in held.fills}
        return [*held.records[:1], *{fill.exec_id: fill for fill in fills.values()}.values(), *held.records[1:]]

    def find(self, digest: str) -> Position | None:
        """Return the position of a signal."""
        return self._by_digest.get(digest)

    def of_symbol(self, symbol: str) -> Position | None:
        """Return the position in a symbol: pending or open, else one that is flat and still to be recorded."""
        there = [held for held in self._by_digest.values() if held.symbol == symbol]
        return next((held for held in there if not held.flat), there[0] if there else None)

    def knows(self, exec_id: str) -> bool:
        """Return whether an execution has been taken before."""
        return exec_id in self._told

    def told_again(self, fill: Fill) -> bool:
        """Return whether an execution that is not known by its id tells again what another one has told."""
        known = self._pool.get(fill.symbol, {}).values()
        # a split changes the units that orders are counted in
        if any(one.cause is Cause.CORPORATE_ACTION for one in known):
            return False
        order = self.order(fill.order_id)
        return told_again(fill, known, order.qty if order is not None and order.leg != "x" else ZERO)

    def claimed(self, exec_id: str) -> bool:
        """Return whether an execution belongs to a position, open or ended."""
        return exec_id in self._claimed or any(exec_id in held.fills for held in self._by_digest.values())

    def drop(self, digest: str) -> None:
        """Forget a position that is flat, or never came to be."""
        held = self._by_digest.pop(digest, None)
        if held is not None and held.fills:
            self._release(held)
        if held is not None and held.pending:
            self._dropped[digest] = held
            while len(self._dropped) > DROPPED_MAX:
                self._dropped.popitem(last=False)

    def close(self, held: Position) -> None:
        """Forget a position that has been recorded; orders of it whose end is not known are left over."""
        self._orphans |= {order.order_id: order for order in held.orders.values() if order.working}
        self.drop(held.digest)

    def take_recorded(self, fills: list[Fill], close: Close) -> bool:
        """Take a recorded trade with all of its executions at once, if that is all there is; return whether it was.

        A replay takes a hundred thousand of them: none has to be shared out.
        """
        trade = close.trade
        held = next((one for one in self._by_digest.values() if ids.trade_id(one.digest) == trade.trade_id), None)
        if held is None or held.fills or self._pool.get(trade.symbol) or any(f.symbol != trade.symbol for f in fills):
            return False
        filled = [sum((f.qty for f in fills if f.order_id == name), ZERO) for name in held.orders]
        whole = filled == [order.qty for order in held.orders.values()]
        known = any(self.knows(fill.exec_id) for fill in fills)
        if known or not whole or [f.exec_id for f in fills] != [leg.exec_id for leg in trade.legs]:
            return False
        for fill in fills:
            self._told[fill.exec_id] = self._claimed[fill.exec_id] = None
            self._recent.append(fill)
            self.last_fill_time = max(self.last_fill_time, fill.time)
        while self._recent[0].time < self.last_fill_time - ASKED_AGAIN_MS:
            self._recent.popleft()
        for seen in (self._told, self._claimed):
            while len(seen) > SEEN_MAX:
                seen.popitem(last=False)
        del self._by_digest[held.digest]
        return True

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

    def strays(self, symbol: str) -> list[Fill]:
        """Return the executions of a symbol, or parts of such, that belong to no position of ours, oldest first."""
        return list(self._strays.get(symbol, {}).values())

    def stray_symbols(self) -> list[str]:
        """Return the symbols in which executions are known that belong to no position of ours."""
        return list(self._strays)

    def net(self, symbol: str) -> Decimal:
        """Return the signed quantity that our positions in a symbol have open."""
        there = (held for held in self._by_digest.values() if held.symbol == symbol)
        return sum((held.opening.side.sign * held.qty for held in there), ZERO)

    def net_of_strays(self, symbol: str, since: int) -> Decimal:
        """Return the signed quantity that executions of nobody's have made of a symbol since a time (UTC ms).

        What closed a position that was not seen being opened has left nothing of it.
        """
        unseen = self._unseen.get(symbol, set())
        traded = (one for one in self.strays(symbol) if one.cause is not Cause.FUNDING and one.exec_id not in unseen)
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
            self._dropped.pop(name.digest, None)
        found = self._by_digest.get(name.digest)
        if found is not None and intent.order_id not in found.orders:
            market = intent.kind is OrderKind.MARKET
            order = OwnOrder(intent.order_id, intent.symbol, name.leg, intent.qty, intent.reduce_only, market)
            order.filled = self._filled(intent.symbol, intent.order_id)
            found.intend(order, name.attempt, intent.cause)
            if intent.symbol in self._strays:
                self._attribute(intent.symbol)
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
        order.filled = self._filled(found.symbol, found.order_id)
        if name.leg == "e":
            held.entry_order = found.order_id
        held.intend(order, name.attempt, Cause.UNKNOWN)
        return held

    def _adopt(self, adopted: Adopted) -> Position | None:
        if (there := self._by_digest.get(adopted.digest)) is not None:
            return self._correct(there, adopted)
        opening, first = adopted.opening, min(fill.time for fill in adopted.fills)
        qty = sum((fill.qty for fill in adopted.fills if fill.side is opening.side.entry), ZERO)
        held = Position(adopted.digest, adopted.symbol, opening, "", qty, first, bracket_of(opening, first))
        self._give(held, adopted)
        self._by_digest[adopted.digest] = held
        self._attribute(adopted.symbol)
        return held

    def _correct(self, held: Position, adopted: Adopted) -> Position | None:
        """Take the exchange's own account of a position in place of what was known of it."""
        if {fill.exec_id for fill in adopted.fills} == {whole_of(exec_id) for exec_id in held.fills}:
            return None
        pool = self._pool.get(held.symbol, {})
        for exec_id in held.fills:
            pool.pop(whole_of(exec_id), None)
            pool.pop(exec_id, None)
        self._give(held, adopted)
        for order in held.orders.values():
            order.filled = self._filled(held.symbol, order.order_id)
        self._attribute(held.symbol)
        return held

    def _give(self, held: Position, adopted: Adopted) -> None:
        held.given = frozenset(fill.exec_id for fill in adopted.fills)
        for fill in adopted.fills:
            pool = self._pool.get(fill.symbol, {})
            if whole_of(fill.exec_id) not in pool and fill.exec_id not in pool:
                self._add(fill)
        for order_id in {fill.order_id for fill in adopted.fills}:
            # perhaps the order of another: what an entry fills after its position was closed is a position of its own
            if (order := self.order(order_id)) is not None:
                order.filled = self._filled(order.symbol, order_id)

    def _fill(self, fill: Fill) -> Position | None:
        changed = self.take(fill)
        return changed[-1] if changed else None

    def take(self, fill: Fill) -> list[Position]:
        """Take an execution and return the positions that it changed, none when it is known."""
        if self.knows(fill.exec_id) or self.told_again(fill):
            return []
        self._revive(fill)
        self._count(fill)
        self._recent.append(fill)
        while self._recent[0].time < fill.time - ASKED_AGAIN_MS:
            self._recent.popleft()
        self._add(fill)
        return self._attribute(fill.symbol)

    def try_out(self, fill: Fill) -> None:
        """Reckon with an execution as ``take`` would, and change nothing.

        Raises:
            ArithmeticError, ValueError: when nobody can reckon with it, or with what it makes of a position.
        """
        there = self._there(fill.symbol)
        pool = self._pool.get(fill.symbol, {}) | {fill.exec_id: fill}
        made = Attribution.of(pool.values(), {digest: Claim(h.intended_at, h.given) for digest, h in there.items()})
        for digest, held in there.items():
            trial = copy.copy(held)
            if trial.hold(made.owned[digest]) and trial.flat:
                trial.to_trade(NOBODY)

    def forget(self, fill: Fill) -> None:
        """Forget an execution that could not be reckoned with: the exchange may tell it again, as it was."""
        self._told.pop(fill.exec_id, None)
        self._pool.get(fill.symbol, {}).pop(fill.exec_id, None)

    def _there(self, symbol: str) -> dict[str, Position]:
        """Return the positions of a symbol by digest, the first that was meant first."""
        held = (one for one in self._by_digest.values() if one.symbol == symbol)
        return {one.digest: one for one in sorted(held, key=lambda one: one.intended_at)}

    def _add(self, fill: Fill) -> None:
        """Put an execution among those that are shared out; of one that is there in part, the whole counts."""
        self._told[whole_of(fill.exec_id)] = None
        while len(self._told) > SEEN_MAX:
            self._told.popitem(last=False)
        pool = self._pool.setdefault(fill.symbol, {})
        for name in [name for name in pool if whole_of(name) == fill.exec_id]:
            del pool[name]
        pool[fill.exec_id] = fill
        self.last_fill_time = max(self.last_fill_time, fill.time)

    def _attribute(self, symbol: str) -> list[Position]:
        """Share out the executions of a symbol anew; return the positions that this has changed."""
        there = self._there(symbol)
        claims = {digest: Claim(held.intended_at, held.given) for digest, held in there.items()}
        made = Attribution.of(self._pool.get(symbol, {}).values(), claims)
        self._strays[symbol] = {part.exec_id: part for part in made.strays}
        self._unseen[symbol] = made.unseen
        self._bound(symbol)
        changed = [held for digest, held in there.items() if held.hold(made.owned[digest])]
        for held in there.values():
            self._drop_unopened(held)
        return changed

    def _bound(self, symbol: str) -> None:
        """Forget the oldest executions of nobody's once there are too many of them."""
        strays = self._strays[symbol]
        for exec_id in list(strays)[: max(0, len(strays) - STRAYS_MAX)]:
            del strays[exec_id]
            self._pool[symbol].pop(exec_id, None)
        if not strays:
            del self._strays[symbol]
            self._unseen.pop(symbol, None)

    def _release(self, held: Position) -> None:
        """Share out the executions of a forgotten position no more; what of them is another's stays."""
        pool = self._pool.get(held.symbol, {})
        others = [part for one in self._by_digest.values() if one.symbol == held.symbol for part in one.fills.values()]
        others += self._strays.get(held.symbol, {}).values()
        for exec_id in held.fills:
            self._claimed[exec_id] = None
            pool.pop(whole_of(exec_id), None)
            pool.pop(exec_id, None)
        while len(self._claimed) > SEEN_MAX:
            self._claimed.popitem(last=False)
        gone = {whole_of(exec_id) for exec_id in held.fills}
        pool.update({part.exec_id: part for part in others if whole_of(part.exec_id) in gone})
        if not pool:
            self._pool.pop(held.symbol, None)

    def _revive(self, fill: Fill) -> None:
        """Take back an entry that was given up as never accepted, and was accepted after all."""
        name = ids.parse_order_id(fill.order_id)
        if name is None or name.leg != "e" or name.digest not in self._dropped or fill.closed_qty >= fill.qty:
            return
        revived = self._by_digest[name.digest] = self._dropped.pop(name.digest)
        if not revived.orders[revived.entry_order].reported:
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

    def _filled(self, symbol: str, order_id: str) -> Decimal:
        """Return how much an order has filled, as far as its executions are known."""
        known = self._pool.get(symbol, {}).values()
        return sum((fill.qty for fill in known if fill.order_id == order_id), ZERO)

    def _drop_unopened(self, held: Position) -> None:
        """Forget a position whose entry has ended and only closed another one."""
        entry = held.orders.get(held.entry_order)
        if held.pending and entry is not None and entry.settled and entry.filled:
            self.drop(held.digest)

    def _end(self, ended: OrderEnded) -> Position | None:
        self._orphans.pop(ended.order_id, None)
        name = ids.parse_order_id(ended.order_id)
        held = self._by_digest.get(name.digest) if name else None
        if held is None or name is None:
            self._end_dropped(ended)
            return None
        if (order := held.orders.get(ended.order_id)) is not None:
            order.end(ended.state, ended.filled)
        if name.leg == "e" and held.pending and ended.state is not OrderState.FILLED and not ended.filled:
            self.drop(held.digest)
        self._drop_unopened(held)
        return held

    def _end_dropped(self, ended: OrderEnded) -> None:
        """Take how an entry ended that was given up, and had filled: its executions are still to be told."""
        name = ids.parse_order_id(ended.order_id)
        held = self._dropped.get(name.digest) if name is not None else None
        order = held.orders.get(ended.order_id) if held is not None else None
        if order is not None and ended.filled:
            order.end(ended.state, ended.filled)

    def _close(self, close: Close) -> None:
        for held in self.positions():
            if held.symbol == close.trade.symbol and ids.trade_id(held.digest) == close.trade.trade_id:
                self.close(held)

    def _touch(self, touched: Touched) -> Position | None:
        held = self._by_digest.get(touched.digest)
        if held is not None:
            held.touch(touched)
        return held

    def _manage(self, managed: Managed) -> Position | None:
        held = self._by_digest.get(managed.digest)
        if held is not None:
            held.managed = managed
        return held

    def _move(self, moved: StopMoved | LeverageChanged) -> Position | None:
        held = self._by_digest.get(moved.digest)
        if held is not None and isinstance(moved, LeverageChanged):
            held.leverage_found = moved.leverage
        elif held is not None and isinstance(moved, StopMoved):
            held.move_stop(moved.stop, moved.cause)
        return held

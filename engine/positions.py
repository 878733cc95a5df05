"""Positions as the records tell them: the same records give the same positions, live and at replay."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from domain import ids
from domain.exits import Bracket
from domain.order import Cause, OrderKind, OrderState
from domain.records import (
    Abandoned,
    Adopted,
    Close,
    Fill,
    Intent,
    LeverageChanged,
    OrderEnded,
    OrderFound,
    Record,
    StopMoved,
)  # fmt: skip
from domain.trade import ZERO, Leg, Trade
from engine.order_register import OwnOrder

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from domain.ids import Identity
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


@dataclass(slots=True)
class Position:
    """One position from its entry intent to flat; ``opened`` and ``closed`` are the quantities taken in and out.

    ``orders`` are those of ours that shape it, by id; ``records`` are all that made it what it is. ``unwanted`` says
    that the operator wants it closed, whatever its entry still does.
    """

    digest: str
    symbol: str
    opening: Opening
    entry_order: str
    requested: Decimal
    intended_at: int
    bracket: Bracket
    fills: dict[str, Fill] = field(default_factory=dict)
    orders: dict[str, OwnOrder] = field(default_factory=dict)
    partial_attempts: int = 0
    partial_planned: Decimal = ZERO
    partial_filled: Decimal = ZERO
    exit_cause: Cause = Cause.UNKNOWN
    exit_attempts: int = 0
    observed_until: int = 0
    unwanted: bool = False
    leverage_found: Decimal = ZERO
    opened: Decimal = ZERO
    closed: Decimal = ZERO
    records: list[Record] = field(default_factory=list, repr=False, compare=False)
    _partial: str = ""
    _exit: str = ""

    @property
    def qty(self) -> Decimal:
        """Quantity still open."""
        return self.opened - self.closed

    @property
    def leverage(self) -> Decimal:
        """The leverage that it stands at: as the exchange told last, or as it was opened with."""
        return self.leverage_found or self.opening.leverage

    @property
    def pending(self) -> bool:
        """Whether the entry has not filled at all yet."""
        return not self.opened

    @property
    def entry_ended(self) -> bool:
        """Whether the entry cannot fill any further, and all that it filled is known."""
        entry = self.orders.get(self.entry_order)
        return entry is None or entry.settled

    @property
    def entry_rest(self) -> Decimal:
        """What the entry may still add."""
        entry = self.orders.get(self.entry_order)
        return ZERO if entry is None else entry.rest

    @property
    def partial_order(self) -> str:
        """Id of the partial target's order while it has not settled, else empty."""
        return self._unsettled(self._partial)

    @property
    def partial_taken(self) -> bool:
        """Whether all that was to be taken off at the partial target has been."""
        return self.partial_filled > 0 and self.partial_filled >= self.partial_planned

    @property
    def exit_order(self) -> str:
        """Id of the exit's order while it has not settled, else empty."""
        return self._unsettled(self._exit)

    @property
    def leaving(self) -> bool:
        """Whether an exit was ordered that has ended without closing everything."""
        return self.exit_attempts > 0 and not self.exit_order and self.qty > 0

    @property
    def flat(self) -> bool:
        """Whether what was opened has been closed; more closed than opened means that executions are still missing.

        While its entry may still fill, a flat position is not over.
        """
        return self.opened > 0 and self.opened == self.closed

    @property
    def last_time(self) -> int:
        """Market time of the last execution that opened or closed."""
        return max((f.time for f in self._trades()), default=0)

    def fundings_missing(self, interval_ms: int) -> bool:
        """Whether fewer funding payments are known than fell due while the position was open."""
        first = min((f.time for f in self._trades()), default=0)
        due = self.last_time // interval_ms - first // interval_ms
        return sum(f.cause is Cause.FUNDING for f in self.fills.values()) < due

    def commitment(self, price: Decimal) -> Decimal:
        """Return its value at a price; what the entry may still add counts as if it had filled."""
        return (self.qty + self.entry_rest) * price

    @property
    def entry_price(self) -> Decimal:
        """Average price of the entry fills, the signal's price before the first."""
        return self.bracket.entry

    def realised(self) -> Decimal:
        """Return profit of what was taken out, less all fees and funding so far."""
        side, entry = self.opening.side.sign, self.entry_price
        gross = sum([side * (f.price - entry) * f.qty for f in self._trades() if not self._opens(f)], ZERO)
        return gross - sum([f.fee for f in self.fills.values()], ZERO)

    def unrealised(self, price: Decimal) -> Decimal:
        """Return the open profit at a price."""
        return self.opening.side.sign * (price - self.entry_price) * self.qty

    def to_trade(self, who: Identity) -> Trade:
        """Return the finished trade."""
        trades, entering = self._trades(), self.opening.side.entry
        told = sorted(self.fills.values(), key=lambda f: (f.time, f.exec_id))
        times = {f.time: datetime.fromtimestamp(f.time / 1000, UTC) for f in told}
        entries, exits = [f for f in trades if f.side is entering], [f for f in trades if f.side is not entering]
        # inside of one bar all happens at once; a partial target leaves something for another to close
        last = max(exits, key=lambda f: (f.time, f.cause is not Cause.PARTIAL))
        entry, side = self.entry_price, self.opening.side
        # what came in less what went out, exactly: an average price is rounded, and a large quantity makes that show
        gross = side.sign * (
            sum([f.price * f.qty for f in exits], ZERO) - sum([f.price * f.qty for f in entries], ZERO)
        )
        fees = sum([f.fee for f in trades], ZERO)
        funding = sum([f.fee for f in told if f.cause is Cause.FUNDING], ZERO)
        net = gross - fees - funding
        value, risk = entry * self.opened, self.bracket.risk
        return Trade(
            symbol=self.symbol, side=side.value, entry_price=entry, exit_price=self._average(exits),
            quantity=self.opened, entry_time=times[min([f.time for f in entries])], exit_time=times[last.time],
            pnl_usd=net, pnl_percent=round(net / value * 100 * self.leverage, 8),
            exit_reason=self._cause(last).value, leverage=self.leverage, strategy_name=self.opening.strategy,
            trade_id=ids.trade_id(self.digest), source=who.source, mode=who.mode, account=who.account,
            timeframe=self.opening.timeframe, gross_pnl=gross, fees=fees, funding=funding,
            r_multiple=_ratio(net, risk * self.opened),
            max_favourable_r=_ratio(side.sign * (self.bracket.best - entry), risk) if self.bracket.best else ZERO,
            max_adverse_r=_ratio(side.sign * (self.bracket.worst - entry), risk) if self.bracket.worst else ZERO,
            score=self.opening.score,
            legs=tuple([
                Leg(exec_id=f.exec_id, time=times[f.time], qty=f.qty, price=f.price, fee=f.fee,
                    cause=self._cause(f).value, closing=f.side is not entering)
                for f in told
            ]),
        )  # fmt: skip

    def take(self, fill: Fill) -> None:
        """Add an execution; one that is known already changes nothing."""
        if fill.exec_id in self.fills:
            return
        self.fills[fill.exec_id] = fill
        if fill.cause is Cause.FUNDING:
            return
        if (order := self.orders.get(fill.order_id)) is not None:
            order.filled += fill.qty
        if fill.cause is Cause.PARTIAL:
            self.partial_filled += fill.qty
        if not self._opens(fill):
            self.closed += fill.qty
        else:
            self.opened += fill.qty
            trades = self._trades()
            entry = self._average([f for f in trades if self._opens(f)]) or self.opening.entry
            opened_at = min([f.time for f in trades])
            self.bracket = msgspec.structs.replace(self.bracket, entry=entry, opened_at=opened_at)

    def sum_of(self, order_ids: Collection[str]) -> tuple[Decimal, Decimal, Decimal]:
        """Return quantity, average price and fees of what orders of it have filled."""
        fills = [fill for fill in self._trades() if fill.order_id in order_ids]
        return sum([f.qty for f in fills], ZERO), self._average(fills), sum([f.fee for f in fills], ZERO)

    def intend(self, order: OwnOrder, attempt: int, cause: Cause) -> None:
        """Take an order that is about to be sent, or that was found on the exchange."""
        self.orders.setdefault(order.order_id, order)
        if order.leg == "p":
            self._partial, self.partial_attempts = order.order_id, attempt + 1
            self.partial_planned = self.partial_filled + order.qty
        elif order.leg == "x":
            self._exit, self.exit_cause, self.exit_attempts = order.order_id, cause, attempt + 1

    def unsettled(self) -> list[OwnOrder]:
        """Return its orders that may still fill, or of which executions are missing."""
        return [order for order in self.orders.values() if not order.settled]

    def _unsettled(self, order_id: str) -> str:
        order = self.orders.get(order_id)
        return "" if order is None or order.settled else order_id

    def _opens(self, fill: Fill) -> bool:
        return fill.side is self.opening.side.entry

    def _trades(self) -> list[Fill]:
        return [f for f in self.fills.values() if f.cause is not Cause.FUNDING]

    def _cause(self, fill: Fill) -> Cause:
        if fill.cause is Cause.STOP_LOSS:
            return self.bracket.stop_cause
        name = ids.parse_order_id(fill.order_id)
        if fill.cause is Cause.UNKNOWN and name is not None and name.leg == "x":
            return self.exit_cause
        return fill.cause

    @staticmethod
    def _average(fills: list[Fill]) -> Decimal:
        qty = sum([f.qty for f in fills], ZERO)
        return round(sum([f.qty * f.price for f in fills], ZERO) / qty, 12) if qty else ZERO


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
            Intent: self._intend, Fill: self._fill, OrderEnded: self._end, StopMoved: self._move, Adopted: self._adopt,
            Close: self._close, Abandoned: self._abandon, OrderFound: self._find_order, LeverageChanged: self._move,
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
        held = {exec_id for position in self._by_digest.values() for exec_id in position.fills}
        recent = [fill for fill in self._recent if fill.exec_id not in held]
        return [*recent, *(record for position in self._by_digest.values() for record in position.records)]

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
        if held is not None:
            held.records.append(record)
        return held

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
                _bracket(intent.opening, intent.time),
            )  # fmt: skip
            self._by_digest.setdefault(name.digest, held)
            self._dropped.pop(name.digest, None)
        found = self._by_digest.get(name.digest)
        if found is not None and intent.order_id not in found.orders:
            market = intent.kind is OrderKind.MARKET
            order = OwnOrder(intent.order_id, intent.symbol, name.leg, intent.qty, intent.reduce_only, market)
            found.intend(order, name.attempt, intent.cause)
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
        order.filled = sum((fill.qty for fill in held.fills.values() if fill.order_id == found.order_id), ZERO)
        if name.leg == "e":
            held.entry_order = found.order_id
        held.intend(order, name.attempt, Cause.UNKNOWN)
        return held

    def _adopt(self, adopted: Adopted) -> Position | None:
        if adopted.digest in self._by_digest:
            return None
        opening, first = adopted.opening, min(fill.time for fill in adopted.fills)
        qty = sum((fill.qty for fill in adopted.fills if fill.side is opening.side.entry), ZERO)
        held = Position(adopted.digest, adopted.symbol, opening, "", qty, first, _bracket(opening, first))
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
        if self.knows(fill.exec_id):
            return None
        self._fill_orphan(fill)
        self._recent.append(fill)
        while self._recent[0].time < fill.time - ASKED_AGAIN_MS:
            self._recent.popleft()
        held = self._owner(fill)
        if held is None:
            self._strays[fill.exec_id] = fill
            while len(self._strays) > STRAYS_MAX:
                self._strays.popitem(last=False)
            return None
        self._see(fill)
        held.take(fill)
        if self._strays:
            self._gather(held)
        return held

    def _fill_orphan(self, fill: Fill) -> None:
        orphan = self._orphans.get(fill.order_id)
        if orphan is not None and fill.exec_id not in self._strays:
            orphan.filled += fill.qty
            if orphan.settled:
                del self._orphans[fill.order_id]

    def _gather(self, held: Position) -> None:
        """Give a position the executions that belonged to nobody and do now: they may be told in any order."""
        for stray in sorted(self._strays.values(), key=lambda one: one.time):
            if stray.symbol == held.symbol and self._owner(stray) is held:
                self._see(stray)
                held.take(stray)
                held.records.append(stray)

    def _owner(self, fill: Fill) -> Position | None:
        name = ids.parse_order_id(fill.order_id)
        if name is None:
            return self._unnamed(fill)
        if name.leg == "e" and name.digest in self._dropped:
            # given up as never accepted, and accepted after all: what was reported of its end was wrong
            revived = self._by_digest[name.digest] = self._dropped.pop(name.digest)
            revived.orders[revived.entry_order].state = None
        held = self._by_digest.get(name.digest)
        # an order left over from an earlier position takes from the one that is there now
        return held if held is not None or not fill.closed_qty else self._unnamed(fill)

    def _unnamed(self, fill: Fill) -> Position | None:
        """Return the position that an execution without an order of ours belongs to: stops, targets, funding."""
        held = self.of_symbol(fill.symbol)
        if held is None or held.pending or fill.time < held.intended_at:
            return None
        if held.flat and (fill.cause is not Cause.FUNDING or fill.time > held.last_time):
            return None
        return held

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
        return held

    def _close(self, close: Close) -> None:
        for held in self.positions():
            if held.symbol == close.trade.symbol and ids.trade_id(held.digest) == close.trade.trade_id:
                self.close(held)

    def _move(self, moved: StopMoved | LeverageChanged) -> Position | None:
        held = self._by_digest.get(moved.digest)
        if held is not None and isinstance(moved, LeverageChanged):
            held.leverage_found = moved.leverage
        elif held is not None and isinstance(moved, StopMoved):
            held.bracket = msgspec.structs.replace(held.bracket, stop=moved.stop, stop_cause=moved.cause)
        return held


def _bracket(opening: Opening, time: int) -> Bracket:
    return Bracket(
        side=opening.side, entry=opening.entry, first_stop=opening.stop, stop=opening.stop, target=opening.target,
        plan=opening.plan, opened_at=time,
    )  # fmt: skip


def _ratio(value: Decimal, unit: Decimal) -> Decimal:
    return round(value / unit, 6) if unit else ZERO

"""One position: the sum of its executions, and the orders of ours that shape it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from domain import ids
from domain.exits import Bracket, tighten, widen
from domain.order import Cause
from domain.records import Fill, Managed, Record, StopMoved, Touch, Touched
from domain.trade import ZERO, Leg, Trade, rounded
from engine.order_register import OwnOrder

if TYPE_CHECKING:
    from collections.abc import Collection

    from domain.candle import Bars
    from domain.ids import Identity
    from domain.records import Opening


@dataclass(slots=True)
class Position:
    """One position from its entry intent to flat; ``opened`` and ``closed`` are the quantities taken in and out.

    ``orders`` are those of ours that shape it, by id; ``records`` are all that made it what it is. ``unwanted`` says
    that the operator wants it closed, whatever its entry still does. ``touches`` are what other hands have done to it,
    ``outgrown`` its partial targets that were withdrawn because it had grown, ``known_stops`` the levels at which its
    stop has stood, or was asked for. ``managed`` is what its strategy has made of it so far, None when it never has.
    """

    digest: str
    symbol: str
    opening: Opening
    entry_order: str
    requested: Decimal
    intended_at: int
    bracket: Bracket
    given: frozenset[str] = frozenset()
    fills: dict[str, Fill] = field(default_factory=dict)
    orders: dict[str, OwnOrder] = field(default_factory=dict)
    partial_attempts: int = 0
    partial_filled: Decimal = ZERO
    exit_cause: Cause = Cause.UNKNOWN
    exit_attempts: int = 0
    observed_until: int = 0
    unwanted: bool = False
    leverage_found: Decimal = ZERO
    touches: list[Touched] = field(default_factory=list)
    outgrown: set[str] = field(default_factory=set)
    known_stops: set[Decimal] = field(default_factory=set)
    managed: Managed | None = None
    opened: Decimal = ZERO
    closed: Decimal = ZERO
    records: list[Record] = field(default_factory=list, repr=False, compare=False)
    _partial: str = ""
    _exit: str = ""
    _part: str = ""
    part_attempts: int = 0

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
    def partial_planned(self) -> Decimal:
        """What is to be taken off at the partial target: what ended orders for it have filled, and the newest one."""
        earlier = [o.filled for o in self.orders.values() if o.leg == "p" and o.order_id != self._partial]
        newest = self.orders.get(self._partial)
        return sum(earlier, ZERO) + (newest.qty if newest is not None else ZERO)

    @property
    def partial_taken(self) -> bool:
        """Whether all that was to be taken off at the partial target has been."""
        return self.partial_filled > 0 and self.partial_filled >= self.partial_planned

    @property
    def part_order(self) -> str:
        """Id of the order for a part that its strategy takes off while it has not settled, else empty."""
        return self._unsettled(self._part)

    @property
    def part_failures(self) -> int:
        """How many orders for such parts have ended with nothing filled."""
        return sum(o.leg == "t" and o.state is not None and not o.filled for o in self.orders.values())

    @property
    def surplus(self) -> Decimal:
        """What is open beyond the share that its strategy wants to keep."""
        return self.qty - self.opened * self.managed.keep if self.managed is not None else ZERO

    @property
    def wanted(self) -> Bracket:
        """The bracket with its stop where its strategy wants it, unless it stands tighter."""
        if self.managed is None or not self.managed.stop:
            return self.bracket
        return tighten(self.bracket, self.managed.stop, Cause.TRAILING_STOP)

    def remaining(self, until: int) -> Decimal:
        """Return which share of what was opened was still open at a market time (UTC ms)."""
        closed = sum([f.qty for f in self._trades() if not self.opens(f) and f.time < until], ZERO)
        return (self.opened - closed) / self.opened if self.opened else ZERO

    def parts_taken(self, until: int) -> int:
        """Return how many orders for parts that its strategy takes off had filled by a market time (UTC ms)."""
        return len({f.order_id for f in self._trades() if _by_strategy(f) and f.time < until})

    @property
    def decided_until(self) -> int:
        """Market time up to which its bars have been acted on, as far as the records tell (UTC ms)."""
        moved = [one.time for one in self.records if isinstance(one, Managed | StopMoved)]
        return max(self.bracket.opened_at, self.intended_at, *moved)

    @property
    def exit_order(self) -> str:
        """Id of the exit's order while it has not settled, else empty."""
        return self._unsettled(self._exit)

    @property
    def reductions(self) -> list[OwnOrder]:
        """Orders for parts that the operator had closed."""
        return [order for order in self.orders.values() if order.leg == "r"]

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

    def show(self, bars: Bars) -> None:
        """Take the bars that closed since it opened, without acting on them."""
        start = int(bars.open_time.searchsorted(self.opening.bar_start, side="right"))
        for bar in bars[start:].rows() if not self.pending else ():
            self.bracket = widen(self.bracket, bar.high, bar.low)

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
        gross = sum([side * (f.price - entry) * f.qty for f in self._trades() if not self.opens(f)], ZERO)
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
        best, worst = self._excursions(exits)
        return Trade(
            symbol=self.symbol, side=side.value, entry_price=entry, exit_price=self._average(exits),
            quantity=self.opened, entry_time=times[min([f.time for f in entries])], exit_time=times[last.time],
            pnl_usd=net, pnl_percent=rounded(net / value * 100 * self.leverage, 8),
            exit_reason=self._cause(last).value, leverage=self.leverage, strategy_name=self.opening.strategy,
            trade_id=ids.trade_id(self.digest), source=who.source, mode=who.mode, account=who.account,
            timeframe=self.opening.timeframe, gross_pnl=gross, fees=fees, funding=funding,
            r_multiple=_ratio(net, risk * self.opened),
            max_favourable_r=_ratio(best, risk), max_adverse_r=_ratio(worst, risk),
            score=self.opening.score, touched=",".join(self._touched()),
            legs=tuple([
                Leg(exec_id=f.exec_id, time=times[f.time], qty=f.qty, price=f.price, fee=f.fee,
                    cause=self._cause(f).value, closing=f.side is not entering)
                for f in told
            ]),
        )  # fmt: skip

    def _excursions(self, exits: list[Fill]) -> tuple[Decimal, Decimal]:
        """Return the largest moves for it and against it per unit; it saw its entry, and what it was left at, too."""
        seen = [self.bracket.best, self.bracket.worst] if self.bracket.best else []
        moves = [self.opening.side.sign * (price - self.entry_price) for price in (*seen, *(f.price for f in exits))]
        return max(ZERO, *moves), min(ZERO, *moves)

    def hold(self, fills: dict[str, Fill]) -> bool:
        """Take these as the executions that make it up; return whether that changes anything."""
        if fills == self.fills:
            return False
        self.fills = fills
        trades = self._trades()
        entering = [f for f in trades if self.opens(f)]
        self.opened = sum([f.qty for f in entering], ZERO)
        self.closed = sum([f.qty for f in trades], ZERO) - self.opened
        self.partial_filled = sum([f.qty for f in trades if f.cause is Cause.PARTIAL and not _by_strategy(f)], ZERO)
        if entering:
            entry, opened_at = self._average(entering) or self.opening.entry, min([f.time for f in trades])
            self.bracket = msgspec.structs.replace(self.bracket, entry=entry, opened_at=opened_at)
        return True

    def move_stop(self, stop: Decimal, cause: Cause) -> None:
        """Take that its stop stands elsewhere now; a list that is late may go on showing the old level."""
        self.known_stops |= {self.bracket.stop, stop}
        self.bracket = msgspec.structs.replace(self.bracket, stop=stop, stop_cause=cause)

    def touch(self, touched: Touched) -> None:
        """Take note of what a hand has done; a stop or a target that it moved is where it put it."""
        self.touches.append(touched)
        if touched.level is not None and touched.touch is Touch.STOP_TIGHTENED:
            self.move_stop(touched.level, Cause.STOP_LOSS)
        if touched.level and touched.touch is Touch.TARGET_MOVED:
            self.bracket = msgspec.structs.replace(self.bracket, target=touched.level)

    def _touched(self) -> list[str]:
        names = list(dict.fromkeys(one.touch.value for one in self.touches))
        return [*names, "leverage_changed"] if self.leverage != self.opening.leverage else names

    def sum_of(self, order_ids: Collection[str]) -> tuple[Decimal, Decimal, Decimal]:
        """Return quantity, average price and fees of what orders of it have filled."""
        fills = [fill for fill in self._trades() if fill.order_id in order_ids]
        return sum([f.qty for f in fills], ZERO), self._average(fills), sum([f.fee for f in fills], ZERO)

    def intend(self, order: OwnOrder, attempt: int, cause: Cause) -> None:
        """Take an order that is about to be sent, or that was found on the exchange."""
        self.orders.setdefault(order.order_id, order)
        if order.leg == "p":
            self._partial, self.partial_attempts = order.order_id, attempt + 1
        elif order.leg == "t":
            self._part, self.part_attempts = order.order_id, attempt + 1
        elif order.leg == "x":
            self._exit, self.exit_cause, self.exit_attempts = order.order_id, cause, attempt + 1

    def fills_by_hand(self) -> list[Fill]:
        """Return the executions of hands in it that no touch tells of.

        What it was taken over with from somebody is none of these; what it was corrected by may be.
        """
        told = {one.name for one in self.touches}
        before = frozenset() if self.entry_order else self.given
        return [
            fill for fill in self.fills.values()
            if fill.cause is Cause.MANUAL and fill.venue_order_id not in told and fill.exec_id not in before
        ]  # fmt: skip

    def unsettled(self) -> list[OwnOrder]:
        """Return its orders that may still fill, or of which executions are missing."""
        return [order for order in self.orders.values() if not order.settled]

    def _unsettled(self, order_id: str) -> str:
        order = self.orders.get(order_id)
        return "" if order is None or order.settled else order_id

    def opens(self, fill: Fill) -> bool:
        """Return whether an execution has the direction of its entry."""
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
        price = sum([f.qty * f.price for f in fills], ZERO) / qty if qty else ZERO
        # a price far below one keeps as many digits
        return rounded(price, 12 + max(0, -price.adjusted())) if price else ZERO


def bracket_of(opening: Opening, time: int) -> Bracket:
    """Return the stop and the target that a position begins with; ``time`` is when it was meant (UTC ms)."""
    return Bracket(
        side=opening.side, entry=opening.entry, first_stop=opening.stop, stop=opening.stop, target=opening.target,
        plan=opening.plan, opened_at=time,
    )  # fmt: skip


def _by_strategy(fill: Fill) -> bool:
    """Return whether an execution took off a part because the strategy said so, and not the partial target."""
    name = ids.parse_order_id(fill.order_id)
    return name is not None and name.leg == "t"


def _ratio(value: Decimal, unit: Decimal) -> Decimal:
    return rounded(value / unit, 6) if unit else ZERO

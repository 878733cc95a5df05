"""An exchange on virtual time that does everything an exchange can do wrong, with true books behind it."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import AsyncIterator, Sequence
from decimal import Decimal as D
from typing import TYPE_CHECKING, Any

import msgspec

from broker.bybit.messages import KINDS
from broker.bybit.objections import objection
from broker.paper import fill_of
from domain.account import AccountState, Execution, VenueOrder, VenuePosition
from domain.candle import Bar
from domain.direction import Fate, Slicing
from domain.errors import OutcomeUnknown, Rejected, Unavailable
from domain.fills import Costs
from domain.ids import parse_order_id
from domain.instrument import Instrument
from domain.order import (
    Balance,
    Cause,
    ClosedPart,
    OpenOrder,
    OrderReport,
    OrderRequest,
    OrderState,
    PositionReport,
    StreamStatus,
)
from domain.order_book import OrderBooks
from domain.records import Fill, Unread
from domain.refusal import Reason, Refused
from sandbox.codes import code_of, words_of
from sandbox.practice_account import PracticeAccount
from tests.torture.hand import Hand

if TYPE_CHECKING:
    from domain.ports import Told

LAG_S = 1.5
WINDOW_S = 5.0


STATES = {
    "Filled": OrderState.FILLED, "Cancelled": OrderState.CANCELLED, "Deactivated": OrderState.CANCELLED,
    "PartiallyFilledCanceled": OrderState.CANCELLED, "Rejected": OrderState.REJECTED,
}  # fmt: skip
REASONS = ("EC_NoImmediateQtyToFill", "EC_ReachMarketPriceLimit")
MS_PER_S = 60_000
"""Market milliseconds in a virtual second: a bar of three minutes takes three seconds."""


class Venue:
    """The truth: one account, every execution; it outlives the bot. ``trouble`` is the chance of each kind of fault.

    Orders fill in slices from a book, some of them later; resting ones in parts and slivers; some that were accepted
    are cancelled by the exchange, filled in part or not at all: entries, partial targets, exits, and stops too.
    """

    def __init__(self, draw: random.Random, rules: dict[str, Instrument], trouble: float) -> None:
        self.draw, self.rules, self.trouble = draw, rules, trouble
        self.account = PracticeAccount(
            AccountState(wallet=D(1_000_000), name=f"v{draw.random()}"),
            rules,
            Costs(),
            books=OrderBooks(rules, Costs()),
        )
        self.account.director = self
        self.time = 0
        self.barred_at = 0.0
        self.fills: list[tuple[float, Fill]] = []
        self.orders: dict[str, tuple[float, VenueOrder]] = {}
        self.positions: list[tuple[float, list[PositionReport]]] = [(float("-inf"), [])]
        self.working: list[tuple[float, list[OpenOrder]]] = [(float("-inf"), [])]
        self.listeners: list[asyncio.Queue[list[Told]]] = []
        self.clock_offset = 0
        self.account.state.isolated = draw.random() < 0.5
        self.hand = Hand(self, draw)
        self.illusions: dict[str, tuple[D, float]] = {}
        """What the list of positions shows too much or too little of symbols, and until when."""
        self.posthumous = False
        """Whether something that an earlier life had sent arrived during a later one."""
        self.levels_ended: set[str] = set()
        """Symbols in which a stop or a target of a position was hit, and its order was cancelled by the exchange."""
        self.ratios: dict[str, D] = {}
        """By which ratio the units of a symbol were split since its last bar."""
        self.latest: dict[str, int] = {}
        self.slicings: dict[str, Slicing | None] = {}

    def hits(self, weight: float = 1.0) -> bool:
        return self.draw.random() < self.trouble * weight

    def fate(self, order: VenueOrder) -> Fate | None:
        """Decide that an accepted order is cancelled later, filled in part or not at all."""
        if not self.hits(1.5):
            return None
        share = D(self.draw.choice(["0", "0.01", "0.3", "0.6", "0.99"]))
        if order.stop_type:
            self.levels_ended.add(order.symbol)
        return Fate(share, "Cancelled", self.draw.choice(REASONS), self.draw.choice([0, 0, 30_000]))

    def slicing(self, order: VenueOrder) -> Slicing | None:
        """Decide that an order fills in so many parts, at once or one after the other; mostly the book decides."""
        if order.id not in self.slicings:
            chosen = Slicing(self.draw.randint(2, 6), self.draw.choice([0, 0, 12_000])) if self.hits(4) else None
            self.slicings[order.id] = chosen
        return self.slicings[order.id]

    def now(self) -> int:
        """Return the market time: bars move it in steps, and what lies between follows the virtual clock."""
        passed = asyncio.get_running_loop().time() - self.barred_at
        return self.time + int(min(passed * MS_PER_S, 179_000))

    def bar(self, symbol: str, bar: Bar, closes: int) -> None:
        events = self.account.on_bar(symbol, bar, closes)
        self.time, self.barred_at = max(self.time, closes), loop_time()
        interval = self.rules[symbol].funding_interval_ms
        if closes % interval == 0:
            events += self.account.on_funding(symbol, D("0.0001"), closes)
        self.publish(events)

    def go_on(self) -> None:
        """Let what is due of orders that are being filled happen."""
        self.publish(self.account.on_time(self.now()))

    def publish(self, events: list[Any]) -> None:
        told: list[Told] = []
        for event in events:
            if isinstance(event, Execution):
                fill = self._in_order(fill_of(event), event.kind)
                told.append(fill)
                self.fills.append((loop_time(), fill))
            elif isinstance(event, VenueOrder) and parse_order_id(event.link_id):
                self.orders[event.link_id] = loop_time(), event
                told.append(report_of(event))
            elif isinstance(event, VenuePosition):
                told.append(self.position(event))
        if not events:
            return
        self.positions.append(
            (loop_time(), [self.position(one) for one in self.account.state.positions.values() if one.qty])
        )
        self.working.append((loop_time(), [open_order(one) for one in self.account.state.orders.values()]))
        if (due := self.account.next_due) is not None:
            asyncio.get_running_loop().call_later(max(0.01, (due - self.now()) / MS_PER_S), self.go_on)
        self._tell(told)

    def _in_order(self, fill: Fill, kind: str) -> Fill:
        """Return an execution no older than the last one: a bar arrives whole, and a hand may act while it lasts."""
        by_hand = kind == "Trade" and not fill.order_id and fill.cause is Cause.UNKNOWN
        cause = Cause.MANUAL if by_hand else KINDS.get(kind, fill.cause)
        self.latest[fill.symbol] = max(fill.time, self.latest.get(fill.symbol, 0))
        return msgspec.structs.replace(fill, time=self.latest[fill.symbol], cause=cause)

    def _tell(self, told: list[Told]) -> None:
        for queue in self.listeners:
            # each topic may lose, double and swap on its own
            for kind in (Fill, OrderReport, PositionReport):
                some = [one for one in told if isinstance(one, kind)]
                if not some or self.hits(2):
                    continue
                again = some + some if self.hits(2) else some
                queue.put_nowait(again[::-1] if self.hits(2) else again)

    def imagined(self, shown: list[PositionReport]) -> list[PositionReport]:
        """Return a list of positions with quantities in it that are not there, as long as the illusion lasts."""
        there = {one.symbol: one for one in shown}
        for symbol, (extra, until) in self.illusions.items():
            known = there.get(symbol) or self.position(self.account.position(symbol))
            if self.seconds() < until:
                there[symbol] = dataclasses.replace(known, qty=known.qty + extra)
        return [one for one in there.values() if one.qty]

    def seconds(self) -> float:
        """Return the virtual time."""
        return loop_time()

    def position(self, held: VenuePosition) -> PositionReport:
        return PositionReport(
            held.symbol, held.qty, held.avg_price, held.stop, held.target, held.leverage,
            self.account.last_price(held.symbol) or held.avg_price, D(0),
            liquidation=self.account.liquidation_price(held) or D(0),
            isolated=self.account.state.isolated,
        )  # fmt: skip


def loop_time() -> float:
    """Return the virtual time, 0 before there is any."""
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:
        return 0.0


def open_order(order: VenueOrder) -> OpenOrder:
    price = order.price or D(0)
    return OpenOrder(
        order.link_id, order.symbol, order.side, order.qty, order.filled, price, order.reduce_only, order.created
    )


def report_of(order: VenueOrder) -> OrderReport:
    state = STATES.get(order.status, OrderState.WORKING)
    return OrderReport(order.link_id, order.symbol, state, order.filled, order.reject_reason)


class FlakyBroker:
    """What one life of the bot sees of the venue; implements the Broker port."""

    def __init__(self, venue: Venue) -> None:
        self.v = venue
        self.queue: asyncio.Queue[list[Told]] = asyncio.Queue()
        venue.listeners = [self.queue]

    async def _ask(self) -> None:
        await asyncio.sleep(self.v.draw.uniform(0.01, 0.2))
        if self.v.hits():
            raise Unavailable("no answer")

    async def instruments(self) -> dict[str, Instrument]:
        await self._ask()
        return dict(self.v.rules)

    async def balance(self) -> Balance:
        await self._ask()
        account = self.v.account
        return Balance(account.equity(), account.state.wallet, account.available())

    async def positions(self) -> list[PositionReport]:
        await self._ask()
        if self.v.hits():
            return []
        horizon = self._horizon()
        return self.v.imagined(next(shown for at, shown in reversed(self.v.positions) if at <= horizon))

    def _horizon(self) -> float:
        """Return how new what a list shows is: each of them is late by turns."""
        return loop_time() - (LAG_S if self.v.hits(2) else 0.0)

    async def flat(self, symbol: str) -> bool:
        await self._ask()
        return not self.v.account.position(symbol).qty

    async def closed_since(self, time: int, until: int, symbol: str) -> list[ClosedPart]:
        await self._ask()
        return []

    async def set_leverage(self, symbol: str, leverage: D) -> None:
        await self._change(
            lambda: self._tolerate(
                Reason.SAME_LEVERAGE, lambda: self.v.account.set_leverage(symbol, leverage, self.v.now())
            )
        )

    async def place(self, request: OrderRequest) -> None:
        await self._change(lambda: self._place(request))

    async def cancel(self, symbol: str, order_id: str) -> None:
        venue_id = self.v.account.state.link_ids.get(order_id, "")
        await self._change(
            lambda: self._tolerate(Reason.NOT_FOUND, lambda: self.v.account.cancel(venue_id, self.v.now()))
        )

    async def set_stop(self, symbol: str, stop: D, target: D | None, *, index: int = 0) -> None:
        await self._change(
            lambda: self._tolerate(
                Reason.SAME_STOPS, lambda: self.v.account.set_stops(symbol, self.v.now(), stop=stop, target=target)
            )
        )

    async def order(self, symbol: str, order_id: str) -> OrderReport:
        await self._ask()
        at, found = self.v.orders.get(order_id, (0.0, None))
        if found is None or loop_time() - at < self.v.draw.uniform(0, LAG_S):
            return OrderReport(order_id, symbol, OrderState.NOT_FOUND)
        return report_of(found)

    async def fills_since(self, time: int, until: int, symbol: str = "") -> list[Fill]:
        await self._ask()
        # the newest executions show up in this list a little later
        horizon = self._horizon()
        return sorted(
            (
                fill
                for at, fill in self.v.fills
                if time <= fill.time <= until and at <= horizon and symbol in {"", fill.symbol}
            ),
            key=lambda fill: fill.time,
        )

    async def open_orders(self) -> list[OpenOrder]:
        await self._ask()
        if self.v.hits(2):
            return []
        horizon = self._horizon()
        shown = next(shown for at, shown in reversed(self.v.working) if at <= horizon)
        return [one for one in shown if parse_order_id(one.order_id)]

    private_stream = StreamStatus(connected=True)

    def obstacles(self) -> list[str]:
        return []

    def barred(self) -> str:
        return ""

    def unread(self) -> list[Unread]:
        return []

    async def stream(self) -> AsyncIterator[Sequence[Told]]:
        yield []
        while True:
            told = await self.queue.get()
            await asyncio.sleep(self.v.draw.uniform(0, 0.5))
            yield told
            if self.v.hits():
                await asyncio.sleep(1)
                yield []

    def on_bars(self, symbol: str, bars: object) -> None:
        pass

    def on_price(self, symbol: str, price: float, time: int) -> None:
        pass

    async def _change(self, act) -> None:
        loop = asyncio.get_running_loop()
        sent_at = loop.time()
        await asyncio.sleep(self.v.draw.uniform(0.01, 0.2))
        if self.v.hits():
            raise OutcomeUnknown("lost on the way there")
        if self.v.hits():
            raise Unavailable("busy: not accepted")
        if self.v.hits(0.5):
            raise Rejected("refused", 110007, objection(110007, ""))
        late = self.v.hits(0.5)
        if late:
            # it will arrive, but only after everybody has given up waiting for the answer
            loop.call_later(self.v.draw.uniform(0.1, 4.9), self._quietly, act, sent_at)
            raise OutcomeUnknown("timed out")
        try:
            act()
        except Rejected as error:
            code = code_of(error)
            raise Rejected(str(error), code, objection(code, words_of(error))) from error
        if self.v.hits():
            raise OutcomeUnknown("answer lost on the way back")

    def _quietly(self, act, sent_at: float) -> None:
        if asyncio.get_running_loop().time() - sent_at > WINDOW_S:
            # signed too long ago, such as before the machine was suspended
            return
        # what a life had sent may arrive in the next, which cannot know of it
        self.v.posthumous |= self.v.listeners != [self.queue]
        try:
            act()
        except (Rejected, OutcomeUnknown):
            return

    def _place(self, request: OrderRequest) -> None:
        if request.order_id in self.v.account.state.link_ids:
            raise OutcomeUnknown("duplicate id")
        order = VenueOrder(
            id="", link_id=request.order_id, symbol=request.symbol, side=request.side, kind=request.kind,
            qty=request.qty, price=request.price, reduce_only=request.reduce_only, stop=request.stop or D(0),
            target=request.target or D(0),
        )  # fmt: skip
        self.v.publish(self.v.account.place(order, self.v.now(), at_once=True))

    def _tolerate(self, reason: Reason, call) -> None:
        try:
            self.v.publish(call())
        except Rejected as error:
            if not isinstance(error, Refused) or error.reason is not reason:
                raise

"""An exchange on virtual time that does everything an exchange can do wrong, with true books behind it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from decimal import Decimal as D

import msgspec

from broker.paper import fill_of
from domain.account import LEVERAGE_SAME, NOT_FOUND, SAME_STOPS, AccountState, Execution, SimulatedAccount, VenueOrder
from domain.candle import Bar
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
from domain.records import Fill, Unread

LAG_S = 1.5
WINDOW_S = 5.0


class Venue:
    """The truth: one account, every execution; it outlives the bot. ``trouble`` is the chance of each kind of fault."""

    def __init__(self, draw: random.Random, rules: dict[str, Instrument], trouble: float) -> None:
        self.draw, self.rules, self.trouble = draw, rules, trouble
        self.account = SimulatedAccount(AccountState(wallet=D(1_000_000), name=f"v{draw.random()}"), rules, Costs())
        self.time = 0
        self.fills: list[tuple[float, Fill]] = []
        self.cancelled: dict[str, D] = {}
        self.accepted_at: dict[str, float] = {}
        self.listeners: list[asyncio.Queue[list[Fill]]] = []
        self.clock_offset = 0

    def hits(self, weight: float = 1.0) -> bool:
        return self.draw.random() < self.trouble * weight

    def bar(self, symbol: str, bar: Bar, closes: int) -> None:
        self.time = max(self.time, closes)
        events = self.account.on_bar(symbol, bar, closes)
        interval = self.rules[symbol].funding_interval_ms
        if closes % interval == 0:
            events += self.account.on_funding(symbol, D("0.0001"), closes)
        self.publish(events)

    def publish(self, events: list[object]) -> None:
        told = []
        for event in events:
            if isinstance(event, Execution):
                parts = self._split(fill_of(event))
                told += parts
                self.fills += [(asyncio.get_running_loop().time(), part) for part in parts]
        if not told:
            return
        for queue in self.listeners:
            if self.hits(2):
                continue
            again = told + told if self.hits(2) else told
            if self.hits(2):
                again = again[::-1]
            queue.put_nowait(again)

    def _split(self, fill: Fill) -> list[Fill]:
        step = self.rules[fill.symbol].step
        half = (fill.qty / 2) // step * step
        if fill.cause is Cause.FUNDING or not self.hits(3) or half <= 0 or half >= fill.qty:
            return [fill]
        share = half / fill.qty
        first = msgspec.structs.replace(
            fill, exec_id=f"{fill.exec_id}a", qty=half, fee=fill.fee * share, closed_qty=min(fill.closed_qty, half)
        )
        rest = msgspec.structs.replace(
            fill, exec_id=f"{fill.exec_id}b", qty=fill.qty - half, fee=fill.fee - first.fee,
            closed_qty=fill.closed_qty - first.closed_qty,
        )  # fmt: skip
        return [first, rest]


class FlakyBroker:
    """What one life of the bot sees of the venue; implements the Broker port."""

    def __init__(self, venue: Venue) -> None:
        self.v = venue
        self.queue: asyncio.Queue[list[Fill]] = asyncio.Queue()
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
        equity = self.v.account.equity()
        return Balance(equity, self.v.account.state.wallet, equity)

    async def positions(self) -> list[PositionReport]:
        await self._ask()
        if self.v.hits():
            return []
        return [
            PositionReport(
                held.symbol, held.qty, held.avg_price, held.stop, held.target, held.leverage,
                self.v.account.last_price(held.symbol) or held.avg_price, D(0),
            )
            for held in self.v.account.state.positions.values() if held.qty
        ]  # fmt: skip

    async def flat(self, symbol: str) -> bool:
        await self._ask()
        return not self.v.account.position(symbol).qty

    async def closed_since(self, time: int, until: int, symbol: str) -> list[ClosedPart]:
        await self._ask()
        return []

    async def set_leverage(self, symbol: str, leverage: D) -> None:
        await self._change(
            lambda: self._tolerate(LEVERAGE_SAME, lambda: self.v.account.set_leverage(symbol, leverage, self.v.time))
        )

    async def place(self, request: OrderRequest) -> None:
        await self._change(lambda: self._place(request))

    async def cancel(self, symbol: str, order_id: str) -> None:
        venue_id = self.v.account.state.link_ids.get(order_id, "")
        await self._change(lambda: self._tolerate(NOT_FOUND, lambda: self.v.account.cancel(venue_id, self.v.time)))

    async def set_stop(self, symbol: str, stop: D, target: D | None, *, index: int = 0) -> None:
        await self._change(
            lambda: self._tolerate(
                SAME_STOPS, lambda: self.v.account.set_stops(symbol, self.v.time, stop=stop, target=target)
            )
        )

    async def order(self, symbol: str, order_id: str) -> OrderReport:
        await self._ask()
        now = asyncio.get_running_loop().time()
        venue_id = self.v.account.state.link_ids.get(order_id)
        if venue_id is None or now - self.v.accepted_at.get(order_id, -99) < self.v.draw.uniform(0, LAG_S):
            return OrderReport(order_id, symbol, OrderState.NOT_FOUND)
        if venue_id in self.v.account.state.orders:
            return OrderReport(order_id, symbol, OrderState.WORKING)
        filled = sum((fill.qty for _, fill in self.v.fills if fill.order_id == order_id), D(0))
        state = OrderState.CANCELLED if order_id in self.v.cancelled or not filled else OrderState.FILLED
        return OrderReport(order_id, symbol, state, filled)

    async def fills_since(self, time: int, until: int, symbol: str = "") -> list[Fill]:
        await self._ask()
        # the newest executions show up in this list a little later
        horizon = asyncio.get_running_loop().time() - (LAG_S if self.v.hits(2) else 0)
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
        return [
            OpenOrder(o.link_id, o.symbol, o.side, o.qty, o.filled, o.price or D(0), o.reduce_only, o.created)
            for o in self.v.account.state.orders.values() if parse_order_id(o.link_id)
        ]  # fmt: skip

    private_stream = StreamStatus(connected=True)

    def obstacles(self) -> list[str]:
        return []

    def barred(self) -> str:
        return ""

    def unread(self) -> list[Unread]:
        return []

    async def stream(self) -> AsyncIterator[Sequence[Fill]]:
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
            raise Rejected("refused", 110007)
        late = self.v.hits(0.5)
        if late:
            # it will arrive, but only after everybody has given up waiting for the answer
            loop.call_later(self.v.draw.uniform(0.1, 4.9), self._quietly, act, sent_at)
            raise OutcomeUnknown("timed out")
        act()
        if self.v.hits():
            raise OutcomeUnknown("answer lost on the way back")

    @staticmethod
    def _quietly(act, sent_at: float) -> None:
        if asyncio.get_running_loop().time() - sent_at > WINDOW_S:
            # signed too long ago, such as before the machine was suspended
            return
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
        step = self.v.rules[request.symbol].step
        part = (request.qty * D("0.6")) // step * step
        if request.price is None and self.v.hits(2) and part > 0:
            # a market order that finds too little on the other side: the rest of it is cancelled
            order.qty = part
            self.v.cancelled[request.order_id] = part
        events = self.v.account.place(order, self.v.time, at_once=True)
        self.v.accepted_at[request.order_id] = asyncio.get_running_loop().time()
        self.v.publish(events)

    def _tolerate(self, code: int, call) -> None:
        try:
            self.v.publish(call())
        except Rejected as error:
            if error.code != code:
                raise

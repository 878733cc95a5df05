"""Orders filled in the process from the live feed, with spread, fees, slippage and funding."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol

import msgspec

from domain.account import AccountState, Event, Execution, SimulatedAccount, VenueOrder
from domain.account_state import Payment
from domain.candle import Bars, timeframe_ms
from domain.errors import BadData
from domain.ids import parse_order_id
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

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from domain.fills import Costs
    from domain.instrument import Instrument
    from domain.ports import Told

LINKS_MAX = 5_000
STREAM_MAX = 10_000
LEG_CAUSES = {"e": Cause.ENTRY, "p": Cause.PARTIAL, "t": Cause.PARTIAL, "r": Cause.FORCE_EXIT}
CAUSES = {"StopLoss": Cause.STOP_LOSS, "TakeProfit": Cause.TAKE_PROFIT}
FUNDING_RATE = Decimal("0.0001")


class _Snapshot(msgspec.Struct):
    account: AccountState
    fills: list[Fill] = []
    closed_until: dict[str, int] = {}


class File(Protocol):
    """Where the account lives; a write replaces the content whole."""

    def read(self) -> bytes | None:
        """Return the content, None when there is none."""
        ...

    def write(self, content: bytes) -> None:
        """Replace the content."""
        ...


class PaperBroker:
    """Implements the Broker port on a simulated account that lives in one file.

    ``name`` makes its order ids unique. ``instruments`` are the real exchange's trading rules, ``fetch_instruments``
    asks for them anew. ``timeframe`` is the finest one in the feed, whose closed bars move resting orders. Funding is
    charged at the usual base rate of 0.01 % per interval. With ``slices`` orders are filled by an order book made from
    the last bar, in parts, some of them only after the next price.
    """

    def __init__(
        self,
        file: File,
        name: str,
        wallet: Decimal,
        costs: Costs,
        timeframe: str,
        fetch_instruments: Callable[[], Awaitable[dict[str, Instrument]]],
        instruments: dict[str, Instrument],
        *,
        slices: bool = False,
    ) -> None:
        self._file, self._name, self._costs, self._step = file, name, costs, timeframe_ms(timeframe)
        self._fetch_instruments, self._instruments = fetch_instruments, dict(instruments)
        self._snapshot = self._load(wallet)
        books = OrderBooks(self._instruments, costs) if slices else None
        self._account = SimulatedAccount(self._snapshot.account, self._instruments, costs, books=books)
        self._out: asyncio.Queue[list[Fill]] = asyncio.Queue(STREAM_MAX)
        self._time = 0

    async def instruments(self) -> dict[str, Instrument]:
        """Return the exchange's trading rules."""
        self._instruments.update(await self._fetch_instruments())
        return self._instruments

    async def balance(self) -> Balance:
        """Return the paper money."""
        return Balance(self._account.equity(), self._account.state.wallet, max(Decimal(0), self._account.available()))

    async def positions(self) -> list[PositionReport]:
        """Return the paper positions."""
        return [
            PositionReport(
                position.symbol, position.qty, position.avg_price, position.stop, position.target, position.leverage,
                self._account.last_price(position.symbol) or position.avg_price,
                self._account.unrealised(position.symbol),
            )
            for position in self._account.state.positions.values() if position.qty
        ]  # fmt: skip

    async def set_leverage(self, symbol: str, leverage: Decimal) -> None:
        """Set the leverage of a symbol."""
        self._tolerate(Reason.SAME_LEVERAGE, lambda: self._account.set_leverage(symbol, leverage, self._time))

    async def place(self, request: OrderRequest) -> None:
        """Accept an order; a market order fills at the last price of the feed."""
        if request.order_id in self._account.state.link_ids:
            return
        order = VenueOrder(
            id="", link_id=request.order_id, symbol=request.symbol, side=request.side, kind=request.kind,
            qty=Decimal(0) if request.whole else request.qty, price=request.price, reduce_only=request.reduce_only,
            stop=request.stop or Decimal(0), target=request.target or Decimal(0), close_on_trigger=request.whole,
        )  # fmt: skip
        self._tolerate(None, lambda: self._account.place(order, self._time, at_once=True))

    async def cancel(self, symbol: str, order_id: str) -> None:  # noqa: ARG002  the port names it
        """Cancel an order."""
        venue_id = self._account.state.link_ids.get(order_id, "")
        self._tolerate(Reason.NOT_FOUND, lambda: self._account.cancel(venue_id, self._time))

    async def set_stop(self, symbol: str, stop: Decimal, target: Decimal | None, *, index: int = 0) -> None:  # noqa: ARG002  paper has one-way mode only
        """Move the stop of a position."""
        self._tolerate(Reason.SAME_STOPS, lambda: self._account.set_stops(symbol, self._time, stop=stop, target=target))

    async def order(self, symbol: str, order_id: str) -> OrderReport:
        """Return what became of an order."""
        venue_id = self._account.state.link_ids.get(order_id)
        if venue_id is None:
            return OrderReport(order_id, symbol, OrderState.NOT_FOUND)
        if venue_id in self._account.state.orders:
            return OrderReport(order_id, symbol, OrderState.WORKING)
        filled = sum((f.qty for f in self._snapshot.fills if f.order_id == order_id), Decimal(0))
        return OrderReport(order_id, symbol, OrderState.FILLED if filled else OrderState.CANCELLED, filled)

    async def flat(self, symbol: str) -> bool:
        """Say whether there is no position."""
        return not self._account.position(symbol).qty

    async def fills_since(self, time: int, until: int, symbol: str = "") -> list[Fill]:
        """Return the executions with a time in [time, until]."""
        return [
            fill for fill in self._snapshot.fills if time <= fill.time <= until and symbol in {"", fill.symbol}
        ]  # fmt: skip

    async def closed_since(self, time: int, until: int, symbol: str) -> list[ClosedPart]:  # noqa: ARG002
        """Return nothing: the executions are always complete."""
        return []

    async def open_orders(self) -> list[OpenOrder]:
        """Return the working orders that carry an id of ours."""
        return [
            OpenOrder(
                order.link_id, order.symbol, order.side, order.qty, order.filled, order.price or Decimal(0),
                order.reduce_only, order.created,
            )
            for order in self._account.state.orders.values() if parse_order_id(order.link_id)
        ]  # fmt: skip

    async def stream(self) -> AsyncIterator[Sequence[Told]]:
        """Yield executions as they happen."""
        yield []
        while True:
            yield await self._out.get()

    @property
    def private_stream(self) -> StreamStatus:
        """Always connected: the account lives in this process."""
        return StreamStatus(connected=True, connects=1, reason="")

    def obstacles(self) -> list[str]:
        """Return nothing: a paper account can always be traded."""
        return []

    def barred(self) -> str:
        """Return nothing: paper entries are always possible."""
        return ""

    def unread(self) -> list[Unread]:
        """Return nothing: everything comes from this process."""
        return []

    def on_bars(self, symbol: str, bars: Bars) -> None:
        """Match resting orders against bars that closed; bars taken before are passed over."""
        for bar in bars.rows():
            closes = bar.open_time + self._step
            if closes <= self._snapshot.closed_until.get(symbol, 0) or symbol not in self._instruments:
                continue
            self._snapshot.closed_until[symbol] = closes
            self._time = max(self._time, closes)
            events = self._account.on_bar(symbol, bar, closes, self._payments(symbol, bar.open_time, closes))
            if events:
                self._apply(events)

    def _payments(self, symbol: str, opened: int, closes: int) -> list[Payment]:
        """Return the funding payments that fall due in a bar; its own interval may be shorter than the bar."""
        interval = self._instruments[symbol].funding_interval_ms
        first = (opened // interval + 1) * interval
        return [Payment(time, FUNDING_RATE) for time in range(first, closes + 1, interval)]

    def on_price(self, symbol: str, price: float, time: int) -> None:
        """Take the last traded price."""
        if symbol in self._instruments:
            self._account.mark(symbol, self._instruments[symbol].price(price))
            self._time = max(self._time, time)
            due = self._account.next_due if self._account.books is not None else None
            if due is not None and due <= self._time:
                self._apply(self._account.on_time(self._time))

    def _apply(self, events: list[Event]) -> None:
        fills = [fill_of(event) for event in events if isinstance(event, Execution)]
        self._snapshot.fills = [*self._snapshot.fills, *fills][-LINKS_MAX:]
        links = self._account.state.link_ids
        while len(links) > LINKS_MAX:
            links.pop(next(iter(links)))
        self._save()
        if fills:
            self._out.put_nowait(fills)

    def _tolerate(self, reason: Reason | None, call: Callable[[], list[Event]]) -> None:
        try:
            self._apply(call())
        except Refused as error:
            if error.reason is not reason:
                raise

    def _load(self, wallet: Decimal) -> _Snapshot:
        content = self._file.read()
        if content is None:
            return _Snapshot(AccountState(wallet=wallet, name=self._name))
        try:
            return msgspec.json.decode(content, type=_Snapshot)
        except msgspec.MsgspecError as error:
            raise BadData(f"paper account {self._file}: {error}; move the file away to begin anew") from error

    def _save(self) -> None:
        self._file.write(msgspec.json.encode(self._snapshot))


def fill_of(event: Execution) -> Fill:
    """Return an execution of the simulated account as the bot is told of it."""
    ours = parse_order_id(event.link_id)
    cause = CAUSES.get(event.stop_type, Cause.UNKNOWN)
    if event.kind == "Funding":
        cause = Cause.FUNDING
    elif ours and ours.leg in LEG_CAUSES:
        cause = LEG_CAUSES[ours.leg]
    return Fill(
        time=event.time, exec_id=event.id, order_id=event.link_id, venue_order_id=event.order_id, symbol=event.symbol,
        side=event.side, qty=event.qty, price=event.price, fee=event.fee, closed_qty=event.closed, cause=cause,
        maker=event.maker, order_qty=event.order_qty,
    )  # fmt: skip

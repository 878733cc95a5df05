"""The exchange of a backtest: the simulated account, asked and told without waiting."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from broker.paper import fill_of
from domain.account import AccountState, Event, SimulatedAccount, VenueOrder, executions
from domain.order import OrderKind, OrderSide, OrderState
from domain.trade import ZERO

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from domain.account_state import Payment
    from domain.candle import Bar
    from domain.fills import Costs
    from domain.instrument import Instrument
    from domain.order import OrderRequest
    from domain.records import Fill


class Venue:
    """Takes orders between bars and fills them in the bars that follow."""

    def __init__(self, wallet: Decimal, instruments: Mapping[str, Instrument], costs: Costs) -> None:
        state = AccountState(wallet=wallet, name="backtest")
        self._account = SimulatedAccount(state, instruments, costs, only_executions=True)
        self._instruments = instruments
        self._filled: dict[str, Decimal] = {}
        self._leverage: dict[str, Decimal] = {}

    @property
    def equity(self) -> Decimal:
        """Wallet plus open profit, at the prices told last."""
        return self._account.equity()

    @property
    def wallet(self) -> Decimal:
        """Money without open profit."""
        return self._account.state.wallet

    def mark(self, symbol: str, price: float) -> None:
        """Take the last price of a symbol."""
        self._account.mark(symbol, self._instruments[symbol].price(price))

    def price(self, symbol: str) -> Decimal:
        """Return the price told last of a symbol, zero before the first."""
        return self._account.last_price(symbol) or ZERO

    def held(self, symbol: str) -> Decimal:
        """Return the signed quantity held of a symbol."""
        return self._account.position(symbol).qty

    def orders(self, symbol: str) -> list[VenueOrder]:
        """Return the orders that wait in a symbol."""
        return [order for order in self._account.state.orders.values() if order.symbol == symbol]

    def levels(self, symbol: str) -> tuple[float, float] | None:
        """Return above and below which prices an order of a symbol may fill, with a tick to spare; None for at once."""
        above, below, tick = Decimal("Infinity"), -Decimal("Infinity"), self._instruments[symbol].tick
        for order in self.orders(symbol):
            if order.level is None:
                return None
            if (order.side is OrderSide.BUY) == (order.kind is OrderKind.STOP):
                above = min(above, order.level - tick)
            else:
                below = max(below, order.level + tick)
        return float(above), float(below)

    def set_leverage(self, symbol: str, leverage: Decimal, now: int) -> None:
        """Set the leverage of a symbol. Raises Rejected."""
        if self._leverage.get(symbol) != leverage and self._account.position(symbol).leverage != leverage:
            self._account.set_leverage(symbol, leverage, now)
        self._leverage[symbol] = leverage

    def place(self, request: OrderRequest, now: int) -> None:
        """Accept an order for the bars after ``now``. Raises Rejected."""
        order = VenueOrder(
            id="", link_id=request.order_id, symbol=request.symbol, side=request.side, kind=request.kind,
            qty=ZERO if request.whole else request.qty, price=request.price, reduce_only=request.reduce_only,
            stop=request.stop or ZERO, target=request.target or ZERO, close_on_trigger=request.whole,
        )  # fmt: skip
        self._note(self._account.place(order, now, at_once=False))

    def cancel(self, order_id: str, now: int) -> tuple[OrderState, Decimal]:
        """Cancel an order, unless it has ended; return how it ended, and what it had filled."""
        venue_id = self._account.state.link_ids.get(order_id, "")
        filled = self._filled.get(order_id, ZERO)
        if venue_id not in self._account.state.orders:
            return (OrderState.FILLED if filled else OrderState.CANCELLED), filled
        self._account.cancel(venue_id, now)
        return OrderState.CANCELLED, filled

    def set_stop(self, symbol: str, stop: Decimal, now: int) -> None:
        """Move the stop of a position, unless it is there already. Raises Rejected."""
        if self._account.position(symbol).stop != stop:
            self._account.set_stops(symbol, now, stop=stop, target=None)

    def on_bar(self, symbol: str, bar: Bar, closes: int, payments: Sequence[Payment] = ()) -> list[Fill]:
        """Return what a bar fills, and the funding payments that fall due in it."""
        return self._note(self._account.on_bar(symbol, bar, closes, payments))

    def holdings(self) -> dict[str, tuple[float, float]]:
        """Return signed quantity and average price of all that is held, by symbol."""
        held = self._account.state.positions.items()
        return {symbol: (float(one.qty), float(one.avg_price)) for symbol, one in held if one.qty}

    def _note(self, events: list[Event]) -> list[Fill]:
        fills = [fill_of(event) for event in executions(events)]
        for fill in fills:
            if fill.order_id:
                self._filled[fill.order_id] = self._filled.get(fill.order_id, ZERO) + fill.qty
        return fills

"""What else happens in the account beside the bot: people in the exchange's app, the exchange itself, other products."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal as D
from typing import TYPE_CHECKING, Any

from broker.bybit.messages import Rows
from domain.account import Execution, VenueOrder
from domain.errors import OutcomeUnknown, Rejected
from domain.order import OrderKind, OrderSide
from domain.records import Touch

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from domain.ports import Told
    from tests.torture.venue import Venue

TRADING = frozenset({"add", "open", "reduce", "close", "turn", "move", "silent", "illusion"})
LEVELS = frozenset({"stop", "no stop", "target", "no target"})
DEEDS = (*sorted(TRADING), *sorted(LEVELS), "close", "leverage", "margin", "adl", "split", "spot", "spot")
"""What may happen: most of it is done in the exchange's app; some is as little asked for, and nobody's.

move: a part of the position goes to another account, or comes from there. silent: its quantity changes, and no
execution tells of it. illusion: the list of positions shows another quantity for a while. spot: the coin itself is
traded, in a market that is spelled like the contract.
"""

CAUSED_BY = {
    **dict.fromkeys((Touch.ADDED, Touch.REDUCED, Touch.CLOSED, Touch.REVERSED), TRADING),
    **dict.fromkeys(
        (Touch.STOP_REMOVED, Touch.STOP_LOOSENED, Touch.STOP_TIGHTENED, Touch.TARGET_REMOVED, Touch.TARGET_MOVED),
        TRADING | LEVELS | {"adl", "split"},
    ),
    Touch.MARGIN_ADDED: frozenset({"margin"}),
}  # fmt: skip
"""After which deeds a touch may be told: whoever turns a position round takes its stop away as well."""


class Hand:
    """Acts on a venue at random; ``deeds`` counts what had an effect on positions, ``kinds`` says what, by symbol."""

    def __init__(self, venue: Venue, draw: random.Random) -> None:
        self._venue, self._draw = venue, draw
        self._rows = Rows()
        self.deeds = 0
        self.kinds: defaultdict[str, set[str]] = defaultdict(set)
        self.spent = D(0)
        """What spot trades have cost."""

    def act(self) -> None:
        """Do something in one of the symbols, where that is possible."""
        symbol, deed = self._draw.choice(sorted(self._venue.rules)), self._draw.choice(DEEDS)
        if deed == "spot":
            self._trade_spot(symbol)
        elif deed in LEVELS:
            self._set_level(symbol, deed)
        elif deed in {"leverage", "margin", "adl", "split"}:
            self._change(symbol, deed)
        else:
            self._trade(symbol, deed)

    def _trade(self, symbol: str, deed: str) -> None:
        held = self._venue.account.position(symbol).qty
        side = OrderSide.BUY if held >= 0 else OrderSide.SELL
        some = D(self._draw.randint(1, 300)) / 10
        if deed == "add" and held:
            self._place(symbol, deed, side, some)
        elif deed == "open":
            self._place(symbol, deed, self._draw.choice(list(OrderSide)), some)
        elif deed == "reduce" and abs(held) > some:
            self._place(symbol, deed, side.opposite, some, reduce_only=True)
        elif deed == "close" and held:
            self._place(symbol, deed, side.opposite, abs(held), reduce_only=True)
        elif deed == "turn" and held:
            self._place(symbol, deed, side.opposite, abs(held) + some)
        elif deed in {"move", "silent"}:
            self._move(
                symbol, deed, self._draw.choice([side, side.opposite]), self._draw.choice([some, abs(held) or some])
            )
        elif deed == "illusion":
            self._venue.illusions[symbol] = (
                self._draw.choice([some, -some]),
                self._venue.seconds() + self._draw.uniform(0.5, 6),
            )
            self._note(symbol, deed)

    def _move(self, symbol: str, deed: str, side: OrderSide, qty: D) -> None:
        """Change a position from elsewhere; what no execution tells of shows only in the list of positions."""

        def act() -> list[Any]:
            events = self._venue.account.transfer(symbol, side, qty, None, self._venue.now(), "MovePosition")
            return [one for one in events if not isinstance(one, Execution)] if deed == "silent" else events

        self._try(symbol, deed, act)

    def _set_level(self, symbol: str, deed: str) -> None:
        account = self._venue.account
        held, price = account.position(symbol), account.last_price(symbol)
        if not held.qty or not price:
            return
        sign, away = (1 if held.qty > 0 else -1), D(self._draw.randint(1, 8)) / 10
        level = D(0) if deed.startswith("no") else price + (away if deed == "target" else -away) * sign
        stop, target = (level, None) if deed.endswith("stop") else (None, level)
        self._try(symbol, deed, lambda: account.set_stops(symbol, self._venue.now(), stop=stop, target=target))

    def _change(self, symbol: str, deed: str) -> None:
        account, now = self._venue.account, self._venue.now()
        if deed == "leverage":
            leverage = D(self._draw.randint(1, 20))
            self._try(symbol, deed, lambda: account.set_leverage(symbol, leverage, now))
        elif deed == "margin":
            amount = D(self._draw.randint(100, 20_000))
            self._try(symbol, deed, lambda: account.add_margin(symbol, amount, now))
        elif deed == "adl" and account.position(symbol).qty:
            share = D(self._draw.choice(["0.3", "1"]))
            self._try(symbol, deed, lambda: account.deleverage(symbol, share, now))
        elif deed == "split" and account.position(symbol).qty:
            ratio = D(self._draw.choice(["2", "0.5", "3"]))
            if self._try(symbol, deed, lambda: account.split(symbol, ratio, now)):
                self._venue.ratios[symbol] = self._venue.ratios.get(symbol, D(1)) * ratio

    def _trade_spot(self, symbol: str) -> None:
        """Trade the coin itself: the account pays, the private stream tells, and none of it is the bot's business."""
        side, qty = self._draw.choice(list(OrderSide)), D(self._draw.randint(1, 300)) / 10
        price = self._venue.account.last_price(symbol) or D(100)
        self.spent += side.sign * qty * price
        self._venue.account.state.wallet -= side.sign * qty * price
        number = f"spot-{self._draw.random()}"
        row = {
            "category": "spot", "symbol": self._venue.rules[symbol].venue_id, "orderId": number, "orderLinkId": "",
            "side": side.value, "createType": "CreateByUser", "orderType": "Market", "stopOrderType": "",
        }  # fmt: skip
        traded = {
            "execId": number, "execQty": str(qty), "execPrice": str(price), "execType": "Trade", "execFee": "0.002",
            "feeRate": "0.001", "feeCurrency": "USDT", "execTime": str(self._venue.now()), "closedSize": "",
        }  # fmt: skip
        ended = {"orderStatus": "Filled", "qty": str(qty), "cumExecQty": str(qty), "rejectReason": "EC_NoError"}
        told: list[Told] = [*self._rows.told("execution", [row | traded]), *self._rows.told("order", [row | ended])]
        for queue in self._venue.listeners:
            queue.put_nowait(told)
        assert not self._rows.unread(), "a spot trade is not understood"

    def _place(self, symbol: str, deed: str, side: OrderSide, qty: D, *, reduce_only: bool = False) -> None:
        order = VenueOrder(
            id="", link_id="", symbol=symbol, side=side, kind=OrderKind.MARKET, qty=qty, price=None,
            reduce_only=reduce_only, stop=D(0), target=D(0),
        )  # fmt: skip
        self._try(symbol, deed, lambda: self._venue.account.place(order, self._venue.now(), at_once=True))

    def _try(self, symbol: str, deed: str, act: Callable[[], list[Any]]) -> bool:
        try:
            self._venue.publish(act())
        except (Rejected, OutcomeUnknown):
            return False
        self._note(symbol, deed)
        return True

    def _note(self, symbol: str, deed: str) -> None:
        self.deeds += 1
        self.kinds[symbol].add(deed)

"""What the operator of the practice exchange does to contracts and positions, as its control endpoint is asked to."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from domain.account import Event
from domain.errors import Rejected
from domain.order import OrderSide
from sandbox.codes import BAD_REQUEST
from sandbox.market import CATEGORIES

if TYPE_CHECKING:
    from sandbox.exchange import Exchange


class Legs(msgspec.Struct, forbid_unknown_fields=True):
    """Sizes of the two positions of a contract in hedge mode."""

    long: Decimal = Decimal(0)
    short: Decimal = Decimal(0)


class Transfer(msgspec.Struct, forbid_unknown_fields=True):
    """A change of a position from elsewhere; without a price it is the mark price, by hand the market's."""

    symbol: str
    side: OrderSide
    qty: Decimal
    price: Decimal | None = None


class Happenings(msgspec.Struct, forbid_unknown_fields=True):
    """What shall happen now; contracts are named by exchange id (``BTCUSDT``).

    Attributes:
        announce_delivery: times (UTC ms) at which contracts will be delisted and settled, 0 takes one back.
        split: of each unit become so many, at the price divided by it.
        adl: shares of profitable positions to deleverage.
        move_position: positions moved from or to another account.
        block_trade: block trades.
        by_hand: market orders on the exchange's website.
        hedge: contracts in hedge mode, with positions that came from elsewhere.
        mark: what is behind contracts: stock, commodity, innovation, pre_listing, or nothing.
        agree: whether the terms for stocks and commodities have been agreed to.
        quiet: the markets in which nothing trades from now on; those not named trade again.
    """

    announce_delivery: dict[str, int] = {}
    split: dict[str, Decimal] = {}
    adl: dict[str, Decimal] = {}
    move_position: list[Transfer] = []
    block_trade: list[Transfer] = []
    by_hand: list[Transfer] = []
    hedge: dict[str, Legs] = {}
    mark: dict[str, str] = {}
    agree: bool | None = None
    quiet: list[str] | None = None

    def happen(self, exchange: Exchange) -> list[Event]:
        """Do it, in the order of the attributes; return what it caused.

        Raises:
            Rejected: for an unknown contract, or what cannot be; what came before has happened.
        """
        if not all(number.is_finite() and number >= 0 for number in self._numbers()):
            raise Rejected("numbers are finite and not negative", BAD_REQUEST)
        account, now, events = exchange.account, exchange.now(), list[Event]()
        for venue_id, time in self.announce_delivery.items():
            exchange.tape.announce(exchange.instrument_symbol(venue_id), max(0, time))
            exchange.refresh(venue_id)
        for venue_id, ratio in self.split.items():
            events += self._split(exchange, venue_id, ratio, now)
        for venue_id, share in self.adl.items():
            events += exchange.keep(account.deleverage(exchange.instrument_symbol(venue_id), share, now))
        for kind, moved in (
            ("MovePosition", self.move_position), ("BlockTrade", self.block_trade), ("Trade", self.by_hand),
        ):  # fmt: skip
            for one in moved:
                symbol = exchange.instrument_symbol(one.symbol)
                events += exchange.keep(account.transfer(symbol, one.side, one.qty, one.price, now, kind))
        for venue_id, legs in self.hedge.items():
            symbol = exchange.instrument_symbol(venue_id)
            events += exchange.keep(account.set_legs(symbol, legs.long, legs.short, now))
        self._say(exchange)
        return events

    def _numbers(self) -> list[Decimal]:
        transfers = [*self.move_position, *self.block_trade, *self.by_hand]
        legs = [size for one in self.hedge.values() for size in (one.long, one.short)]
        prices = [one.price for one in transfers if one.price is not None]
        return [*self.split.values(), *self.adl.values(), *(one.qty for one in transfers), *prices, *legs]

    @staticmethod
    def _split(exchange: Exchange, venue_id: str, ratio: Decimal, now: int) -> list[Event]:
        symbol = exchange.instrument_symbol(venue_id)
        if not Decimal("0.001") <= ratio <= 1000:
            raise Rejected(f"split: {ratio} is not between 0.001 and 1000", BAD_REQUEST)
        exchange.tape.split(symbol, exchange.processed_until, ratio)
        return exchange.keep(exchange.account.split(symbol, ratio, now))

    def _say(self, exchange: Exchange) -> None:
        for venue_id, category in self.mark.items():
            if category not in CATEGORIES:
                raise Rejected(f"mark: {category!r} is none of {', '.join(CATEGORIES[1:])}", BAD_REQUEST)
            exchange.tape.mark(exchange.instrument_symbol(venue_id), category)
            exchange.refresh(venue_id)
        if self.agree is not None:
            exchange.account.state.agreed = self.agree
            exchange.keep([])
        if self.quiet is not None:
            symbols = [exchange.instrument_symbol(venue_id) for venue_id in self.quiet]
            prices = {symbol: float(exchange.account.last_price(symbol) or 0) for symbol in symbols}
            exchange.tape.quiet(symbols, exchange.processed_until, prices)

"""The practice exchange itself: moves the market on, matches, keeps the books."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from domain.account import (
    BAD_REQUEST,
    AccountState,
    Event,
    Execution,
    SimulatedAccount,
    VenueOrder,
)
from domain.candle import Bar, Bars, resample
from domain.errors import Rejected
from domain.fills import Costs
from domain.order import OrderKind, OrderSide
from sandbox.book import OrderBook, simple_book
from sandbox.clock import MarketClock

if TYPE_CHECKING:
    from sandbox.store import SandboxStore
    from sandbox.tape import Tape

FUNDING_RATE = Decimal("0.0001")
WARMUP_MS = 12 * 86_400_000


@dataclass(frozen=True, slots=True)
class Terms:
    """What the practice exchange is like."""

    speed: float = 60.0
    step: bool = False
    wallet: Decimal = Decimal(10_000)
    uid: str = "1000001"
    key: str = "practice-key"
    secret: str = "practice-secret"  # noqa: S105  opens nothing but the practice exchange
    key_ends: str = "1970-01-01T00:00:00Z"
    """When the key ends; 1970 for never, as Bybit says it."""
    costs: Costs = field(default_factory=Costs)
    limits: bool = True
    """Whether it limits how fast it may be asked, as Bybit does."""


class Exchange:
    """One market and one account; every change is in the database before a method returns."""

    def __init__(self, tape: Tape, store: SandboxStore, terms: Terms) -> None:
        self.tape, self.store, self.terms = tape, store, terms
        gone = set((store.get("delisted") or "").split())
        self.by_venue_id = {
            held.venue_id: held for held in tape.instruments.values() if held.venue_id not in gone
        }  # fmt: skip
        first, end = tape.span()
        begin = first + min(WARMUP_MS, ((end - first) // 2) if end else WARMUP_MS)
        begin -= begin % (15 * 60_000)
        self.clock = MarketClock.resume(store, begin, terms.speed)
        self.processed_until = int(store.get("processed_until") or begin)
        state = store.load_state() or AccountState(wallet=terms.wallet, name=f"practice:{self._birth(store)}")
        self.account = SimulatedAccount(state, tape.instruments, terms.costs)
        self._price_all()
        store.commit(state, [], self.processed_until)

    @property
    def ended(self) -> bool:
        """Whether a replay has played its last bar."""
        end = self.tape.span()[1]
        return end is not None and self.processed_until >= end

    def now(self) -> int:
        """Return the market time (UTC ms); in step mode it stands still between steps."""
        return self.processed_until if self.terms.step else max(self.processed_until, self.clock.now())

    @property
    def update_id(self) -> int:
        """Return a number that grows with every change of the market or the account."""
        return self.processed_until // self.tape.base_ms + self.account.state.sequence

    def instrument_symbol(self, venue_id: str) -> str:
        """Return the unified symbol of an exchange id; raises Rejected 10001 for an unknown one."""
        found = self.by_venue_id.get(venue_id)
        if found is None:
            raise Rejected(f"params error: Symbol Invalid {venue_id}", BAD_REQUEST)
        return found.symbol

    def advance(self) -> list[Event]:
        """Close the next base bar: match every symbol on it, pay funding when due."""
        start, end = self.processed_until, self.processed_until + self.tape.base_ms
        busy = {order.symbol for order in self.account.state.orders.values()}
        busy |= {symbol for symbol, held in self.account.state.positions.items() if held.qty}
        events: list[Event] = []
        for symbol in sorted(self.tape.instruments):
            bars = self.tape.bars(symbol, start, end)
            if not len(bars):
                continue
            if symbol in busy:
                events += self.account.on_bar(symbol, bars.row(0), end)
            else:
                self.account.mark(symbol, self.tape.instruments[symbol].price(float(bars.close[0])))
            if end % self.tape.instruments[symbol].funding_interval_ms == 0:
                events += self.account.on_funding(symbol, FUNDING_RATE, end)
        self.processed_until = end
        self.keep(events)
        return events

    def delist(self, venue_id: str) -> list[Event]:
        """Settle a contract at the last price, and know nothing of it any more; raises Rejected for an unknown one."""
        symbol, account, now = self.instrument_symbol(venue_id), self.account, self.now()
        held, events = account.position(symbol), list[Event]()
        for order in [one for one in account.state.orders.values() if one.symbol == symbol and not one.stop_type]:
            events += account.cancel(order.id, now)
        if held.qty:
            side = OrderSide.SELL if held.qty > 0 else OrderSide.BUY
            closing = VenueOrder(
                id="", link_id="", symbol=symbol, side=side, kind=OrderKind.MARKET, qty=abs(held.qty), reduce_only=True,
                create_type="CreateBySettle",
            )  # fmt: skip
            for one in account.place(closing, now, at_once=True):
                events.append(msgspec.structs.replace(one, kind="Settle") if isinstance(one, Execution) else one)
        del self.by_venue_id[venue_id]
        listed = {rules.venue_id for rules in self.tape.instruments.values()}
        self.store.put("delisted", " ".join(sorted(listed - self.by_venue_id.keys())))
        return self.keep(events)

    def keep(self, events: list[Event]) -> list[Event]:
        """Commit the account after a call on it."""
        self.store.commit(self.account.state, events, self.processed_until)
        return events

    def place(self, order: VenueOrder) -> list[Event]:
        """Accept an order; outside step mode a market order fills at once at the last price."""
        return self.keep(self.account.place(order, self.now(), at_once=not self.terms.step))

    def bars(self, symbol: str, step_ms: int, start: int, end: int) -> tuple[Bars, Bar | None]:
        """Return closed bars with open times in [start, end), and the bar being formed when it is in there."""
        if step_ms % self.tape.base_ms:
            raise Rejected(f"Invalid period: finer than the tape's {self.tape.base_ms} ms", BAD_REQUEST)
        first = max(start - start % step_ms, self.tape.span()[0])
        base = self.tape.bars(symbol, first, min(end + step_ms, self.processed_until))
        closed = resample(base, step_ms, self.tape.base_ms)
        inside = (closed.open_time >= start) & (closed.open_time < end)
        kept = Bars(*(column[inside] for column in closed.columns()))
        open_time = self.processed_until - self.processed_until % step_ms
        return kept, self.forming(symbol, step_ms) if start <= open_time < end else None

    def forming(self, symbol: str, step_ms: int) -> Bar:
        """Return the bar that is being formed; before its first print it is flat at the last price."""
        open_time = self.processed_until - self.processed_until % step_ms
        return self.partial(symbol, open_time, self.processed_until)

    def partial(self, symbol: str, open_time: int, until: int) -> Bar:
        """Return what a bar that opened at ``open_time`` looked like at ``until``."""
        bars = self.tape.bars(symbol, open_time, until)
        if not len(bars):
            last = float(self.account.last_price(symbol) or 0)
            return Bar(open_time, last, last, last, last, 0.0, 0.0)
        return Bar(
            open_time, float(bars.open[0]), float(bars.high.max()), float(bars.low.min()), float(bars.close[-1]),
            round(float(bars.volume.sum()), 8), round(float(bars.turnover.sum()), 8),
        )  # fmt: skip

    def order_book(self, symbol: str, depth: int) -> OrderBook:
        """Return up to ``depth`` levels a side of a symbol's order book."""
        rules = self.tape.instruments[symbol]
        last = self.account.last_price(symbol) or rules.tick
        return simple_book(rules, last, self.terms.costs.half_spread, depth)

    def last_day(self, symbol: str) -> Bars:
        """Return the base bars of the last 24 hours."""
        return self.tape.bars(symbol, self.processed_until - 86_400_000, self.processed_until)

    def _price_all(self) -> None:
        for symbol, rules in self.tape.instruments.items():
            bars = self.tape.bars(symbol, self.processed_until - 20 * self.tape.base_ms, self.processed_until)
            if len(bars):
                self.account.mark(symbol, rules.price(float(bars.close[-1])))

    @staticmethod
    def _birth(store: SandboxStore) -> str:
        # execution ids of two practice exchanges must differ, though their seeds be equal
        born = store.get("born") or np.random.default_rng().bytes(8).hex()
        store.put("born", born)
        return born

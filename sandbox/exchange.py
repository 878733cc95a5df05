"""The practice exchange itself: moves the market on, matches, keeps the books."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from domain.account import AccountState, Event, VenueOrder
from domain.candle import Bar, Bars, resample
from domain.durations import DAY_MS
from domain.errors import Rejected
from domain.fills import Costs
from domain.order_book import Level, OrderBooks
from sandbox.clock import MarketClock, wire_ms
from sandbox.codes import BAD_REQUEST
from sandbox.delays import Delays
from sandbox.mark import BASIS_MS, MarkBar, mark_bars
from sandbox.market import Market
from sandbox.practice_account import PracticeAccount

if TYPE_CHECKING:
    from sandbox.store import SandboxStore
    from sandbox.tape import Tape

FUNDING_RATE = Decimal("0.0001")
WARMUP_MS = 12 * DAY_MS
UID = 1_000_001


def uid_of(name: str) -> str:
    """Return the uid of a practice account: the same name gives the same, no name the first."""
    return str(UID + 1 + zlib.crc32(name.encode()) if name else UID)


@dataclass(frozen=True, slots=True)
class Terms:
    """What the practice exchange is like; ``now`` has market time be the host's, ``marked`` are contracts to mark."""

    speed: float = 60.0
    step: bool = False
    wallet: Decimal = Decimal(10_000)
    uid: str = str(UID)
    key: str = "practice-key"
    secret: str = "practice-secret"  # noqa: S105  opens nothing but the practice exchange
    key_ends: str = "1970-01-01T00:00:00Z"
    """When the key ends; 1970 for never, as Bybit says it."""
    costs: Costs = field(default_factory=Costs)
    slices: bool = True
    """Whether orders are filled by an order book, in slices; else whole, however large."""
    now: bool = False
    marked: tuple[str, ...] = ()
    limits: bool = True
    """Whether it limits how fast it may be asked, as Bybit does."""


class Exchange:
    """One market and one account; every change is in the database before a method returns."""

    def __init__(self, tape: Tape, store: SandboxStore, terms: Terms) -> None:
        self.store, self.terms = store, terms
        self.tape: Market = Market(tape, store, terms.marked)
        gone = set((store.get("delisted") or "").split())
        self.by_venue_id = {
            held.venue_id: held for held in tape.instruments.values() if held.venue_id not in gone
        }  # fmt: skip
        first, end = tape.span()
        begin = first + min(WARMUP_MS, ((end - first) // 2) if end else WARMUP_MS)
        begin -= begin % (15 * 60_000)
        if terms.now:
            begin = wire_ms() // tape.base_ms * tape.base_ms
        self.clock = MarketClock.resume(store, begin, terms.speed, wire=terms.now)
        self.processed_until = int(store.get("processed_until") or begin)
        state = store.load_state() or AccountState(wallet=terms.wallet, name=f"practice:{self._birth(store)}")
        self.books = OrderBooks(tape.instruments, terms.costs, min(1.0, terms.speed))
        books = self.books if terms.slices else None
        self.account = PracticeAccount(state, tape.instruments, terms.costs, books=books)
        self.delays = Delays()
        known: list[Event] = [*state.orders.values(), *state.positions.values(), *state.legs]
        self.delays.note([msgspec.structs.replace(one) for one in known])
        self.settled: list[str] = []
        # decisions in step mode are held against a backtest, which knows no mark price but the last
        self._window = 1 if terms.step else max(1, BASIS_MS // tape.base_ms)
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

    def venue_id(self, symbol: str) -> str:
        """Return the exchange's own name of a symbol."""
        return self.tape.instruments[symbol].venue_id

    @property
    def update_id(self) -> int:
        """Return a number that grows with every change of the market or the account."""
        return self.processed_until // self.tape.base_ms + self.account.state.sequence

    def instrument_symbol(self, venue_id: str) -> str:
        """Return the unified symbol of an exchange id; raises Rejected 10001 for an unknown one."""
        rules = self.by_venue_id.get(venue_id)
        if rules is None:
            raise Rejected(f"params error: Symbol Invalid {venue_id}", BAD_REQUEST)
        return rules.symbol

    def advance(self) -> list[Event]:
        """Close the next base bar: match every symbol on it, pay funding when due."""
        start, end = self.processed_until, self.processed_until + self.tape.base_ms
        busy = {order.symbol for order in self.account.state.orders.values()}
        busy |= {position.symbol for position in self.account.open_positions()}
        events: list[Event] = []
        for symbol in sorted(self.tape.instruments):
            bars = self.tape.bars(symbol, start, end)
            if not len(bars):
                continue
            self.books.on_bar(symbol, start, self.tape.base_ms, float(bars.turnover[0]))
            if symbol in busy:
                events += self._play(symbol, bars.row(0), end)
            else:
                self.account.mark(symbol, self.tape.instruments[symbol].price(float(bars.close[0])))
            if end % self.tape.instruments[symbol].funding_interval_ms == 0:
                events += self.account.on_funding(symbol, FUNDING_RATE, end)
        # a symbol without a bar fills what is due all the same
        events += self.account.on_time(end - 1)
        self.processed_until = end
        self.keep(events)
        return events + self._deliver(end)

    def _deliver(self, until: int) -> list[Event]:
        """Settle the contracts whose announced delivery time has come."""
        events, due = list[Event](), [self.tape.instruments[symbol].venue_id for symbol in self.tape.due(until)]
        for venue_id in [one for one in due if one in self.by_venue_id]:
            events += self.delist(venue_id)
            self.settled.append(venue_id)
        return events

    def go_on(self) -> list[Event]:
        """Fill what is due of the orders that are being filled."""
        due = self.account.next_due
        return self.keep(self.account.on_time(self.now())) if due is not None and due <= self.now() else []

    def market_ms(self, host_ms: int) -> int:
        """Return a span of the host's time in market time; a stepping market has only its own."""
        return host_ms if self.terms.step else int(host_ms * self.terms.speed)

    def order_book(self, symbol: str, depth: int) -> tuple[list[Level], list[Level]]:
        """Return bids and asks, best first, as orders meet them now; nothing before the first price."""
        last = self.account.last_price(symbol)
        return self.books.book(symbol, last, depth) if last is not None else ([], [])

    def _play(self, symbol: str, bar: Bar, end: int) -> list[Event]:
        """Play a base bar to the account: what its mark prices liquidate, what it matches, and the margin after it."""
        account, rules = self.account, self.tape.instruments[symbol]
        mark = self._mark_bar(symbol, end)
        events = account.on_mark(symbol, mark, end - 1)
        events += account.on_bar(symbol, bar, end)
        account.take_mark(symbol, rules.price(mark.close))
        return events + account.check_margin(end - 1)

    def mark_price(self, symbol: str) -> Decimal:
        """Return a symbol's mark price."""
        rules, last = self.tape.instruments[symbol], self.account.last_price(symbol)
        if self._window == 1 and last is not None:
            return last
        return rules.price(self._mark_bar(symbol, self.processed_until).close)

    def mark_bars(self, symbol: str, start: int, end: int) -> Bars:
        """Return base bars of the mark price with open times in [start, end)."""
        lead = 2 * self._window * self.tape.base_ms
        bars = self.tape.bars(symbol, start - lead, end)
        if not len(bars):
            return bars
        held = mark_bars(
            bars, self._window, self.tape.instruments[symbol].funding_interval_ms, float(FUNDING_RATE)
        )  # fmt: skip
        return held[int(np.searchsorted(held.open_time, start)) :]

    def _mark_bar(self, symbol: str, end: int) -> MarkBar:
        bars = self.mark_bars(symbol, end - self.tape.base_ms, end)
        if not len(bars):
            last = float(self.account.last_price(symbol) or self.tape.instruments[symbol].tick)
            return MarkBar(last, last, last)
        return MarkBar(float(bars.low[-1]), float(bars.high[-1]), float(bars.close[-1]))

    def traded(self, symbol: str, start: int, end: int) -> bool:
        """Return whether anything traded in [start, end)."""
        return bool(self.tape.bars(symbol, start, end).volume.any())

    def refresh(self, venue_id: str) -> None:
        """Show a contract as it is now, after something was said of it."""
        self.by_venue_id[venue_id] = self.tape.instruments[self.instrument_symbol(venue_id)]

    def delist(self, venue_id: str) -> list[Event]:
        """Settle a contract at the mark price, and know nothing of it any more; raises Rejected for an unknown one.

        A linear perpetual that is delisted ends in executions of the kind Delivery (docs v5 enum, execType).
        """
        symbol = self.instrument_symbol(venue_id)
        events = self.account.settle(symbol, self.mark_price(symbol), self.now())
        del self.by_venue_id[venue_id]
        listed = {rules.venue_id for rules in self.tape.instruments.values()}
        self.store.put("delisted", " ".join(sorted(listed - self.by_venue_id.keys())))
        return self.keep(events)

    def keep(self, events: list[Event]) -> list[Event]:
        """Commit the account after a call on it."""
        self.store.commit(self.account.state, events, self.processed_until)
        self.delays.note(events)
        return events

    def place(self, order: VenueOrder) -> list[Event]:
        """Accept an order; outside step mode a market order fills at once at the last price."""
        return self.keep(self.account.place(order, self.now(), at_once=not self.terms.step))

    def bars(self, symbol: str, step_ms: int, start: int, end: int, *, mark: bool = False) -> tuple[Bars, Bar | None]:
        """Return closed bars with open times in [start, end), and the bar being formed when it is in there.

        With ``mark`` they are bars of the mark price.
        """
        if step_ms % self.tape.base_ms:
            raise Rejected(f"Invalid period: finer than the tape's {self.tape.base_ms} ms", BAD_REQUEST)
        first = max(start - start % step_ms, self.tape.span()[0])
        base = (self.mark_bars if mark else self.tape.bars)(symbol, first, min(end + step_ms, self.processed_until))
        closed = resample(base, step_ms, self.tape.base_ms)
        inside = (closed.open_time >= start) & (closed.open_time < end)
        kept = Bars(*(column[inside] for column in closed.columns()))
        open_time = self.processed_until - self.processed_until % step_ms
        return kept, self.forming(symbol, step_ms, mark=mark) if start <= open_time < end else None

    def forming(self, symbol: str, step_ms: int, *, mark: bool = False) -> Bar:
        """Return the bar that is being formed; before its first print it is flat at the last price."""
        open_time = self.processed_until - self.processed_until % step_ms
        return self.partial(symbol, open_time, self.processed_until, mark=mark)

    def partial(self, symbol: str, open_time: int, until: int, *, mark: bool = False) -> Bar:
        """Return what a bar that opened at ``open_time`` looked like at ``until``."""
        bars = (self.mark_bars if mark else self.tape.bars)(symbol, open_time, until)
        if not len(bars):
            last = float((self.mark_price(symbol) if mark else self.account.last_price(symbol)) or 0)
            return Bar(open_time, last, last, last, last, 0.0, 0.0)
        return Bar(
            open_time, float(bars.open[0]), float(bars.high.max()), float(bars.low.min()), float(bars.close[-1]),
            round(float(bars.volume.sum()), 8), round(float(bars.turnover.sum()), 8),
        )  # fmt: skip

    def last_day(self, symbol: str) -> Bars:
        """Return the base bars of the last 24 hours."""
        return self.tape.bars(symbol, self.processed_until - DAY_MS, self.processed_until)

    def _price_all(self) -> None:
        for symbol, rules in self.tape.instruments.items():
            bars = self.tape.bars(symbol, self.processed_until - 20 * self.tape.base_ms, self.processed_until)
            if len(bars):
                self.account.mark(symbol, rules.price(float(bars.close[-1])))
                last = bars.row(len(bars) - 1)
                self.books.on_bar(symbol, last.open_time, self.tape.base_ms, last.turnover)
        for position in self.account.open_positions():
            self.account.take_mark(position.symbol, self.mark_price(position.symbol))

    @staticmethod
    def _birth(store: SandboxStore) -> str:
        # execution ids of two practice exchanges must differ, though their seeds be equal
        born = store.get("born") or np.random.default_rng().bytes(8).hex()
        store.put("born", born)
        return born

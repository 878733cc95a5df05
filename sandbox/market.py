"""The markets as people see them: a tape, with what was done to single contracts over it.

Contracts can be marked (stock, commodity, innovation, pre-listing), announced for delivery, split, or kept quiet. All
of it is kept in the practice exchange's database, so that a restart finds the same markets.
"""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from domain.candle import Bars
from domain.errors import ConfigError
from domain.symbols import Symbols
from sandbox.silence import quieten

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sandbox.store import SandboxStore
    from sandbox.tape import Tape

PRE_LISTING = "pre_listing"
CATEGORIES = ("", "stock", "commodity", "innovation", PRE_LISTING)


class Listing(msgspec.Struct):
    """What is said of a contract beyond its trading rules."""

    category: str = ""
    pre_listing: bool = False
    delivery_time: int = 0


class Silence(msgspec.Struct):
    """A time without trades at a price; ``end`` 0 while it lasts."""

    start: int
    price: float
    end: int = 0


class Split(msgspec.Struct):
    """From ``time`` on each unit is ``ratio`` units, each at the price divided by it."""

    time: int
    ratio: float


class Notes(msgspec.Struct):
    """All of it, by unified symbol."""

    listings: dict[str, Listing] = {}
    silences: dict[str, list[Silence]] = {}
    splits: dict[str, list[Split]] = {}


class Market:
    """A tape with its notes; ``marked`` are contracts to mark, ``BSVUSDT=stock`` each."""

    def __init__(self, tape: Tape, store: SandboxStore, marked: Sequence[str] = ()) -> None:
        self._tape, self._store = tape, store
        self.base_ms, self.instruments = tape.base_ms, tape.instruments
        body = store.get("market")
        self._notes = msgspec.json.decode(body, type=Notes) if body else Notes()
        names = Symbols(tape.instruments, {symbol: rules.venue_id for symbol, rules in tape.instruments.items()})
        for item in marked:
            contract, _, category = item.partition("=")
            if category not in CATEGORIES:
                raise ConfigError(f"sandbox.marked: {item} is not CONTRACT={'|'.join(CATEGORIES[1:])}")
            meant = names.matches(contract)
            if not meant:
                said = f"sandbox.marked: {contract!r} matches no contract here; {names.hint(contract)}"
                raise ConfigError(said.rstrip("; "))
            for symbol in meant:
                self.mark(symbol, category)
        for symbol in self._notes.listings:
            self._apply(symbol)

    def span(self) -> tuple[int, int | None]:
        """Return the first open time and the end of the tape, None when it never ends."""
        return self._tape.span()

    def bars(self, symbol: str, start: int, end: int) -> Bars:
        """Return the base bars with open times in [start, end), with silences and splits in them."""
        silences = self._notes.silences.get(symbol, ())
        # one bar more: what follows a silence opens at its price, however it is asked for
        bars = self._tape.bars(symbol, start - self.base_ms if silences else start, end)
        for silence in silences:
            silent = (bars.open_time >= silence.start) & (bars.open_time < (silence.end or end))
            if silent.any():
                bars = quieten(bars, silent, silence.price)
        if silences:
            bars = bars[int(np.searchsorted(bars.open_time, start)) :]
        for split in self._notes.splits.get(symbol, ()):
            bars = self._divided(symbol, bars, split)
        return bars

    def mark(self, symbol: str, category: str) -> None:
        """Say what is behind a contract: one of CATEGORIES, where pre_listing is a state of its own."""
        listing = self._listing(symbol)
        listing.category = "" if category == PRE_LISTING else category
        listing.pre_listing = category == PRE_LISTING
        self._keep(symbol)

    def announce(self, symbol: str, delivery_time: int) -> None:
        """Announce that a contract will be delivered at a time (UTC ms); 0 takes it back."""
        self._listing(symbol).delivery_time = delivery_time
        self._keep(symbol)

    def due(self, until: int) -> list[str]:
        """Return the contracts whose announced delivery time has come."""
        listed = self._notes.listings.items()
        return sorted(symbol for symbol, one in listed if 0 < one.delivery_time <= until)

    def quiet(self, symbols: Iterable[str], now: int, prices: dict[str, float]) -> None:
        """Keep exactly these markets without trades from ``now`` on, each at its price."""
        wanted = set(symbols)
        for symbol in wanted | self._notes.silences.keys():
            silences = self._notes.silences.setdefault(symbol, [])
            lasting = bool(silences) and not silences[-1].end
            if lasting and symbol not in wanted:
                silences[-1].end = now
            elif not lasting and symbol in wanted:
                # silences lie below splits, whose prices they are divided by
                ratios = [split.ratio for split in self._notes.splits.get(symbol, ())]
                silences.append(Silence(now, prices[symbol] * math.prod(ratios)))
        self._save()

    def split(self, symbol: str, time: int, ratio: Decimal) -> None:
        """Divide a contract's prices by a ratio from a time on."""
        self._notes.splits.setdefault(symbol, []).append(Split(time, float(ratio)))
        self._save()

    def _divided(self, symbol: str, bars: Bars, split: Split) -> Bars:
        later = bars.open_time >= split.time
        if not later.any():
            return bars
        tick = float(self.instruments[symbol].tick)

        def price(column: np.ndarray) -> np.ndarray:
            divided = np.round(np.maximum(np.round(column / split.ratio / tick), 1) * tick, 10)
            return np.where(later, divided, column)

        opened, high, low, close = (price(column) for column in (bars.open, bars.high, bars.low, bars.close))
        volume = np.where(later, np.round(bars.volume * split.ratio, 4), bars.volume)
        return Bars(bars.open_time, opened, high, low, close, volume, bars.turnover)

    def _listing(self, symbol: str) -> Listing:
        return self._notes.listings.setdefault(symbol, Listing())

    def _keep(self, symbol: str) -> None:
        self._apply(symbol)
        self._save()

    def _apply(self, symbol: str) -> None:
        one = self._notes.listings[symbol]
        if symbol in self.instruments:
            self.instruments[symbol] = replace(
                self.instruments[symbol], category=one.category, pre_listing=one.pre_listing,
                delivery_time=one.delivery_time,
            )  # fmt: skip

    def _save(self) -> None:
        self._store.put("market", msgspec.json.encode(self._notes).decode())

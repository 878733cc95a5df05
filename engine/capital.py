"""What positions tie up, put at risk, and have to keep: what the risk gate asks before it lets another one in."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from domain.durations import MINUTE_MS
from domain.trade import ZERO

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from domain.instrument import Instrument
    from engine.positions import Book
    from engine.situation import Situation


@dataclass(frozen=True, slots=True)
class Commitments:
    """Sums over all positions, in quote units, and the entries of the last minute: as ``engine/risk.py`` names them."""

    exposure: Decimal
    margin: Decimal
    at_risk: Decimal
    maintenance: Decimal
    available: Decimal | None
    ordered: int


ENTRIES_MAX = 10_000


class Capital:
    """Sums up the positions of a book, and those of others in the same account."""

    def __init__(self, book: Book, situation: Situation, instruments: Mapping[str, Instrument]) -> None:
        self._book, self._situation, self._instruments = book, situation, instruments
        self._entered: deque[int] = deque(maxlen=ENTRIES_MAX)

    def entered(self, time: int) -> None:
        """Take note that an order that opens something is sent, or was in an earlier life (market time, UTC ms)."""
        self._entered.append(time)

    def commitments(self) -> Commitments:
        """Return what all positions come to; entries on their way count whole."""
        seen, own = self._situation, self.margin()
        # what was asked for since the exchange was asked for its figure is not in that yet
        available = None if seen.available is None else seen.available - max(ZERO, own - seen.counted)
        exposure, at_risk, maintenance = sum(seen.foreign.values(), ZERO), ZERO, self._maintenance(seen.foreign)
        for one in self._book.positions():
            price = seen.prices.get(one.symbol, one.entry_price)
            value = one.commitment(price)
            exposure += value
            at_risk += one.commitment(max(ZERO, one.opening.side.sign * (price - one.bracket.stop)))
            maintenance += self._maintenance({one.symbol: value})
        while self._entered and self._entered[0] <= seen.market_time - MINUTE_MS:
            self._entered.popleft()
        ordered = len(self._entered)
        return Commitments(exposure, own + seen.foreign_margin, at_risk, maintenance, available, ordered)

    def margin(self, without: Collection[str] = ()) -> Decimal:
        """Return what our positions tie up, and entries under way as if they had filled, but for those ``without``."""
        total = ZERO
        for held in self._book.positions():
            # by the price of the entry or of now, as account and margin mode have it: the higher one
            price = max(self._situation.prices.get(held.symbol, held.entry_price), held.entry_price)
            value = held.qty * price if held.entry_order in without else held.commitment(price)
            total += value / held.leverage
        return total

    def _maintenance(self, values: Mapping[str, Decimal]) -> Decimal:
        """Return the margin that the exchange wants kept for positions, given their values by symbol."""
        known = ((self._instruments.get(symbol), value) for symbol, value in values.items())
        return sum((value * rules.maintenance_rate(value) for rules, value in known if rules is not None), ZERO)

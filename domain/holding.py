"""What a strategy sees of a position that it manages, and what it may have done to it."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from domain.errors import BadData
from domain.order import Side
from domain.signal import Leave, leave_of
from domain.trade import ZERO

if TYPE_CHECKING:
    from collections.abc import Callable

    from domain.exits import Bracket
    from domain.instrument import Instrument

ALL = Decimal(1)
NOTHING_SAID = (None, None)


class Holding(msgspec.Struct, frozen=True):
    """An open position, or a phantom, as a bar of its strategy's timeframe has closed; prices in quote units.

    Attributes:
        entry: average price of what has filled.
        first_stop: the stop at entry; its distance from the entry is R.
        stop: the stop in force, or the tighter one that is on its way.
        target: the price at which the rest is taken off, 0 where there is none.
        close: the price at which the bar closed.
        best, worst: the most and the least favourable price since the entry, this bar included.
        remaining: share of the position that is still open, 1 until something is taken off.
        bars: bars that have closed since the one that gave the signal; 1 on the first.
        parts: how often a part of it has been taken off because its strategy said so.
    """

    symbol: str
    side: Side
    entry: float
    first_stop: float
    stop: float
    target: float
    close: float
    best: float
    worst: float
    remaining: float
    bars: int
    parts: int = 0

    @property
    def risk(self) -> float:
        """R in quote units."""
        return abs(self.entry - self.first_stop)

    @property
    def r(self) -> float:
        """What a unit that is still open has made at the close, in R, before costs; 0 where nothing is at risk."""
        return self.side.sign * (self.close - self.entry) / self.risk if self.risk else 0.0

    @property
    def best_r(self) -> float:
        """The largest favourable move so far in R; 0 where nothing is at risk."""
        return self.side.sign * (self.best - self.entry) / self.risk if self.risk else 0.0


class Adjust(msgspec.Struct, frozen=True):
    """Where the stop of a position is to stand, and how much of it is to stay; None leaves either as it is.

    Both say how things shall be, not what shall change: said again, nothing more happens. ``keep`` is a share of the
    position as it was opened, above 0 and up to 1; what is beyond it is taken off at the market as the bar closes.
    """

    stop: float | None = None
    keep: float | None = None


if TYPE_CHECKING:
    Manage = Callable[[Holding], Adjust | Leave | None]
    """Asks a strategy what is to become of a position of its own on a bar."""


def holding_of(symbol: str, bracket: Bracket, close: float, remaining: Decimal, bars: int, parts: int) -> Holding:
    """Return what a strategy sees of a position with a bracket."""
    held = bracket
    return Holding(
        symbol, held.side, float(held.entry), float(held.first_stop), float(held.stop), float(held.target), close,
        float(held.best), float(held.worst), float(remaining), bars, parts,
    )  # fmt: skip


def managed(found: object) -> Adjust | Leave | None:
    """Return what ``manage`` gave, in plain numbers.

    Raises:
        BadData: when it is neither an Adjust nor a Leave, or has a number that is none.
    """
    if found is None:
        return None
    if isinstance(found, Leave):
        return leave_of(found)
    if not isinstance(found, Adjust):
        raise BadData(f"manage gave {type(found).__name__}; it gives one Adjust, one Leave, or None")
    stop, keep = (None if value is None else float(value) for value in (found.stop, found.keep))
    if stop is not None and not (math.isfinite(stop) and stop > 0):
        raise BadData(f"an Adjust whose stop is {stop}; it is a price")
    if keep is not None and not 0 < keep <= 1:
        raise BadData(f"an Adjust whose keep is {keep}; it is a share above 0 and up to 1, and Leave takes all off")
    return None if (stop, keep) == NOTHING_SAID else Adjust(stop, keep)


def stop_asked(adjust: Adjust, bracket: Bracket, rules: Instrument) -> Decimal:
    """Return the stop that is asked for on the exchange's ticks, away from the price, 0 where none is.

    Raises:
        BadData: when it lies beyond the first stop: the position would risk more than it was sized for.
    """
    if adjust.stop is None:
        return ZERO
    sign = bracket.side.sign
    if sign * (rules.price(adjust.stop) - bracket.first_stop) < 0:
        raise BadData(
            f"a stop at {adjust.stop:g} lies beyond the first one at {bracket.first_stop:f}: "
            "a position never risks more than it was sized for"
        )
    return rules.price_down(adjust.stop) if sign > 0 else rules.price_up(adjust.stop)

"""A strategy's decisions to enter and to leave, before anybody has weighed them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from domain.candle import timeframe_ms
from domain.errors import BadData
from domain.order import Side
from domain.trade import ZERO

if TYPE_CHECKING:
    from decimal import Decimal

    from domain.candle import Series
    from domain.instrument import Instrument


class Signal(msgspec.Struct, frozen=True):
    """Enter ``symbol`` on ``side`` near ``entry``, out at ``stop`` or ``target``, which is 0 where there is none.

    ``bar_start`` is the open time of the bar that gave the signal (UTC ms), which closed at ``time``. Prices
    are in quote units and not yet rounded to the exchange's ticks. ``notes`` says what the strategy saw. With ``turns``
    what the strategy holds on the other side is left as well.
    """

    strategy: str
    symbol: str
    timeframe: str
    bar_start: int
    time: int
    side: Side
    entry: float
    stop: float
    target: float = 0.0
    notes: dict[str, float] = {}
    turns: bool = False

    def __post_init__(self) -> None:
        sign = self.side.sign
        ahead = sign * self.entry < sign * self.target if self.target else self.entry > 0
        if not (sign * self.stop < sign * self.entry and ahead):
            raise BadData(
                f"{self.strategy} signal on {self.symbol}: a {self.side} needs its stop {self.stop}, "
                f"entry {self.entry} and target {self.target or 'none'} in that order of gain"
            )

    @property
    def risk(self) -> float:
        """Distance from entry to stop in quote units."""
        return abs(self.entry - self.stop)

    def levels(self, rules: Instrument) -> tuple[Decimal, Decimal]:
        """Return stop and target on the exchange's ticks, the target 0 where there is none.

        A stop is rounded away from the entry and a target towards it, so that neither promises too much.
        """
        rounded = rules.price_down if self.side.sign > 0 else rules.price_up
        return rounded(self.stop), rounded(self.target) if self.target else ZERO


class Leave(msgspec.Struct, frozen=True):
    """Close what the strategy holds in the symbol, at the market, as the bar closes.

    ``side`` names the positions that are meant; without one they are those on either side. Where the strategy holds
    nothing it means nothing: like a signal it is said without knowing of positions.
    """

    side: Side | None = None

    def means(self, side: Side) -> bool:
        """Return whether a position on a side is to be left."""
        return self.side in {None, side}


def leave_in(said: Signal | Leave | None) -> Leave | None:
    """Return what is left by something that a strategy says, None where nothing is."""
    if isinstance(said, Signal):
        return Leave(Side.SHORT if said.side is Side.LONG else Side.LONG) if said.turns else None
    return said


def given(found: object, strategy: str, series: Series, bar_start: int) -> Signal | Leave | None:
    """Return what a strategy gave on the bar of a series that opened at ``bar_start``, in plain numbers.

    Raises:
        BadData: when it is no signal, one of another strategy, symbol or bar, or one with a number that is none; or
            when it leaves a side that is none.
    """
    if found is None:
        return None
    if isinstance(found, Leave):
        return leave_of(found)
    if not isinstance(found, Signal):
        raise BadData(f"step gave {type(found).__name__}; it gives one Signal, one Leave, or None")
    step = timeframe_ms(series.timeframe)
    expected = (strategy, *series, bar_start, bar_start + step)
    told = (found.strategy, found.symbol, found.timeframe, int(found.bar_start), int(found.time))
    for name, one, other in zip(("strategy", "symbol", "timeframe", "bar_start", "time"), told, expected, strict=True):
        if one != other:
            raise BadData(f"a signal with {name} {one}, on a bar where it is {other}")
    notes = {str(name): float(value) for name, value in found.notes.items()}
    prices = {name: float(getattr(found, name)) for name in ("entry", "stop", "target")}
    for name, value in (*prices.items(), *notes.items()):
        if not math.isfinite(value):
            raise BadData(f"a signal on {series.symbol} whose {name} is {value}")
    if prices["entry"] <= 0:
        raise BadData(f"a signal on {series.symbol} whose entry is {prices['entry']}")
    return Signal(*told, found.side, prices["entry"], prices["stop"], prices["target"], notes, bool(found.turns))


def leave_of(found: Leave) -> Leave:
    """Return a Leave of a strategy's. Raises BadData when it leaves a side that is none."""
    if found.side is not None and not isinstance(found.side, Side):
        raise BadData(f"a Leave whose side is {found.side!r}; it is Side.LONG, Side.SHORT, or None for both")
    return Leave(found.side)

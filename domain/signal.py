"""A strategy's decision to enter, before anybody has weighed it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from domain.errors import BadData
from domain.trade import ZERO

if TYPE_CHECKING:
    from decimal import Decimal

    from domain.instrument import Instrument
    from domain.order import Side


class Signal(msgspec.Struct, frozen=True):
    """Enter ``symbol`` on ``side`` near ``entry``, out at ``stop`` or ``target``, which is 0 where there is none.

    ``bar_start`` is the open time of the bar that gave the signal (UTC ms), which closed at ``time``. Prices
    are in quote units and not yet rounded to the exchange's ticks. ``notes`` says what the strategy saw.
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

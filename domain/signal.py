"""A strategy's decision to enter, before anybody has weighed it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from domain.errors import BadData

if TYPE_CHECKING:
    from domain.order import Side


class Signal(msgspec.Struct, frozen=True):
    """Enter ``symbol`` on ``side`` near ``entry``, out at ``stop`` or ``target``.

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
    target: float
    notes: dict[str, float] = {}

    def __post_init__(self) -> None:
        sign = self.side.sign
        if not (sign * self.stop < sign * self.entry < sign * self.target):
            raise BadData(
                f"{self.strategy} signal on {self.symbol}: a {self.side} needs its stop {self.stop}, "
                f"entry {self.entry} and target {self.target} in that order of gain"
            )

    @property
    def risk(self) -> float:
        """Distance from entry to stop in quote units."""
        return abs(self.entry - self.stop)

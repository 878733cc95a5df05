"""Chandelier: the Donchian breakout with a stop that hangs below the best price and half taken off on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain.holding import Adjust
from domain.signal import Leave
from strategies.examples.donchian import Donchian

if TYPE_CHECKING:
    from domain.holding import Holding
    from strategies.strategy import Columns


class Chandelier(Donchian):
    """Trades breaks of a channel and manages what comes of them itself."""

    class Parameters(Donchian.Parameters, frozen=True, forbid_unknown_fields=True):
        """Distance of the stop from the best price in ATR; gain in R at which half goes; bars to gain something."""

        trail_atr: float = 3.0
        half_at_r: float = 1.0
        patience_bars: int = 24

    name: str = "chandelier"

    def __init__(self, parameters: Parameters) -> None:
        super().__init__(parameters)
        self._managing = parameters

    def manage(self, position: Holding, i: int, columns: Columns) -> Adjust | Leave | None:
        """Decide about an open position on one bar."""
        if position.bars >= self._managing.patience_bars and position.best_r < self._managing.half_at_r / 2:
            return Leave()
        sign, atr = position.side.sign, float(columns["atr"][i])
        hanging = position.best - sign * self._managing.trail_atr * atr
        stop = hanging if sign * hanging > sign * position.stop else None
        return Adjust(stop, keep=0.5 if position.best_r >= self._managing.half_at_r else None)

"""A strategy that trades all the time, so that whatever is killed is killed in the middle of something."""

from __future__ import annotations

from typing import Any

import msgspec

from domain.candle import timeframe_ms
from domain.order import Side
from domain.signal import Signal


class Churn:
    """Enters on every second bar, in the direction of the last close's last digit, with stop and target close by."""

    class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """Distance of stop and target, as a fraction of the price."""

        reach: float = 0.002

    name = "churn"
    timeframes = ("3m",)
    warmup_bars = {"3m": 5}

    def __init__(self, parameters: Any) -> None:
        self._reach = parameters.reach

    def start(self, symbol: str) -> str:
        return symbol

    def columns(self, bars: Any) -> Any:
        return {"open_time": bars["3m"].open_time, "close": bars["3m"].close}

    def step(self, i: int, columns: Any, state: str) -> Signal | None:
        step = timeframe_ms("3m")
        start, close = int(columns["open_time"][i]), float(columns["close"][i])
        if start // step % 2:
            return None
        side = Side.LONG if repr(close)[-1] in "13579" else Side.SHORT
        reach = close * self._reach * side.sign
        return Signal("churn", state, "3m", start, start + step, side, close, close - reach, close + reach)

"""Trend pullback: a break of a pivot level, a pullback to it that holds, and bars that confirm."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from domain.candle import timeframe_ms
from domain.errors import ConfigError
from domain.order import Side
from domain.signal import Signal
from strategies import indicators as ta
from strategies import strategy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from domain.candle import Bars
    from strategies.strategy import Columns


class Phase(Enum):
    """Where a setup stands."""

    NEUTRAL = "neutral"
    BROKEN = "broken"
    PULLED_BACK = "pulled_back"


@dataclass(slots=True)
class State:
    """A symbol's setup: the broken level, the pullback's extreme, and bars counted since."""

    symbol: str
    phase: Phase = Phase.NEUTRAL
    side: Side = Side.LONG
    level: float = 0.0
    extreme: float = 0.0
    waited: int = 0
    confirmed: int = 0
    used_level: float = 0.0


class TrendPullback:
    """Trades with the trend of the context timeframe; breaks and confirmations are seen on the trigger timeframe."""

    class Parameters(strategy.Parameters, frozen=True, forbid_unknown_fields=True):
        """Parameters of the trend pullback; lengths in bars, distances in ATR of the context timeframe.

        Attributes:
            context: timeframe of trend, levels and ATR.
            trigger: timeframe of breaks and confirmations; the context itself or a finer one.
            pivot_left, pivot_right: bars before and after a pivot.
            level_age_max: oldest pivot used, in context bars.
            zone: half-width of a level as a fraction of its price.
            trend_fast, trend_slow: EMA spans; the fast one must be on the trend's side of the slow one.
            atr_length: length of the average true range.
            retest_atr: how near the pullback must come to the level.
            pullback_bars_max: trigger bars that a break may wait for its pullback, and a pullback for its confirmation.
            confirmation_bars: bars in a row that close in the trade's direction.
            stop_buffer_atr: distance of the stop beyond the pullback's extreme.
            stop_min: smallest distance of the stop as a fraction of the price.
            reward_r: distance of the target in R.
        """

        context: str = "15m"
        trigger: str = "15m"
        pivot_left: int = 3
        pivot_right: int = 2
        level_age_max: int = 30
        zone: float = 0.003
        trend_fast: int = 20
        trend_slow: int = 50
        atr_length: int = 14
        retest_atr: float = 0.5
        pullback_bars_max: int = 25
        confirmation_bars: int = 2
        stop_buffer_atr: float = 0.5
        stop_min: float = 0.005
        reward_r: float = 2.5

    name: str = "trend_pullback"
    warmup_bars: Mapping[str, int]

    def __init__(self, parameters: Parameters) -> None:
        p = self._p = parameters
        if timeframe_ms(p.context) % timeframe_ms(p.trigger):
            raise ConfigError(f"strategies.trend_pullback: trigger {p.trigger} does not divide context {p.context}")
        self.timeframes = tuple(dict.fromkeys((p.trigger, p.context)))
        needed = max(ta.memory(p.trend_slow), ta.memory(2 * p.atr_length), p.level_age_max + 10)
        self.warmup_bars = {p.trigger: 2 * p.pullback_bars_max + 10, p.context: needed}

    def start(self, symbol: str) -> State:
        """Return the state of a symbol without a setup."""
        return State(symbol)

    def columns(self, bars: Mapping[str, Bars]) -> Columns:
        """Return the trigger's bars with the context's levels, trend and ATR beside them."""
        p, trigger, context = self._p, bars[self._p.trigger], bars[self._p.context]
        size = len(context)
        known, tops = ta.pivots(context.high, p.pivot_left, p.pivot_right, high=True)
        resistance, top_age = ta.latest(known, tops, size)
        known, bottoms = ta.pivots(context.low, p.pivot_left, p.pivot_right, high=False)
        support, bottom_age = ta.latest(known, bottoms, size)
        resistance[top_age > p.level_age_max] = np.nan
        support[bottom_age > p.level_age_max] = np.nan
        apart = ta.ema(context.close, p.trend_fast) - ta.ema(context.close, p.trend_slow)
        trend = np.where(np.abs(apart) <= ta.NOISE * context.close, 0.0, np.sign(apart))
        outer = {"resistance": resistance, "support": support, "trend": trend, "atr": ta.atr(context, p.atr_length)}
        closes = trigger.open_time + timeframe_ms(p.trigger)
        outer_closes = context.open_time + timeframe_ms(p.context)
        own: Columns = {
            "open_time": trigger.open_time, "open": trigger.open, "high": trigger.high, "low": trigger.low,
            "close": trigger.close,
        }  # fmt: skip
        return own | ta.align(closes, outer_closes, outer)

    def step(self, i: int, columns: Columns, state: State) -> Signal | None:
        """Move the setup on by one bar; a finished setup is a signal."""
        if np.isnan(columns["atr"][i]) or np.isnan(columns["trend"][i]):
            return None
        if state.phase is Phase.NEUTRAL:
            self._look_for_break(i, columns, state)
            return None
        sign = state.side.sign
        state.waited += 1
        beyond = sign * (columns["close"][i] - state.level * (1 - sign * self._p.zone))
        given_up = beyond < -ta.NOISE * state.level
        if given_up or state.waited > self._p.pullback_bars_max:
            state.phase = Phase.NEUTRAL
            return None
        if state.phase is Phase.BROKEN:
            self._look_for_pullback(i, columns, state)
            return None
        return self._look_for_confirmation(i, columns, state)

    def _look_for_break(self, i: int, columns: Columns, state: State) -> None:
        close = columns["close"][i]
        for side, name in ((Side.LONG, "resistance"), (Side.SHORT, "support")):
            level = columns[name][i]
            beyond = side.sign * (close - level * (1 + side.sign * self._p.zone)) > ta.NOISE * close
            if beyond and columns["trend"][i] == side.sign and level != state.used_level:
                state.phase, state.side, state.level, state.waited = Phase.BROKEN, side, float(level), 0
                return

    def _look_for_pullback(self, i: int, columns: Columns, state: State) -> None:
        extreme = columns["low" if state.side is Side.LONG else "high"][i]
        near = self._p.retest_atr * columns["atr"][i] + ta.NOISE * state.level
        if state.side.sign * (extreme - state.level) <= near:
            state.phase, state.extreme, state.waited, state.confirmed = Phase.PULLED_BACK, float(extreme), 0, 0

    def _look_for_confirmation(self, i: int, columns: Columns, state: State) -> Signal | None:
        sign, close = state.side.sign, float(columns["close"][i])
        extreme = float(columns["low" if state.side is Side.LONG else "high"][i])
        state.extreme = sign * min(sign * state.extreme, sign * extreme)
        state.confirmed = state.confirmed + 1 if sign * (close - columns["open"][i]) > 0 else 0
        if state.confirmed < self._p.confirmation_bars or sign * (close - state.level) <= 0:
            return None
        state.phase, state.used_level = Phase.NEUTRAL, state.level
        p, atr = self._p, float(columns["atr"][i])
        distance = max(sign * (close - state.extreme) + p.stop_buffer_atr * atr, p.stop_min * close)
        start = int(columns["open_time"][i])
        return Signal(
            self.name, state.symbol, p.trigger, start, start + timeframe_ms(p.trigger), state.side, close,
            close - sign * distance, close + sign * p.reward_r * distance,
            {"level": state.level, "pullback": state.extreme, "atr": atr},
        )  # fmt: skip

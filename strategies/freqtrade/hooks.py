"""Methods of a freqtrade strategy that know the position: asked once per bar, as ours are by ``manage``."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from inspect import signature
from typing import TYPE_CHECKING, Any, Protocol

from domain.candle import timeframe_ms
from domain.durations import MINUTE_MS
from domain.holding import Adjust, Holding
from domain.order import Side
from domain.signal import Leave
from strategies.freqtrade.records import refuse
from strategies.freqtrade.refusals import has
from strategies.freqtrade.trades import OpenTrade

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import pandas as pd

    from domain.candle import Times
    from strategies.freqtrade.provider import Provider

    class Rows(Protocol):
        """Computed columns, with the table that they come from, and the open times of its rows."""

        rows: pd.DataFrame
        opened: Times

        def __getitem__(self, name: str, /) -> np.ndarray: ...


EXIT_SIGNAL, ROI = "exit_signal", "roi"


class Hooks:
    """Asks a strategy about its positions.

    Attributes:
        moves_stop: whether it moves the stop.
        leaves: whether signals to leave are looked at here, position by position, and not by ``step``.
        gains: whether its table of gains is looked at here, and not by the engine.
    """

    def __init__(self, theirs: Any, dp: Provider, fee: float) -> None:
        self._theirs, self._dp, self._fee = theirs, dp, fee
        kind = type(theirs)
        confirms = has(kind, "confirm_trade_exit")
        self._custom_exit = theirs.custom_exit if has(kind, "custom_exit") and theirs.use_exit_signal else None
        self._confirm = theirs.confirm_trade_exit if confirms else None
        self.moves_stop = bool(theirs.use_custom_stoploss)
        self._asks_after_fill = self.moves_stop and "after_fill" in signature(theirs.custom_stoploss).parameters
        self._adjusts = bool(theirs.position_adjustment_enable) and has(kind, "adjust_trade_position")
        self.leaves = self._custom_exit is not None or confirms
        self.gains = confirms or bool(theirs.ignore_roi_if_entry_signal)
        self._roi = sorted((int(minute), float(gain)) for minute, gain in theirs.minimal_roi.items())

    @property
    def wanted(self) -> bool:
        """Whether the strategy has anything to say of its positions."""
        return self.moves_stop or self.leaves or self.gains or self._adjusts

    def first_stop(self, symbol: str, side: Side, i: int, columns: Rows) -> float:
        """Return where the stop of a position stands that is entered as bar i closes."""
        close: float = columns["close"].item(i)
        stop: float = close * (1 + side.sign * self._theirs.stoploss)
        if not self.moves_stop:
            return stop
        self._dp.show_analyzed(symbol, columns.rows.iloc[: i + 1])
        position = Holding(symbol, side, close, stop, stop, 0.0, close, close, close, 1.0, 0)
        trade, filled = self._trade(position, i, columns), self._asks_after_fill
        return self._stop(position, trade, close, self._now(i, columns), filled=filled)

    def manage(self, position: Holding, i: int, columns: Rows) -> Adjust | Leave | None:
        """Return what the strategy makes of a position as bar i closes."""
        trade, now = self._trade(position, i, columns), self._now(i, columns)
        self._dp.show_analyzed(position.symbol, columns.rows.iloc[: i + 1])
        for reason in self._reasons(position, trade, i, columns, now):
            if self._confirmed(trade, position.close, reason, now):
                return Leave(position.side)
        keep = self._keep(trade, position, now) if self._adjusts else None
        if keep is not None and keep <= 0:
            return Leave(position.side)
        stop = None
        if self.moves_stop:
            best = columns["high" if position.side is Side.LONG else "low"].item(i)
            moved = self._stop(position, trade, best, now, filled=False)
            stop = moved if moved != position.stop else None
        return Adjust(stop, keep) if stop is not None or keep is not None else None

    def _keep(self, trade: OpenTrade, position: Holding, now: datetime) -> float | None:
        """Return which share of what was opened is to stay, None where nothing is taken off.

        Raises:
            Unsupported: when the strategy wants to add to the position.
        """
        rate, profit = position.close, trade.calc_profit_ratio(position.close)
        said = self._theirs.adjust_trade_position(
            trade=trade, current_time=now, current_rate=rate, current_profit=profit, min_stake=None,
            max_stake=trade.stake_amount, current_entry_rate=rate, current_exit_rate=rate, current_entry_profit=profit,
            current_exit_profit=profit,
        )  # fmt: skip
        stake = said[0] if isinstance(said, tuple) else said
        if stake is None or not stake:
            return None
        if not stake < 0:
            refuse(
                f"adjust_trade_position, which returns {stake}", "nothing is added to a position; parts are taken off"
            )
        return float(position.remaining * (1 + stake / trade.stake_amount))

    def _reasons(self, position: Holding, trade: OpenTrade, i: int, columns: Rows, now: datetime) -> Iterator[str]:
        """Yield why the position is to be left, in freqtrade's order."""
        theirs, profit = self._theirs, trade.calc_profit_ratio(position.close)
        enters, exits = (bool(columns[f"{kind}_{trade.trade_direction}"][i]) for kind in ("enter", "exit"))
        if self.leaves and theirs.use_exit_signal:
            if exits and not enters:
                if not theirs.exit_profit_only or profit > theirs.exit_profit_offset:
                    yield EXIT_SIGNAL
            elif self._custom_exit is not None:
                reason = self._custom_exit(
                    pair=trade.pair, trade=trade, current_time=now, current_rate=position.close, current_profit=profit
                )
                if reason:
                    yield reason if isinstance(reason, str) else "custom_exit"
        if self.gains and not (enters and theirs.ignore_roi_if_entry_signal) and self._gained(profit, trade, now):
            yield ROI

    def _gained(self, profit: float, trade: OpenTrade, now: datetime) -> bool:
        held = (now - trade.open_date).total_seconds() * 1000 / MINUTE_MS
        asked = [gain for minute, gain in self._roi if minute <= held]
        return bool(asked) and profit > asked[-1]

    def _confirmed(self, trade: OpenTrade, rate: float, reason: str, now: datetime) -> bool:
        return self._confirm is None or bool(
            self._confirm(
                pair=trade.pair, trade=trade, order_type="market", amount=trade.amount, rate=rate, time_in_force="GTC",
                exit_reason=reason, sell_reason=reason, current_time=now,
            )
        )  # fmt: skip

    def _stop(self, position: Holding, trade: OpenTrade, rate: float, now: datetime, *, filled: bool) -> float:
        """Return where the strategy wants the stop, as seen from a price.

        It never loosens one in force; only the first, of a strategy that is asked as its entry has filled, may lie
        farther away than ``stoploss``: the size follows from it.
        """
        distance = self._theirs.custom_stoploss(
            pair=position.symbol, trade=trade, current_time=now, current_rate=rate,
            current_profit=trade.calc_profit_ratio(rate), after_fill=filled,
        )  # fmt: skip
        if not distance or not math.isfinite(distance):
            return position.stop
        stop, sign = rate * (1 - position.side.sign * abs(distance)), position.side.sign
        return stop if stop > 0 and (filled or sign * (stop - position.stop) > 0) else position.stop

    def _trade(self, position: Holding, i: int, columns: Rows) -> OpenTrade:
        step, entered = timeframe_ms(self._theirs.timeframe), i - position.bars
        opened = columns.opened.item(i) - position.bars * step + step
        tag = tag_of(columns.rows, entered) if entered >= 0 else ""
        return OpenTrade(
            position, opened, timeframe=self._theirs.timeframe, strategy=type(self._theirs).__name__, tag=tag or None,
            fee=self._fee,
        )  # fmt: skip

    def _now(self, i: int, columns: Rows) -> datetime:
        return datetime.fromtimestamp((columns.opened.item(i) + timeframe_ms(self._theirs.timeframe)) / 1000, UTC)


def tag_of(rows: pd.DataFrame, i: int) -> str:
    """Return the tag that a row gives to an entry, "" where it gives none."""
    tag = rows["enter_tag"].iloc[i] if "enter_tag" in rows.columns else None
    return tag if isinstance(tag, str) else ""

"""The class that freqtrade strategies derive from, with what each attribute is when they say nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd


class IStrategy:
    """A strategy by freqtrade's interface, version 3."""

    INTERFACE_VERSION: int = 3
    timeframe: str = ""
    minimal_roi: ClassVar[Mapping[Any, float]] = {}
    stoploss: float = 0.0
    trailing_stop: bool = False
    trailing_stop_positive: float | None = None
    trailing_stop_positive_offset: float = 0.0
    trailing_only_offset_is_reached: bool = False
    use_custom_stoploss: bool = False
    use_custom_roi: bool = False
    use_exit_signal: bool = True
    exit_profit_only: bool = False
    exit_profit_offset: float = 0.0
    ignore_roi_if_entry_signal: bool = False
    can_short: bool = False
    startup_candle_count: int = 0
    position_adjustment_enable: bool = False
    process_only_new_candles: bool = True
    max_open_trades: float = -1
    stake_currency = "USDT"
    dp: Any = None
    wallets: Any = None

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config

    def informative_pairs(self) -> list[Any]:
        """Return (pair, timeframe) of further bars that are needed."""
        return []

    def populate_indicators(self, dataframe: pd.DataFrame, metadata: dict[str, Any]) -> pd.DataFrame:
        """Return the bars with indicators."""
        return dataframe

    def populate_entry_trend(self, dataframe: pd.DataFrame, metadata: dict[str, Any]) -> pd.DataFrame:
        """Return the bars with ``enter_long`` and ``enter_short``."""
        return dataframe

    def populate_exit_trend(self, dataframe: pd.DataFrame, metadata: dict[str, Any]) -> pd.DataFrame:
        """Return the bars with ``exit_long`` and ``exit_short``."""
        return dataframe

    def custom_stoploss(self, **kwargs: Any) -> float | None:
        """Return how far from the price the stop shall be, as a fraction, None for where it is."""
        return self.stoploss

    def custom_exit(self, **kwargs: Any) -> str | bool | None:
        """Return whether to leave a position, or why."""

    def confirm_trade_exit(self, **kwargs: Any) -> bool:
        """Return whether a position may be left."""
        return True

    def adjust_trade_position(self, **kwargs: Any) -> float | tuple[float, str] | None:
        """Return by how much a position shall change, in the quote currency; less than nothing takes a part off."""

    def bot_start(self, **kwargs: Any) -> None:
        """Get ready, once."""

    def version(self) -> str | None:
        """Return the strategy's version, for people."""
        return None

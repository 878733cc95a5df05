"""What a strategy may ask while it computes: bars that it has named; everything else is refused by name."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Never

import pandas as pd

from domain.informative import key
from strategies.freqtrade.records import refuse

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from domain.candle import Bars

TRADED = frozenset({"", "None", "spot", "futures"})
"""How candles of the traded market are called."""
PLACEHOLDER = "OWN/USDT:USDT"
"""Stands for whatever symbol a strategy will run on while it is asked which bars it needs."""


class RunMode(Enum):
    """How a bot runs; a strategy is told the same in all cases, so that it says the same."""

    LIVE = "live"
    DRY_RUN = "dry_run"
    BACKTEST = "backtest"
    HYPEROPT = "hyperopt"
    PLOT = "plot"
    UTIL_EXCHANGE = "util_exchange"
    OTHER = "other"


class CandleType(Enum):
    """Kinds of candles; only those of the traded market are offered."""

    SPOT = "spot"
    FUTURES = "futures"
    MARK = "mark"
    INDEX = "index"
    FUNDING_RATE = "funding_rate"

    def __str__(self) -> str:
        return str(self.value)


def frame_of(bars: Bars) -> pd.DataFrame:
    """Return bars as freqtrade lays them out: ``date`` is the open time, in UTC."""
    date = pd.DatetimeIndex(bars.open_time.astype("datetime64[ms]"), tz="UTC")
    return pd.DataFrame(
        {
            "date": date, "open": bars.open, "high": bars.high, "low": bars.low, "close": bars.close,
            "volume": bars.volume,
        }
    )  # fmt: skip


class Provider:
    """A strategy's ``dp``, by its own timeframe."""

    runmode = RunMode.BACKTEST

    def __init__(self, timeframe: str) -> None:
        self._timeframe, self._pair = timeframe, PLACEHOLDER
        self._bars: Mapping[str, Bars] = {}
        self._analyzed: pd.DataFrame | None = None

    def show(self, pair: str, bars: Mapping[str, Bars]) -> None:
        """Offer a symbol's bars by timeframe, and others by symbol and timeframe; nothing is analyzed of them yet."""
        self._pair, self._bars, self._analyzed = pair, bars, None

    def show_analyzed(self, pair: str, rows: pd.DataFrame) -> None:
        """Offer what has been computed up to a bar."""
        self._pair, self._bars, self._analyzed = pair, {}, rows

    def current_whitelist(self) -> list[str]:
        """Return the symbol that is computed."""
        return [self._pair]

    def get_pair_dataframe(
        self, pair: str, timeframe: str | None = None, candle_type: Any = "", **_: Any
    ) -> pd.DataFrame:
        """Return the bars of a symbol in a timeframe: the one that is computed, or one of ``informative_pairs``."""
        wanted = timeframe or self._timeframe
        what = f"dp.get_pair_dataframe({pair!r}, {wanted!r})"
        if str(candle_type) not in TRADED:
            refuse(what, f"there are no {candle_type} candles")
        held = wanted if pair == self._pair and wanted in self._bars else key(pair, wanted)
        if held not in self._bars:
            refuse(what, "informative_pairs has to name its bars, and they are there while columns are computed")
        return frame_of(self._bars[held])

    historic_ohlcv = ohlcv = get_pair_dataframe

    def get_analyzed_dataframe(self, pair: str, timeframe: str | None = None) -> tuple[pd.DataFrame, datetime]:
        """Return what has been computed up to the bar that is decided on, and when that bar opened."""
        what = f"dp.get_analyzed_dataframe({pair!r}, {timeframe!r})"
        if pair != self._pair:
            refuse(what, f"only {self._pair} is analyzed now")
        if self._analyzed is None or timeframe not in {None, self._timeframe}:
            refuse(what, f"there is one for {self._timeframe}, when a bar is decided on")
        return self._analyzed, self._analyzed["date"].iloc[-1].to_pydatetime()

    def send_msg(self, *_: Any, **__: Any) -> None:
        """Say nothing: what a strategy sees is in its signals' notes."""

    def __getattr__(self, name: str) -> Never:
        if name.startswith("__"):
            raise AttributeError(name)
        refuse(f"dp.{name}", "only closed bars are, so that it says the same live and in a backtest")


class Wallets:
    """A strategy's ``wallets``: sizes follow from ``risk``, so nothing is told."""

    def __bool__(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Never:
        if name.startswith("__"):
            raise AttributeError(name)
        refuse(f"wallets.{name}", "sizes follow from the section risk of the settings")

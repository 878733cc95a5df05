"""Bars of another timeframe beside a strategy's own, each from the bar on that closes when it has closed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from domain.candle import timeframe_ms
from domain.errors import BadData
from strategies.freqtrade.records import Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable

MARK = "_asks_for"
"""What a decorated method has its requests under."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a method's bars are: of which asset ("" for the strategy's own), and how its columns are named."""

    timeframe: str
    asset: str
    fmt: Any
    candle_type: Any
    ffill: bool

    def named(self, column: str, pair: str) -> str:
        """Return the name that a column has among the strategy's own."""
        base, _, quote = pair.partition(":")[0].partition("/")
        told = {
            "column": column, "timeframe": self.timeframe, "asset": pair, "base": base.lower(), "BASE": base,
            "quote": quote.lower(), "QUOTE": quote,
        }  # fmt: skip
        if callable(self.fmt):
            return str(self.fmt(**told))
        usual = "{base}_{quote}_{column}_{timeframe}" if self.asset else "{column}_{timeframe}"
        return str(self.fmt or usual).format(**told)

    def of(self, stake: str) -> str:
        """Return the symbol whose bars are asked for, "" for the strategy's own.

        Raises:
            Unsupported: when it depends on the strategy's own, which is not known before.
        """
        try:
            return self.asset.format(stake=stake, stake_currency=stake).upper()
        except (KeyError, IndexError) as error:
            raise Unsupported(
                f"@informative asks for {self.asset} {self.timeframe}: only {{stake}} is known before"
            ) from error


def informative(
    timeframe: str, asset: str = "", fmt: Any = None, *, candle_type: Any = None, ffill: bool = True, **_: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return what marks a method as one that computes indicators on bars of another timeframe, or of another symbol."""

    def marked(method: Any) -> Callable[..., Any]:
        told = Asked(timeframe, asset, fmt, candle_type, ffill)
        setattr(method, MARK, [*getattr(method, MARK, ()), told])
        held: Callable[..., Any] = method
        return held

    return marked


def merge_informative_pair(
    dataframe: pd.DataFrame, informative: pd.DataFrame, timeframe: str, timeframe_inf: str, ffill: bool = True,
    append_timeframe: bool = True, date_column: str = "date", suffix: str | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Return the strategy's rows with the columns of a longer timeframe, as they were known when each row closed.

    Raises:
        BadData: when the other timeframe is the shorter one, or two endings are asked for.
    """
    if suffix and append_timeframe:
        raise BadData("merge_informative_pair takes a suffix or append_timeframe, not both")
    ending = f"_{timeframe_inf}" if append_timeframe else f"_{suffix}" if suffix else ""
    return beside(
        dataframe, informative.rename(columns=lambda name: f"{name}{ending}"), timeframe, timeframe_inf,
        f"{date_column}{ending}", ffill=ffill,
    )  # fmt: skip


def beside(
    dataframe: pd.DataFrame, other: pd.DataFrame, timeframe: str, timeframe_inf: str, date_column: str, *, ffill: bool
) -> pd.DataFrame:  # fmt: skip
    """Return rows with those of another frame, named already, that had closed as each of them did."""
    own, longer = timeframe_ms(timeframe), timeframe_ms(timeframe_inf)
    if date_column in dataframe.columns:
        raise BadData(f"two informative methods give a column {date_column}: their fmt has to tell them apart")
    if longer < own:
        raise BadData(f"bars of {timeframe_inf} cannot be laid beside longer ones of {timeframe}")
    known = "_known_from"
    from_when = (other[date_column] + pd.Timedelta(milliseconds=longer - own)).astype(dataframe["date"].dtype)
    told = other.assign(**{known: from_when})
    if ffill:
        laid = pd.merge_asof(dataframe, told, left_on="date", right_on=known)
    else:
        laid = dataframe.merge(told, left_on="date", right_on=known, how="left")
    return laid.drop(columns=known)

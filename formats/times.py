"""Times as files write them, in milliseconds since 1970; -1 for what is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from domain.errors import BadData

if TYPE_CHECKING:
    import pandas as pd

    from domain.candle import Times

OLDEST_DATE = 19_000_101
DAYS = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
"""Dates written as one number, by how many digits they have."""


def milliseconds(column: pd.Series[Any]) -> Times:
    """Read times: numbers in s, ms, us or ns since 1970 by their size, text as UTC unless it says otherwise.

    Raises:
        BadData: for binary times without a time zone.
    """
    import pandas as pd  # noqa: PLC0415  half a second that only files need to pay

    if isinstance(column.dtype, pd.DatetimeTZDtype):
        return _of_dates(column)
    if pd.api.types.is_datetime64_dtype(column.dtype):
        raise BadData("times carry no time zone; write them as UTC")
    if not pd.api.types.is_numeric_dtype(column.dtype):
        numbers = pd.to_numeric(column, errors="coerce").reset_index(drop=True)
        if (words := numbers.isna()).any():
            # in some files a row or two say it as a number, or repeat the name
            counted = milliseconds_of(numbers.to_numpy(np.float64, na_value=np.nan))
            return np.where(words, _of_text(column.reset_index(drop=True).astype(str)), counted)
        column = numbers
    if (dates := _as_dates(column)) is not None:
        return _of_dates(dates)
    whole = pd.api.types.is_integer_dtype(column.dtype) and not column.isna().any()
    return milliseconds_of(column.to_numpy(np.int64) if whole else column.to_numpy(np.float64, na_value=np.nan))


def milliseconds_of(values: np.ndarray) -> Times:
    """Return numbers of s, ms, us or ns since 1970, told apart by their size, in milliseconds."""
    if values.dtype.kind == "i":
        return _scaled(values.astype(np.int64))
    with np.errstate(invalid="ignore"):
        good = np.isfinite(values) & (values >= 0) & (values < 2.0**62)
        # fractions of a second are told in seconds only
        seconds = good & (values < 10**11)
    whole = np.where(good & ~seconds, values, -1).astype(np.int64)
    early = np.round(np.where(seconds, values, 0) * 1_000).astype(np.int64)
    return np.ascontiguousarray(np.where(seconds, early, _scaled(whole)))


def _scaled(exact: np.ndarray) -> Times:
    scaled = np.select(
        [exact > 10**17, exact > 10**14, exact > 10**11, exact >= 0],
        [exact // 1_000_000, exact // 1_000, exact, exact * 1_000], -1,
    )  # fmt: skip
    return np.ascontiguousarray(scaled.astype(np.int64))


def joined(dates: pd.Series[Any], clocks: pd.Series[Any]) -> pd.Series[Any] | None:
    """Return a column of dates and one of times of day as one of text; None when they are not such columns."""
    days, hours = (column.astype(str).str.strip() for column in (dates, clocks))
    digits = hours.str.fullmatch(r"\d{1,6}")
    if digits.all():
        # 930 is half past nine, 93000 the same with its seconds
        long = hours.str.len().max() > 4  # noqa: PLR2004  HHMM
        hours = hours.str.zfill(6 if long else 4).str.replace(r"^(\d\d)(\d\d)(\d*)$", r"\1:\2:\3", regex=True)
        hours = hours.str.rstrip(":")
    good = hours.str.fullmatch(r"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?") & ~days.str.contains(":")
    if not good.all():
        return None
    return days + "T" + hours.str.replace(r"^(\d):", r"0\1:", regex=True)


def _as_dates(column: pd.Series[Any]) -> pd.Series[Any] | None:
    """Return numbers such as 20240131 as dates; None unless all of them are."""
    import pandas as pd  # noqa: PLC0415  see above

    values = column.to_numpy(np.float64, na_value=np.nan)
    with np.errstate(invalid="ignore"):
        if not len(values) or not ((values >= OLDEST_DATE) & (values < 10**14)).all():
            return None
    text = pd.Series(values.astype(np.int64)).astype(str)
    lengths = text.str.len()
    kind = DAYS.get(int(lengths.iloc[0]))
    if kind is None or (lengths != lengths.iloc[0]).any() or not text.str.match("(19|20)").all():
        return None
    dates = pd.to_datetime(text, format=kind, utc=True, errors="coerce")
    return None if dates.isna().any() else dates


def _of_text(column: pd.Series[str]) -> Times:
    import pandas as pd  # noqa: PLC0415  see above

    text = column.str.strip().str.replace(r"^(\d{4})[./](\d{1,2})[./](\d{1,2})", r"\1-\2-\3", regex=True)
    # TradingView's seeds write 20240131T
    text = text.str.replace(r"^(\d{4})(\d{2})(\d{2})(?=T|$)", r"\1-\2-\3", regex=True).str.replace(
        r"T$", "", regex=True
    )
    return _of_dates(pd.to_datetime(text, utc=True, errors="coerce", format="ISO8601"))


def _of_dates(column: pd.Series[Any]) -> Times:
    utc = column.dt.tz_convert("UTC").dt.tz_localize(None)
    times = utc.to_numpy("datetime64[ms]").astype(np.int64)
    return np.ascontiguousarray(np.where(utc.isna(), -1, times))

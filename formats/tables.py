"""Tables with named columns, as bars; whatever the names are that others give."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from domain.candle import PRICES, Bars
from domain.errors import BadData
from formats.layouts import Rows, bars_of
from formats.times import joined, milliseconds

if TYPE_CHECKING:
    import pandas as pd

    from domain.candle import Floats

TIME_NAMES = (
    "open_time", "opentime", "timeopen", "time_open", "timestamp", "date", "time", "start", "datetime", "ts", "t",
    "unix", "unix_timestamp", "date_time", "timestamp_ms", "start_time", "window_start", "candle_begin_time",
    "gmt_time", "unnamed_0", "index",
)  # fmt: skip
"""In the order in which they are believed."""
ALIASES = {
    "open": ("o", "open_price", "price_open"), "high": ("h", "high_price", "price_high", "max"),
    "low": ("l", "low_price", "price_low", "min"),
    "close": ("c", "close_price", "price_close", "last"),
    "volume": ("vol", "v", "base_volume", "volume_base", "volumefrom", "volume_traded", "tickvol", "tick_volume"),
    "turnover": (
        "quote_volume", "quote_asset_volume", "quoteassetvolume", "volumeto", "volume_quote", "quotevolume", "amount",
    ),
    "vwap": ("vw",),
}  # fmt: skip
QUOTES = {"usdt", "usdc", "usd", "eur", "gbp", "busd", "tusd", "fdusd"}
UNITS_MAX = 2.0
"""Turnover over volume is a price: further from the close than by this factor, one of them is something else."""


def of_csv(raw: bytes) -> Rows:
    """Return the rows of a csv, with a header or without one. Raises BadData or ValueError."""
    import pandas as pd  # noqa: PLC0415  half a second that only files need to pay

    text = raw.removeprefix(b"\xef\xbb\xbf")
    if raw[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        text = raw.decode("utf-16").encode()
    # CryptoDataDownload puts its address above the names
    if text.lstrip().lower().startswith((b"http://", b"https://")):
        text = text.lstrip().partition(b"\n")[2]
    first = re.split(rb"[\r\n]", text.lstrip(b"\r\n"), maxsplit=1)[0].decode(errors="replace")
    how: dict[str, Any] = {"sep": max(",;\t|", key=first.count), "low_memory": False, "skipinitialspace": True}
    if how["sep"] == ";" and re.search(rb"\d,\d", text[:4096]):
        how["decimal"] = ","
    if re.match(r'[\s"]*\d', first) is not None:
        return _without_names(pd.read_csv(io.BytesIO(text), header=None, dtype=object, **how))
    frame = pd.read_csv(io.BytesIO(text), **how)
    return Rows(of_frame(frame if frame.index.dtype.kind == "i" else _shifted(frame)), None)


def of_frame(frame: pd.DataFrame) -> Bars:
    """Return a table with a time, four prices and a volume as bars. Raises BadData, saying what it lacks."""
    import pandas as pd  # noqa: PLC0415  see above

    frame = _renamed(frame)
    lacking = [name for name in (*PRICES, "volume") if name not in frame.columns]
    times = _times(frame)
    if lacking or times is None:
        lacking += [] if times is not None else ["a time (open_time, timestamp, date, time)"]
        raise BadData(f"lacks {', '.join(lacking)}; has the columns {', '.join(map(str, frame.columns))[:200]}")
    opened, high, low, close, volume = (numbers(frame[name]) for name in (*PRICES, "volume"))
    turnover = close * volume
    if "turnover" in frame.columns:
        turnover = numbers(frame["turnover"])
        _need_units(volume, turnover, close)
    elif "vwap" in frame.columns:
        mean = numbers(frame["vwap"])
        turnover = volume * np.where(np.isfinite(mean) & (mean >= low) & (mean <= high), mean, close)
    return Bars(milliseconds(pd.Series(times).reset_index(drop=True)), opened, high, low, close, volume, turnover)


def numbers(column: pd.Series[Any]) -> Floats:
    """Return a column as numbers; what is none becomes NaN."""
    import pandas as pd  # noqa: PLC0415  see above

    return np.ascontiguousarray(pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan))


def _shifted(frame: pd.DataFrame) -> pd.DataFrame:
    # pandas takes the first column for an index where rows have more values than the header has names
    raise BadData(f"its rows have more values than its header has names ({len(frame.columns)})")


def _without_names(frame: pd.DataFrame) -> Rows:
    import pandas as pd  # noqa: PLC0415  see above

    columns = [pd.to_numeric(frame[place], errors="coerce") for place in frame.columns]
    # a column of words, such as a symbol or the name of an exchange, says nothing about the bar
    flags = [frame[place].astype(str).str.lower().map({"true": 1.0, "false": 0.0}) for place in frame.columns]
    columns = [flag if flag.notna().all() else column for column, flag in zip(columns, flags, strict=True)]
    if len(columns) < len(PRICES) + 2:
        raise BadData(f"has no header, and {len(columns)} columns; bars have six or more")
    times = columns[0]
    if times.isna().mean() > 1 / 2:
        times = pd.Series(milliseconds(frame[0].astype(str)))
    whole = times.to_numpy(np.float64, na_value=np.nan)
    if not times.isna().any() and (times % 1 == 0).all():
        whole = times.astype(np.int64).to_numpy()
    values = np.column_stack([whole.astype(np.float64), *(numbers(column) for column in columns[1:])])
    return bars_of(values, whole)


def _renamed(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table with our names. Raises BadData where two columns say one thing differently."""
    known = {alias: name for name, aliases in ALIASES.items() for alias in aliases}
    names = [re.sub(r"[^a-z0-9]+", "_", str(name).lower()).strip("_") for name in frame.columns]
    columns = [_of_volume(name) or known.get(name, name) for name in names]
    # a name of our own beats another's word for it
    columns = [plain if name != plain and name in names else name for name, plain in zip(columns, names, strict=True)]
    kept: dict[str, Any] = {}
    for place, name in enumerate(columns):
        column = frame.iloc[:, place]
        if name in kept and name in {*PRICES, "volume", "turnover"} and not _same(kept[name], column):
            raise BadData(f"says {name} twice, with different values")
        kept.setdefault(name, column)
    renamed = frame.iloc[:, :0].copy()
    return renamed.assign(**kept)


def _of_volume(name: str) -> str:
    """Return what ``volume_btc`` and ``volume_usdt`` are: base and quote volume; "" for other names."""
    match = re.fullmatch(r"volume_([a-z0-9]+)", name)
    if match is None or match[1] in {"base", "quote", "traded", "usd_futures"}:
        return ""
    return "turnover" if match[1] in QUOTES else "volume"


def _same(one: pd.Series[Any], other: pd.Series[Any]) -> bool:
    return bool(np.array_equal(numbers(one), numbers(other), equal_nan=True))


def _times(frame: pd.DataFrame) -> pd.Series[Any] | pd.Index[Any] | None:
    """Return the column of open times: of several the first in which no two rows are alike."""
    import pandas as pd  # noqa: PLC0415  see above

    named = [name for name in TIME_NAMES if name in frame.columns]
    if "date" in named and "time" in named:
        both = joined(frame["date"], frame["time"])
        if both is not None:
            return both
    if named:
        return frame[next((name for name in named if frame[name].is_unique), named[0])]
    return frame.index.to_series() if isinstance(frame.index, pd.DatetimeIndex) else None


def _need_units(volume: Floats, turnover: Floats, close: Floats) -> None:
    with np.errstate(all="ignore"):
        factor = turnover / volume / close
        factor = factor[(volume > 0) & (turnover > 0) & np.isfinite(factor)]
    if len(factor) and not 1 / UNITS_MAX <= (usual := float(np.median(factor))) <= UNITS_MAX:
        raise BadData(
            f"its turnover is {usual:.3g} times volume x close: one of them counts contracts or another coin; "
            "leave the column out, or give the volume in base units"
        )

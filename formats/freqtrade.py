"""Candle files as freqtrade has them: names, columns, bytes that are the same every time."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

from domain.errors import BadData

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from domain.candle import Bars, Times

KINDS = ("feather", "parquet", "csv")
EXTRAS_TIMEFRAME = "1h"
"""Timeframe in the names of files with mark prices and funding."""

_COLUMNS = ["date", "open", "high", "low", "close", "volume"]


def file_name(symbol: str, timeframe: str, kind: str, candle_type: str = "") -> str:
    """Return the name of a candle file below the exchange's folder, such as ``BTC_USDT-1h.feather``.

    ``candle_type`` is empty for spot; ``futures``, ``mark`` and ``funding_rate`` lie in a folder ``futures``.
    """
    pair = re.sub(r"[/ .@$+:]", "_", symbol)
    frame = timeframe.replace("M", "Mo")
    return f"futures/{pair}-{frame}-{candle_type}.{kind}" if candle_type else f"{pair}-{frame}.{kind}"


def encode_bars(bars: Bars, kind: str) -> bytes:
    """Return a candle file's bytes: UTC open times, prices and volume in base units."""
    frame = bars.to_frame().reset_index().rename(columns={"timestamp": "date"})[_COLUMNS]
    return _encode(frame, kind)


def encode_funding(times: Times, rates: np.ndarray, kind: str) -> bytes:
    """Return a funding file's bytes: UTC times and rates."""
    import pandas as pd  # noqa: PLC0415  half a second that only files need to pay

    date = pd.DatetimeIndex(times.astype("datetime64[ms]"), tz="UTC")
    return _encode(pd.DataFrame({"date": date, "funding_rate": rates}), kind)


def _encode(frame: pd.DataFrame, kind: str) -> bytes:
    out = io.BytesIO()
    if kind == "feather":
        frame.to_feather(out, compression="lz4", compression_level=9)
    elif kind == "parquet":
        frame.to_parquet(out, index=False)
    elif kind == "csv":
        frame.to_csv(out, index=False, lineterminator="\n")
    else:
        raise BadData(f"format {kind!r} is not known; there are {', '.join(KINDS)}")
    return out.getvalue()

"""Answers of exchanges kept as JSON: rows of values, rows with names, or columns."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from domain.candle import Bars
from domain.errors import BadData
from formats.layouts import Rows, bars_of
from formats.tables import of_frame

INSIDE = ("result", "data", "Data", "results", "bars", "list", "rows", "candles", "klines", "ohlcv", "ohlc", "values")
"""Names under which answers have their rows."""
DEPTH_MAX = 5


def of_json(raw: bytes) -> Bars:
    """Return the bars of an answer; without the newest, unless it tells that it was finished.

    Raises:
        BadData: when there are no rows in it. ValueError, RecursionError: when it is no JSON.
    """
    body = _listed(json.loads(raw), DEPTH_MAX)
    if isinstance(body, dict) or (body and isinstance(body[0], dict)):
        rows = Rows(_of_names(body), None)
    elif body and isinstance(body[0], list):
        rows = _of_values(body)
    else:
        raise BadData("is no list of kline rows")
    bars, finished = rows
    if finished is None:
        finished = bars.open_time < bars.open_time.max()
    # those are left out: most answers have their newest row first
    return Bars(*(column[finished][np.argsort(bars.open_time[finished], kind="stable")] for column in bars.columns()))


def _listed(body: Any, depth: int) -> list[Any] | dict[str, Any]:
    if isinstance(body, list):
        return body
    if isinstance(body, dict) and depth:
        columns = [value for value in body.values() if isinstance(value, list) and len(value) > 1]
        if len(columns) > 5 and len({len(value) for value in columns}) == 1:  # noqa: PLR2004  a time, prices, a volume
            return {name: value for name, value in body.items() if isinstance(value, list)}
        inner = [body[name] for name in INSIDE if body.get(name)]
        # some have them under the name of the market
        inner = inner or [value for value in body.values() if isinstance(value, dict | list) and value]
        if inner:
            return _listed(inner[0], depth - 1)
    raise BadData("is no list of kline rows")


def _of_names(found: list[Any] | dict[str, Any]) -> Bars:
    import pandas as pd  # noqa: PLC0415  half a second that only files need to pay

    if isinstance(found, list) and not all(isinstance(row, dict) for row in found):
        raise BadData("has rows of different kinds")
    # numbers of any size stay what they are until their column is read
    return of_frame(pd.DataFrame(found, dtype=object).infer_objects())


def _of_values(found: list[Any]) -> Rows:
    lengths = [len(row) if isinstance(row, list) else 0 for row in found]
    usual = max(lengths)
    if few := sum(length < usual for length in lengths):
        raise BadData(f"{few} rows have fewer than {usual} values")
    values = np.array([[_number(value) for value in row] for row in found], np.float64)
    return bars_of(values, _exact([row[0] for row in found]))


def _exact(times: list[Any]) -> np.ndarray:
    """Return times as whole numbers, which nanoseconds would not be as floats; those that are none as -1."""
    return np.array([_whole(value) for value in times], np.int64)


def _whole(value: Any) -> int:
    number = _number(value)
    if not np.isfinite(number) or abs(number) >= 2.0**62 or isinstance(value, bool):
        return -1
    text = str(value)
    return int(text) if text.isascii() and text.isdecimal() else int(number)


def _number(value: Any) -> float:
    if isinstance(value, str) and value.lower() in {"true", "false"}:
        return float(value.lower() == "true")
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return float("nan")

"""Rows that were written to a file before they were deleted: several series in one, each row with its own."""

from __future__ import annotations

import csv
import gzip
import io
from typing import TYPE_CHECKING

from domain.candle import COLUMNS, Bar, Bars, Series
from domain.errors import BadData
from formats.container import UNREADABLE, unpacked

if TYPE_CHECKING:
    from pathlib import Path

HEADER = ("symbol", "timeframe", "open_time", *COLUMNS)
SUFFIX = ".csv.gz"


def read(path: Path) -> dict[Series, Bars] | None:
    """Return the bars of each series in a file of kept rows, None when it is a file of another kind."""
    if not path.name.endswith(SUFFIX) or not path.is_file():
        return None
    by_series: dict[Series, list[Bar]] = {}
    try:
        if not _begins_as_one(path):
            return None
        rows = csv.reader(io.StringIO(unpacked(path).decode()))
        next(rows)
        for symbol, timeframe, time, *values in rows:
            by_series.setdefault(Series(symbol, timeframe), []).append(Bar(int(time), *map(float, values)))
    except (*UNREADABLE, csv.Error, BadData):
        # the reader of candle files says in words what is wrong with it
        return None
    return {series: Bars.of(sorted(bars)) for series, bars in by_series.items()}


def _begins_as_one(path: Path) -> bool:
    header = ",".join(HEADER).encode()
    with gzip.open(path) as packed:
        return packed.readline(len(header) + 2).rstrip() == header

"""Rows that were written to a file before they were deleted: several series in one, each row with its own."""

from __future__ import annotations

import csv
import gzip
from typing import TYPE_CHECKING

from domain.candle import COLUMNS, Bar, Bars, Series

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
        with gzip.open(path, "rt", newline="") as file:
            rows = csv.reader(file)
            if tuple(next(rows, ())) != HEADER:
                return None
            for symbol, timeframe, time, *values in rows:
                by_series.setdefault(Series(symbol, timeframe), []).append(Bar(int(time), *map(float, values)))
    except (OSError, EOFError, ValueError, TypeError):
        # the reader of candle files says in words what is wrong with it
        return None
    return {series: Bars.of(sorted(bars)) for series, bars in by_series.items()}

"""Reads candle files: feather, parquet, csv (plain, gzipped, archives) and JSON as exchanges answer it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from domain.candle import Bars, timeframe_ms
from domain.coverage import TIMEFRAMES
from domain.durations import DAY_MS, HOUR_MS, MINUTE_MS
from domain.errors import BadData
from formats import tables
from formats.container import BYTES_MAX, ROWS_MAX, UNREADABLE, from_archive, unpacked
from formats.klines import of_json
from formats.tables import numbers
from formats.times import milliseconds

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from domain.candle import Floats, Times

KINDS = "feather, parquet, csv, csv.gz, Binance archive zip, exchanges' kline json or json.gz, or folders of them"
SUFFIXES = ("feather", "parquet", "csv", "zip", "json")


def read(path: Path) -> Bars:
    """Return the rows of a candle file as they stand there, in their order, none checked yet.

    A cell that is no number becomes NaN, a time that is none becomes -1. The newest row of a REST answer is left out
    unless it tells that it was finished.

    Raises:
        BadData: when the file as a whole is not what its name says.
    """
    try:
        return _read(path)
    except (*UNREADABLE, BadData) as error:
        reason = " ".join(str(error).split())[:300]
        raise BadData(f"{path.name}: {reason or type(error).__name__}") from error


def _read(path: Path) -> Bars:
    kind = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    if path.exists() and not path.is_file():
        raise BadData("is no file")
    if path.stat().st_size > BYTES_MAX:
        raise BadData(f"larger than {BYTES_MAX} bytes; split it")
    if kind in {"feather", "parquet"}:
        return tables.of_frame(_from_arrow(path, kind))
    if kind == "csv":
        return of_csv(unpacked(path))
    if kind == "zip":
        return of_csv(from_archive(path))
    if kind == "json":
        return of_json(unpacked(path))
    raise BadData(f"unknown kind of candle file; give {KINDS}")


def of_csv(raw: bytes) -> Bars:
    """Return the rows of a csv, with a header or without one, but those that say that they are not finished.

    Raises:
        BadData: when it has no bars in it. ValueError: when it is no csv.
    """
    rows = tables.of_csv(raw)
    return rows.bars if rows.finished is None else rows.bars.where(rows.finished)


def read_funding(path: Path) -> tuple[Times, Floats]:
    """Return times (UTC ms) and rates of a funding file: columns date and funding_rate, or the older open.

    Raises:
        BadData: when it is none, or a rate is no number.
    """
    try:
        frame = _from_arrow(path, "feather" if path.suffix.lower() == ".feather" else "parquet")
        name = "funding_rate" if "funding_rate" in frame.columns else "open"
        times, rates = milliseconds(frame["date"]), numbers(frame[name])
    except (*UNREADABLE, BadData) as error:
        raise BadData(f"{path.name}: is no funding file with date and funding_rate: {error}") from error
    if not np.isfinite(rates).all() or (times < 0).any():
        raise BadData(f"{path.name}: holds a time or a rate that is none")
    return times // MINUTE_MS * MINUTE_MS, rates


def _from_arrow(path: Path, kind: str) -> pd.DataFrame:
    from pyarrow import dataset  # noqa: PLC0415  half a second that only files need to pay

    rows: Any = dataset.dataset(path, format=kind)
    # a table of one value repeated takes a few bytes however long it is
    if rows.count_rows() > ROWS_MAX:
        raise BadData(f"has more than {ROWS_MAX} rows; split it")
    import pandas as pd  # noqa: PLC0415  see above

    return pd.read_feather(path) if kind == "feather" else pd.read_parquet(path)


def spacing(bars: Bars) -> str:
    """Return the timeframe that bars are spaced by, such as ``15m``. Raises BadData when they are too few."""
    times = np.unique(bars.open_time[bars.open_time >= 0])
    if len(times) < 2:  # noqa: PLR2004  two make a distance
        raise BadData("too few rows to tell the timeframe; give --timeframe")
    step = int(np.median(np.diff(times)))
    for unit, length in (("d", DAY_MS), ("h", HOUR_MS), ("m", MINUTE_MS)):
        if step % length == 0:
            return f"{step // length}{unit}"
    raise BadData(f"rows are {step} ms apart, which is no timeframe: are these trades?")


def timeframe_of(bars: Bars, said: str) -> str:
    """Return the timeframe of rows: the one that is said where they do not contradict it, else that of their spacing.

    Raises:
        BadData: when they contradict it, or are spaced by none in which history is kept.
    """
    spaced = _usual_step(bars)
    timeframe = said or spacing(bars)
    if timeframe not in TIMEFRAMES:
        raise BadData(
            f"rows are {timeframe} apart, and bars of {timeframe} are not kept; there are {', '.join(TIMEFRAMES)}"
        )
    if spaced is None:
        return timeframe
    step = timeframe_ms(timeframe)
    if spaced != step:
        measured = next(
            (known for known in TIMEFRAMES if timeframe_ms(known) == spaced), f"{spaced / MINUTE_MS:g} minutes"
        )
        raise BadData(
            f"is said to have bars of {timeframe}, but its rows are {measured} apart; name it so, or give --timeframe"
        )
    return timeframe


def _usual_step(bars: Bars) -> int | None:
    """Return the distance that at least half of the rows have from the one before; None when there is none such."""
    times = np.unique(bars.open_time[bars.open_time >= 0])
    if len(times) < 3:  # noqa: PLR2004  one distance is not usual yet
        return None
    steps, counts = np.unique(np.diff(times), return_counts=True)
    return int(steps[counts.argmax()]) if counts.max() * 2 >= len(times) - 1 else None

"""Reads candle files: feather, parquet, csv (plain, gzipped, Binance's archives) and Bybit's kline JSON."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import zipfile
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from domain.candle import COLUMNS, PRICES, Bars
from domain.coverage import TIMEFRAMES
from domain.errors import BadData

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from domain.candle import Floats, Times

TIME_NAMES = ("open_time", "timestamp", "date", "time", "start", "datetime", "ts")
ARCHIVE_COLUMNS = ("open_time", *PRICES, "volume", "close_time", "quote_volume", "count")
"""The first columns of Binance's archives, whose spot files have no header."""
KINDS = "feather, parquet, csv, csv.gz, Binance archive zip, Bybit kline json or json.gz"
FILE_BYTES_MAX = 2 * 1024**3


def read(path: Path) -> Bars:
    """Return the rows of a candle file as they stand there, in their order, none checked yet.

    A cell that is no number becomes NaN, a time that is none becomes -1. The newest row of a REST answer is left out:
    nobody can tell whether it was finished.

    Raises:
        BadData: when the file as a whole is not what its name says.
    """
    try:
        return _read(path)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, BadData) as error:
        raise BadData(f"{path.name}: {error if str(error) else type(error).__name__}") from error


def _read(path: Path) -> Bars:
    kind = path.name.removesuffix(".gz").rpartition(".")[2]
    if path.stat().st_size > FILE_BYTES_MAX:
        raise BadData(f"larger than {FILE_BYTES_MAX} bytes; split it")
    if kind in {"feather", "parquet"}:
        return _from_arrow(path, kind)
    if kind == "csv":
        return of_csv(_unpacked(path))
    if kind == "zip":
        return of_csv(_from_archive(path))
    if kind == "json":
        return _from_klines(json.loads(_unpacked(path)))
    raise BadData(f"unknown kind of candle file; give {KINDS}")


def read_funding(path: Path) -> tuple[Times, Floats]:
    """Return times (UTC ms) and rates of a funding file: columns date and funding_rate, or the older open.

    Raises:
        BadData: when it is none, or a rate is no number.
    """
    import pandas as pd  # noqa: PLC0415  half a second that only files need to pay

    try:
        frame = pd.read_feather(path) if path.suffix == ".feather" else pd.read_parquet(path)
        name = "funding_rate" if "funding_rate" in frame.columns else "open"
        times, rates = _milliseconds(frame["date"]), _numbers(frame[name])
    except (OSError, ValueError, KeyError) as error:
        raise BadData(f"{path.name}: is no funding file with date and funding_rate: {error}") from error
    if not np.isfinite(rates).all() or (times < 0).any():
        raise BadData(f"{path.name}: holds a time or a rate that is none")
    return times // 60_000 * 60_000, rates


def market_of(name: str) -> tuple[str, str]:
    """Return the unified symbol and the timeframe that a file is named after, "" for what it does not tell.

    Understands freqtrade's names (``BTC_USDT_USDT-15m-futures.feather``), Binance's (``BTCUSDT-1m-2026-03.zip``) and
    plain ones (``AVAXUSDT__3__1760710785974.json``); a symbol in one word is a perpetual, unless the
    name says spot.
    """
    whole = name.partition(".")[0]
    stem, spot = re.sub(r"^(bybit|binance|okx)_((spot|um|TESTNET)_)?", "", whole), "_spot_" in whole
    found = re.search(r"(?<![A-Za-z0-9])(\d{1,2}[mhd])(?![A-Za-z0-9])", stem)
    # "60m" is somebody's word for 1h: what is not a timeframe here is left to the rows to tell
    timeframe = found[1] if found and found[1] in TIMEFRAMES else ""
    if underlined := re.match(r"([0-9A-Z]+)_(USDT|USDC|USD|BTC|ETH|EUR)(_[A-Z]+)?(?![0-9A-Za-z])", stem):
        base, quote, settle = underlined.groups()
        return f"{base}/{quote}" + (f":{settle[1:]}" if settle else ""), timeframe
    if joined := re.match(r"([0-9A-Z]+?)(USDT|USDC)(?![0-9A-Za-z])", stem):
        return f"{joined[1]}/{joined[2]}" + ("" if spot else f":{joined[2]}"), timeframe
    return "", timeframe


def _from_arrow(path: Path, kind: str) -> Bars:
    import pandas as pd  # noqa: PLC0415  half a second that only files need to pay

    frame = pd.read_feather(path) if kind == "feather" else pd.read_parquet(path)
    return _from_frame(frame)


def of_csv(raw: bytes) -> Bars:
    """Return the rows of a csv with a header, or of an archive without one. Raises BadData or ValueError."""
    import pandas as pd  # noqa: PLC0415  see above

    first = raw[: raw.find(b"\n") if b"\n" in raw else len(raw)].decode(errors="replace")
    bare = re.match(r"\s*\d+(\.0*)?,", first) is not None
    columns = [*ARCHIVE_COLUMNS, *(f"unused_{n}" for n in range(first.count(",") + 1 - len(ARCHIVE_COLUMNS)))]
    if bare and first.count(",") + 1 < len(PRICES) + 2:
        raise BadData(f"has no header, and {first.count(',') + 1} columns; an archive has {len(ARCHIVE_COLUMNS)}")
    named: dict[str, Any] = {"names": columns[: first.count(",") + 1], "header": None} if bare else {}
    frame: pd.DataFrame = pd.read_csv(io.BytesIO(raw), low_memory=False, **named)
    frame.columns = [str(name).strip().lower() for name in frame.columns]
    return _from_frame(frame)


def _from_frame(frame: pd.DataFrame) -> Bars:
    import pandas as pd  # noqa: PLC0415  see above

    lacking = [name for name in (*PRICES, "volume") if name not in frame.columns]
    named = next((name for name in TIME_NAMES if name in frame.columns), None)
    if lacking or (named is None and not isinstance(frame.index, pd.DatetimeIndex)):
        lacking += [] if named else [f"a time ({', '.join(TIME_NAMES)})"]
        raise BadData(f"lacks {', '.join(lacking)}; has the columns {', '.join(map(str, frame.columns))[:200]}")
    times = _milliseconds(frame[named] if named else frame.index.to_series())
    opened, high, low, close, volume = (_numbers(frame[name]) for name in (*PRICES, "volume"))
    given = next((name for name in ("turnover", "quote_volume") if name in frame.columns), None)
    turnover = _numbers(frame[given]) if given else close * volume
    return Bars(times, opened, high, low, close, volume, turnover)


def _numbers(column: pd.Series[Any]) -> Floats:
    import pandas as pd  # noqa: PLC0415  see above

    return np.ascontiguousarray(pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan))


def _milliseconds(column: pd.Series[Any]) -> Times:
    """Read times: numbers in s, ms, us or ns since 1970 by their size, text as UTC unless it says otherwise."""
    import pandas as pd  # noqa: PLC0415  see above

    if isinstance(column.dtype, pd.DatetimeTZDtype):
        return _of_dates(column)
    if pd.api.types.is_datetime64_dtype(column.dtype):
        raise BadData("times carry no time zone; write them as UTC")
    if not pd.api.types.is_numeric_dtype(column.dtype):
        numbers = pd.to_numeric(column, errors="coerce")
        if numbers.isna().all():
            return _of_dates(pd.to_datetime(column, utc=True, errors="coerce", format="ISO8601"))
        column = numbers
    values = column.to_numpy(np.float64, na_value=np.nan)
    whole = np.where(np.isfinite(values), values, -1).astype(np.int64)
    exact = column.to_numpy(np.int64) if pd.api.types.is_integer_dtype(column.dtype) else whole
    scaled = np.select(
        [exact > 10**17, exact > 10**14, exact > 10**11, exact >= 0],
        [exact // 1_000_000, exact // 1_000, exact, exact * 1_000], -1,
    )  # fmt: skip
    return np.ascontiguousarray(scaled.astype(np.int64))


def _of_dates(column: pd.Series[Any]) -> Times:
    utc = column.dt.tz_convert("UTC").dt.tz_localize(None)
    times = utc.to_numpy("datetime64[ms]").astype(np.int64)
    return np.ascontiguousarray(np.where(utc.isna(), -1, times))


def _from_klines(body: Any) -> Bars:
    rows = body
    if isinstance(body, dict):
        result = body.get("result", body)
        rows = (result.get("list") or result.get("rows")) if isinstance(result, dict) else None
    if not isinstance(rows, list) or not rows or not isinstance(rows[0], list):
        raise BadData("is no list of Bybit kline rows")
    newest_first = rows[:0:-1]
    told = [row for row in newest_first if isinstance(row, list) and len(row) >= len(COLUMNS) + 1]
    if len(told) < len(newest_first):
        raise BadData(f"{len(newest_first) - len(told)} rows have fewer than {len(COLUMNS) + 1} values")
    times = [str(row[0]) for row in told]
    return Bars.of([[int(time) if time.isdecimal() else -1, *map(_number, row[1:7])]
                    for time, row in zip(times, told, strict=True)])  # fmt: skip


def _number(text: Any) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        return float("nan")


def _from_archive(path: Path) -> bytes:
    """Return the csv in a zip, whose checksum must be right where a file beside it tells one."""
    beside = path.with_name(f"{path.name}.CHECKSUM")
    if beside.exists():
        told = beside.read_text().split()[0].lower()
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if told != found:
            raise BadData(f"its sha256 is {found[:16]}..., its checksum file says {told[:16]}...; fetch it again")
    with zipfile.ZipFile(path) as packed:
        inside = [entry for entry in packed.infolist() if entry.filename.endswith(".csv")]
        if len(inside) != 1 or inside[0].file_size > FILE_BYTES_MAX:
            raise BadData(f"holds {len(inside)} csv files; an archive holds one")
        with packed.open(inside[0]) as member:
            return _at_most(member)


def _unpacked(path: Path) -> bytes:
    if path.suffix != ".gz":
        return path.read_bytes()
    with gzip.open(path) as packed:
        return _at_most(packed)


def _at_most(packed: IO[bytes] | gzip.GzipFile) -> bytes:
    text = packed.read(FILE_BYTES_MAX + 1)
    if len(text) > FILE_BYTES_MAX:
        raise BadData(f"unpacks to more than {FILE_BYTES_MAX} bytes; split it")
    return text


def spacing(bars: Bars) -> str:
    """Return the timeframe that bars are spaced by, such as ``15m``. Raises BadData when they are too few."""
    times = np.unique(bars.open_time[bars.open_time >= 0])
    if len(times) < 2:  # noqa: PLR2004  two make a distance
        raise BadData("too few rows to tell the timeframe; give --timeframe")
    step = int(np.median(np.diff(times)))
    for unit, length in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000)):
        if step % length == 0:
            return f"{step // length}{unit}"
    raise BadData(f"rows are {step} ms apart, which is no timeframe; give --timeframe")

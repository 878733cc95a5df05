"""Reads candle files for the replay: feather, csv (also gzipped) and Bybit kline JSON."""

from __future__ import annotations

import csv
import gzip
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from domain.candle import Bars, check_bar, join
from domain.errors import BadData, ConfigError
from sandbox.tape import ReplayTape

if TYPE_CHECKING:
    from collections.abc import Sequence

_TIME_NAMES = ("open_time", "timestamp", "date", "time", "start", "datetime")


def replay(files: Sequence[str]) -> ReplayTape:
    """Return a tape of the given candle files, each ``PATH`` or ``SYMBOL=PATH``.

    Raises:
        ConfigError: when a file cannot be read, holds bad bars, or the files do not fit together.
    """
    held: dict[str, Bars] = {}
    steps: dict[str, int] = {}
    for item in files:
        named, _, path = item.rpartition("=")
        symbol = named or symbol_of(Path(path).name)
        try:
            bars = read_candles(Path(path))
        except (OSError, ValueError, KeyError, BadData) as error:
            raise ConfigError(f"sandbox.replay: {path}: {error}") from error
        if len(bars) < 2:
            raise ConfigError(f"sandbox.replay: {path}: holds fewer than two bars")
        held[symbol] = bars
        steps[symbol] = int(np.median(np.diff(bars.open_time)))
    if len(set(steps.values())) > 1:
        listed = ", ".join(f"{symbol} {step // 60_000} min" for symbol, step in steps.items())
        raise ConfigError(f"sandbox.replay: the files differ in spacing ({listed}); give files of one timeframe")
    return ReplayTape(held, next(iter(steps.values()), 60_000))


def symbol_of(name: str) -> str:
    """Return the unified symbol that a file is named after, such as AVAXUSDT__3__... or BTC_USDT_USDT-15m."""
    found = re.match(r"(?:bybit_|binance_\w*?_)?([0-9A-Z]+?)_?(USDT|USDC)(?![0-9A-Za-z])", name.replace("__", "-"))
    found = found or re.match(r"([0-9A-Z]+?)_(USDT|USDC)", name)
    if not found:
        raise ConfigError(f"sandbox.replay: cannot tell the symbol of {name}; write BTC/USDT:USDT=PATH")
    return f"{found[1]}/{found[2]}:{found[2]}"


def read_candles(path: Path) -> Bars:
    """Return the bars in a candle file, ascending, each checked; an unfinished newest REST row is kept out.

    Raises:
        BadData: when a row is malformed.
        ValueError: when the kind of file is unknown.
    """
    name = path.name.removesuffix(".gz")
    if name.endswith(".feather"):
        import pandas as pd  # noqa: PLC0415  heavy, and only this kind needs it

        bars = Bars.from_frame(pd.read_feather(path))
    elif name.endswith(".json"):
        # REST rows come newest first, and the newest may not be finished
        bars = Bars.of([[float(v) for v in row] for row in _kline_rows(json.loads(_text(path)))][:0:-1])
    elif name.endswith(".csv"):
        bars = _from_csv(_text(path))
    else:
        raise ValueError(f"unknown kind of candle file {path.name}; give feather, csv, csv.gz or Bybit kline json")
    ordered = join([bars])
    step = int(np.median(np.diff(ordered.open_time))) if len(ordered) > 1 else 1
    for row in ordered.rows():
        check_bar(row, step)
    return ordered


def _text(path: Path) -> str:
    return gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()


def _kline_rows(body: Any) -> list[list[str]]:
    if isinstance(body, dict):
        result = body.get("result", body)
        body = result.get("list", result.get("rows"))
    if not isinstance(body, list) or not body or not isinstance(body[0], list):
        raise BadData("is no list of Bybit kline rows")
    return body


def _from_csv(text: str) -> Bars:
    rows = list(csv.reader(text.splitlines()))
    header = [name.strip().lower() for name in rows[0]]
    time = next((header.index(name) for name in _TIME_NAMES if name in header), None)
    if time is None:
        raise BadData(f"csv header {rows[0]} has no time column ({', '.join(_TIME_NAMES)})")
    at = {name: header.index(name) for name in ("open", "high", "low", "close", "volume")}
    turnover = header.index("turnover") if "turnover" in header else None
    out = []
    for row in rows[1:]:
        values = [float(row[i]) for i in at.values()]
        out.append(
            [_time_ms(row[time]), *values, float(row[turnover]) if turnover is not None else values[3] * values[4]]
        )
    return Bars.of(out)


def _time_ms(text: str) -> int:
    if re.fullmatch(r"\d+(\.0+)?", text):
        value = int(float(text))
        return value // 1_000 if value > 10**14 else value if value > 10**11 else value * 1_000
    return int(np.datetime64(text.replace(" ", "T").removesuffix("Z").removesuffix("+00:00"), "ms").astype(np.int64))

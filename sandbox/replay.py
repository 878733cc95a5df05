"""Candle files for the replay."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from domain.candle import Bars, check_bar, join
from domain.errors import BadData, ConfigError
from domain.symbols import perpetual
from formats import candles
from sandbox.tape import ReplayTape

if TYPE_CHECKING:
    from collections.abc import Sequence


def replay(files: Sequence[str]) -> ReplayTape:
    """Return a tape of the given candle files, each ``PATH`` or ``SYMBOL=PATH``.

    Raises:
        ConfigError: when a file cannot be read, holds bad bars, or the files do not fit together.
    """
    held: dict[str, Bars] = {}
    steps: dict[str, int] = {}
    for item in files:
        named, _, path = item.rpartition("=")
        try:
            symbol = perpetual(named) if named else symbol_of(Path(path).name)
            bars = read_candles(Path(path))
        except BadData as error:
            raise ConfigError(f"sandbox.replay: {item}: {error}") from error
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
    """Return the bars in a candle file, ascending, each checked.

    Raises:
        BadData: when the file or a row of it is malformed.
    """
    ordered = join([candles.read(path)])
    step = int(np.median(np.diff(ordered.open_time))) if len(ordered) > 1 else 1
    for row in ordered.rows():
        check_bar(row, step)
    return ordered

"""What names of candle files tell: the market, the timeframe, and what else than candles is in them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from domain.coverage import TIMEFRAMES
from domain.errors import BadData

if TYPE_CHECKING:
    from pathlib import Path

_KINDS = (
    ("premium index", r"premium[-_]?index"), ("index prices", r"index[-_]?price|[-_]index(?![a-z])"),
    ("mark prices", r"mark[-_]?price|[-_]mark(?![a-z])"), ("funding", r"funding"),
    ("trades", r"agg[-_]?trades|[-_]trades(?![a-z])|[-_]ticks?(?![a-z])"),
)  # fmt: skip
_MONTHS = "JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC"
_DELIVERY = rf"(?<=[A-Z])[-_](\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])|\d{{1,2}}({_MONTHS})\d\d)(?![0-9A-Za-z])"


def market_of(name: str) -> tuple[str, str]:
    """Return the unified symbol and the timeframe that a file is named after, "" for what it does not tell.

    Understands freqtrade's names (``BTC_USDT_USDT-15m-futures.feather``), Binance's (``BTCUSDT-1m-2026-03.zip``) and
    plain ones (``AVAXUSDT__3__1760710785974.json``); a symbol in one word is a perpetual, unless the
    name says spot.
    """
    whole = name.partition(".")[0]
    stem, spot = re.sub(r"^(bybit|binance|okx)_((spot|um|TESTNET)_)?", "", whole), "_spot_" in whole
    match = re.search(r"(?<![A-Za-z0-9])(\d{1,2}[mhd])(?![A-Za-z0-9])", stem)
    # "60m" is somebody's word for 1h: what is not a timeframe here is left to the rows to tell
    timeframe = match[1] if match and match[1] in TIMEFRAMES else ""
    if underlined := re.match(r"([0-9A-Z]+)_(USDT|USDC|USD|BTC|ETH|EUR)(_[A-Z]+)?(?![0-9A-Za-z])", stem):
        base, quote, settle = underlined.groups()
        return f"{base}/{quote}" + (f":{settle[1:]}" if settle else ""), timeframe
    if joined := re.match(r"([0-9A-Z]+?)(USDT|USDC)(?![0-9A-Za-z])", stem):
        return f"{joined[1]}/{joined[2]}" + ("" if spot else f":{joined[2]}"), timeframe
    return "", timeframe


def market_at(path: Path) -> tuple[str, str]:
    """Return what a file's name tells, and of a market in one word also whether its folders say spot.

    Raises:
        BadData: when it is named after a contract that ends, whose bars are no perpetual's.
    """
    if ends := re.search(_DELIVERY, path.name.partition(".")[0].upper()):
        raise BadData(
            f"{path.name}: is named after a contract that is delivered ({ends[1]}): its bars are not the perpetual's"
        )
    symbol, timeframe = market_of(path.name)
    underlined = re.match(r"([a-z]+_)*[0-9A-Z]+_", path.name)
    if symbol.endswith((":USDT", ":USDC")) and "spot" in path.parent.parts and not underlined:
        symbol = symbol.partition(":")[0]
    return symbol, timeframe


def content_of(path: Path) -> str:
    """Return what name and folders say that is in a file, "" for candles or when they say nothing."""
    own = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", path.name.partition(".")[0]).lower()
    folders = [part.lower() for part in path.parts[:-1] if part.lower().endswith("klines") or part == "fundingRate"]
    for kind, pattern in _KINDS:
        if re.search(pattern, own) or any(re.search(pattern, part) for part in folders):
            return kind
    return ""

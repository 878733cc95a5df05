"""Trade ids as the integers that freqtrade's programs expect: the first 48 bits of ours, so that nothing is stored."""

from __future__ import annotations

from zlib import crc32

HEAD, DIGITS = 8, 12
"""Digits of an id before its first dash, and digits of it that make a number."""
NUMBER_MAX = 16**DIGITS - 1


def number_of(trade_id: str) -> int:
    """Return the number of a trade; it stays the same for good, and fits a number of JavaScript."""
    return int(trade_id.replace("-", "")[:DIGITS], 16)


def beginning(number: int) -> str:
    """Return what the id of a trade of that number begins with."""
    digits = f"{number:0{DIGITS}x}"
    return f"{digits[:HEAD]}-{digits[HEAD:]}"


def lock_number(symbol: str, method: str) -> int:
    """Return the number of a lock: it names a protection of a symbol, however often it locks."""
    return crc32(f"{symbol}|{method}".encode())

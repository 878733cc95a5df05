"""Where a stop lies, told from another place, by freqtrade's names."""

from __future__ import annotations


def stoploss_from_open(
    open_relative_stop: float, current_profit: float, is_short: bool = False, leverage: float = 1.0
) -> float:
    """Return the distance from the price now of a stop that is told from the entry; 0 where the price is beyond it."""
    sign = -1 if is_short else 1
    entry_now = 1 + sign * current_profit / leverage
    if entry_now <= 0:
        return 1.0
    distance = sign * (1 - (1 + sign * open_relative_stop / leverage) / entry_now)
    return max(distance * leverage, 0.0)


def stoploss_from_absolute(
    stop_rate: float, current_rate: float, is_short: bool = False, leverage: float = 1.0
) -> float:
    """Return the distance from the price now of a stop at a price; 0 where the price is beyond it."""
    if not current_rate:
        return 1.0
    sign = -1 if is_short else 1
    return max(sign * (1 - stop_rate / current_rate) * leverage, 0.0)

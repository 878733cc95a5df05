"""Lengths and borders of timeframes, by freqtrade's names."""

from __future__ import annotations

from datetime import UTC, datetime

from domain.candle import timeframe_ms
from domain.durations import MINUTE_MS


def timeframe_to_minutes(timeframe: str) -> int:
    """Return the minutes of a timeframe."""
    return timeframe_ms(timeframe) // MINUTE_MS


def timeframe_to_seconds(timeframe: str) -> int:
    """Return the seconds of a timeframe."""
    return timeframe_ms(timeframe) // 1000


def timeframe_to_msecs(timeframe: str) -> int:
    """Return the milliseconds of a timeframe."""
    return timeframe_ms(timeframe)


def timeframe_to_prev_date(timeframe: str, date: datetime) -> datetime:
    """Return when the bar opened that a moment lies in; there is no moment now, so it has to be given."""
    step = timeframe_to_seconds(timeframe)
    return datetime.fromtimestamp(date.timestamp() // step * step, UTC)


def timeframe_to_next_date(timeframe: str, date: datetime) -> datetime:
    """Return when the bar ends that a moment lies in."""
    step = timeframe_to_seconds(timeframe)
    return datetime.fromtimestamp(date.timestamp() // step * step + step, UTC)

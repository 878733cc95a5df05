"""Candle intervals: fixed ones, weeks from Monday and calendar months, all in UTC."""

from __future__ import annotations

from datetime import UTC, datetime

INTERVALS = {
    "1": 60_000, "3": 180_000, "5": 300_000, "15": 900_000, "30": 1_800_000, "60": 3_600_000, "120": 7_200_000,
    "240": 14_400_000, "360": 21_600_000, "720": 43_200_000, "D": 86_400_000,
}  # fmt: skip
"""Those that have one length, in milliseconds."""

NAMES = (*INTERVALS, "W", "M")
WEEK_MS, MONDAY_MS = 7 * 86_400_000, 4 * 86_400_000
"""The first Monday after 1970 began is four days later."""


def opens(interval: str, time: int) -> int:
    """Return when the candle that contains a time (UTC ms) opens."""
    if interval == "W":
        return time - (time - MONDAY_MS) % WEEK_MS
    if interval == "M":
        moment = datetime.fromtimestamp(time // 1000, UTC)
        return int(datetime(moment.year, moment.month, 1, tzinfo=UTC).timestamp()) * 1000
    return time - time % INTERVALS[interval]


def closes(interval: str, open_time: int) -> int:
    """Return when a candle that opens at a time (UTC ms) closes."""
    if interval == "W":
        return open_time + WEEK_MS
    if interval == "M":
        return opens("M", open_time + 32 * 86_400_000)
    return open_time + INTERVALS[interval]

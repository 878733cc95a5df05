"""Lines of the log in freqtrade's shape."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from dashboard.freqtrade.trades import FORMAT

if TYPE_CHECKING:
    from collections.abc import Sequence

LINE = re.compile(r"(\d\d:\d\d:\d\d) (\w+) +(.*)", re.DOTALL)


def rows(lines: Sequence[str]) -> list[list[Any]]:
    """Return lines, oldest first, as (time, UTC ms, who logged, level, text).

    A line has a time of day only: the newest is of the last day and night, and each one before is older.
    """
    told, after = [], datetime.now(UTC)
    for line in reversed(lines):
        found = LINE.fullmatch(line)
        level, text = (found[2].upper(), found[3]) if found else ("INFO", line)
        if found:
            after = _before(datetime.strptime(found[1], "%H:%M:%S").replace(tzinfo=UTC), after)
        told.append([f"{after:{FORMAT}}", after.timestamp() * 1000, "revenant", level, text])
    return told[::-1]


def _before(time: datetime, after: datetime) -> datetime:
    at = datetime.combine(after.date(), time.timetz())
    # lines of one second may come in any order
    return at if at <= after + timedelta(seconds=2) else at - timedelta(days=1)

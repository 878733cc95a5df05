"""Moments as people write them: a year, a month, a day, a time, or so long ago."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from domain.durations import DAY_MS, HOUR_MS, WEEK_MS
from domain.errors import BadData

EXAMPLE = "write 2024, 2024-01, 2024-01-31, 20240131, 2024-01-31T12:00, 30d (ago) or milliseconds since 1970, all UTC"
EPOCH, MILLISECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)
AGO = {"h": HOUR_MS, "d": DAY_MS, "w": WEEK_MS, "y": 365 * DAY_MS}
"""Milliseconds of what may follow a number: hours, days, weeks, years."""
YEAR, MONTH, DAY = re.compile(r"\d{4}"), re.compile(r"\d{4}-?\d{2}"), re.compile(r"\d{8}")
MILLISECONDS, AGE = re.compile(r"\d{12,}"), re.compile(r"(\d{1,6})\s*([hdwy])")


def moment(text: str, now_ms: int) -> int:
    """Return the moment in UTC ms that a text means; ``30d`` is thirty days before ``now_ms``.

    A year or a month is its beginning. Raises BadData for anything else.
    """
    plain = text.strip().replace("/", "-")
    if MILLISECONDS.fullmatch(plain):
        return int(plain)
    if age := age_ms(plain):
        return max(0, now_ms - age)
    if YEAR.fullmatch(plain):
        plain += "-01-01"
    elif DAY.fullmatch(plain):
        plain = f"{plain[:4]}-{plain[4:6]}-{plain[6:]}"
    elif MONTH.fullmatch(plain):
        plain = f"{plain[:4]}-{plain[-2:]}-01"
    try:
        when = datetime.fromisoformat(plain)
        return int(((when if when.tzinfo else when.replace(tzinfo=UTC)) - EPOCH) // MILLISECOND)
    except (ValueError, OverflowError) as error:
        raise BadData(f"{text[:40]!r} is not a date: {EXAMPLE}") from error


def age_ms(text: str) -> int | None:
    """Return how many ms ``30d``, ``12h``, ``4w`` or ``6y`` are, None for anything else."""
    found = AGE.fullmatch(text.strip().lower())
    return int(found[1]) * AGO[found[2]] if found else None

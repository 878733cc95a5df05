"""Moments as people have them at a notebook, in UTC milliseconds."""

from __future__ import annotations

import math
import numbers
import time
from datetime import UTC, date, datetime, timedelta

import numpy as np

from domain.dates import moment
from domain.errors import BadData
from formats.times import milliseconds_of

Moment = str | date | np.datetime64 | float
"""Text such as 2024-01-31, a date or datetime (pandas' too), numpy's, or a number of s, ms, us or ns since 1970."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EXAMPLES = (
    "give 2024-01-31, 2024-01-31T12:00, a date, a datetime, a datetime64, or a number since 1970 in s, ms, us or ns"
)
OLDEST_S = 10**8
"""Nothing here is older than 1973; smaller numbers are years, or days."""
MILLISECOND = timedelta(milliseconds=1)


def milliseconds(when: Moment | None, otherwise: int) -> int:
    """Return a moment in UTC ms, ``otherwise`` for None; what says no zone is UTC, what is before 1970 is 0.

    Raises:
        BadData: for anything that is no moment.
    """
    if when is None:
        return otherwise
    try:
        found = _of(when)
    except (BadData, ValueError, OverflowError, TypeError, ArithmeticError) as error:
        raise BadData(f"{str(when)[:40]!r} is no time: {EXAMPLES}") from error
    if found is None:
        raise BadData(f"{str(when)[:40]!r} ({type(when).__name__}) is no time: {EXAMPLES}")
    return max(0, found)


def _of(when: object) -> int | None:
    if isinstance(when, str):
        text = when.strip()
        if text.isdecimal() and len(text) > 8:  # noqa: PLR2004  a day has eight
            return _of_number(int(text))
        return moment(text, int(time.time() * 1000))
    if isinstance(when, np.datetime64):
        return None if np.isnat(when) else int(when.astype("datetime64[ms]").astype(np.int64))
    if isinstance(when, datetime):
        return int(((when if when.tzinfo else when.replace(tzinfo=UTC)) - EPOCH) // MILLISECOND)
    if isinstance(when, date):
        return _of(datetime(when.year, when.month, when.day, tzinfo=UTC))
    if isinstance(when, numbers.Real) and not isinstance(when, bool | np.bool_):
        return _of_number(when)
    return None


def _of_number(when: numbers.Real | int) -> int | None:
    if not math.isfinite(when) or when < OLDEST_S:
        return None
    # whole numbers stay exact: nanoseconds are more than a float holds
    kind = np.int64 if isinstance(when, numbers.Integral) else np.float64
    found = int(milliseconds_of(np.array([when], kind))[0])
    return found if found >= 0 else None

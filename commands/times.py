"""Stretches of time as people write them."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from domain import dates
from domain.dates import age_ms
from domain.durations import DAY_MS
from domain.errors import BadData, ConfigError

if TYPE_CHECKING:
    from domain.coverage import Span

FOREVER = 2**53
DAYS_MAX = 36_500

DATES = "2024, 2024-01, 2024-01-31 or 30d"
Since = Annotated[str, typer.Option("--since", "--start", "--start-year", help=f"From when on, UTC: {DATES}.")]
Until = Annotated[str, typer.Option("--until", "--end", help=f"Until when, UTC: {DATES}; this moment is outside.")]
Timerange = Annotated[str, typer.Option("--timerange", help="As freqtrade has it: 20240101-20250101, 20240101-.")]


def days_of(text: str) -> int:
    """Return a number of days, written ``30``, ``30d``, ``4w`` or ``6y``."""
    asked = text.strip()
    days = int(asked) if asked.isdecimal() else (age_ms(asked) or 0) // DAY_MS
    if not 1 <= days <= DAYS_MAX:
        raise typer.BadParameter(f"{text!r}: write a number of days from 1 to {DAYS_MAX}, such as 30, 30d or 4w")
    return days


Days = Annotated[
    int | None, typer.Option("--days", parser=days_of, metavar="DAYS", help="The last so many days: 30, 30d, 4w.")
]
Years = Annotated[int | None, typer.Option("--years", min=1, max=100, help="The last so many years.")]


def moment(text: str) -> int:
    """Return a moment in UTC ms. Raises ConfigError when it is none."""
    try:
        return dates.moment(text, int(time.time() * 1000))
    except BadData as error:
        raise ConfigError(str(error)) from error


def window(since: str, until: str, timerange: str = "", days: int | None = None, years: int | None = None) -> Span:
    """Return the stretch that is meant, open on both sides where nothing is said.

    Raises:
        ConfigError: when it is reversed, empty, lies in the future, or is told twice.
    """
    if days is not None and years is not None:
        raise ConfigError("--days and --years both say where to begin; give one")
    days = days if years is None else years * 365
    if timerange:
        if since or until or days:
            raise ConfigError("--timerange says it all; leave --since, --until, --days and --years out")
        since, until = _ends(timerange)
    now = int(time.time() * 1000)
    if days is not None:
        if since:
            raise ConfigError("--days or --years, and --since, both say where to begin; give one")
        since = str(now - days * DAY_MS)
    start = moment(since) if since else 0
    end_ms = moment(until) if until else FOREVER
    if start >= end_ms:
        raise ConfigError(f"the range {since or '...'} to {until or '...'} is empty or reversed; --since comes first")
    if start > now:
        raise ConfigError(f"the range begins in the future ({since}); nothing has been traded there yet")
    from domain.coverage import Span  # noqa: PLC0415  numpy takes a while to load, and --help needs none

    return Span(start, end_ms)


def _ends(timerange: str) -> tuple[str, str]:
    """Return the two ends of ``20240101-20250101``; days may have dashes of their own. Raises ConfigError."""
    text = timerange.strip()
    parted = [(text[: one.start()], text[one.end() :]) for one in re.finditer("-", text)]
    fitting = [ends for ends in parted if any(ends) and all(not end or _is_moment(end) for end in ends)]
    if len(fitting) != 1:
        raise ConfigError(f"--timerange {timerange}: write 20240101-20250101, 20240101- or -20250101")
    return fitting[0]


def _is_moment(text: str) -> bool:
    try:
        moment(text)
    except ConfigError:
        return False
    return True


def told(time_ms: int | None) -> str:
    """Return a moment as people read it."""
    return "" if time_ms is None else f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M}"

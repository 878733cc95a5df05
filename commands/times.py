"""Stretches of time as people write them."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from domain.coverage import Span
from domain.errors import ConfigError

FOREVER = 2**53
EXAMPLE = "write 2024-01-31, 20240131, 2024-01-31T12:00 or milliseconds since 1970, all UTC"

Since = Annotated[str, typer.Option("--since", "--start", help="From when on, UTC: 2024-01-31, 20240131.")]
Until = Annotated[str, typer.Option("--until", "--end", help="Until when, UTC; this moment is outside.")]
Timerange = Annotated[str, typer.Option("--timerange", help="As freqtrade has it: 20240101-20250101, 20240101-.")]
Days = Annotated[int | None, typer.Option("--days", min=1, help="The last so many days.")]


def moment(text: str) -> int:
    """Return a moment in UTC ms. Raises ConfigError when it is none."""
    plain = text.strip().replace("/", "-")
    if re.fullmatch(r"\d{12,}", plain):
        return int(plain)
    if re.fullmatch(r"\d{8}", plain):
        plain = f"{plain[:4]}-{plain[4:6]}-{plain[6:]}"
    try:
        when = datetime.fromisoformat(plain)
    except ValueError as error:
        raise ConfigError(f"{text!r} is no time: {EXAMPLE}") from error
    return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000)


def window(since: str, until: str, timerange: str = "", days: int | None = None) -> Span:
    """Return the stretch that is meant, open on both sides where nothing is said.

    Raises:
        ConfigError: when it is reversed, empty, lies in the future, or is told twice.
    """
    if timerange:
        if since or until or days:
            raise ConfigError("--timerange says it all; leave --since, --until and --days out")
        begin, dash, end = timerange.partition("-")
        if not dash:
            raise ConfigError(f"--timerange {timerange}: write 20240101-20250101, 20240101- or -20250101")
        since, until = begin, end
    now = int(time.time() * 1000)
    if days is not None:
        if since:
            raise ConfigError("--days and --since both say where to begin; give one")
        since = str(int((datetime.now(UTC) - timedelta(days=days)).timestamp() * 1000))
    start = moment(since) if since else 0
    end_ms = moment(until) if until else FOREVER
    if start >= end_ms:
        raise ConfigError(f"the range {since or '...'} to {until or '...'} is empty or reversed; --since comes first")
    if start > now:
        raise ConfigError(f"the range begins in the future ({since}); nothing has been traded there yet")
    return Span(start, end_ms)


def told(time_ms: int | None) -> str:
    """Return a moment as people read it."""
    return "" if time_ms is None else f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M}"

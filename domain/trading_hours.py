"""When a strategy may enter: days of the week and hours of the day, in UTC."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from domain.durations import DAY_MS, MINUTE_MS
from domain.errors import BadData

if TYPE_CHECKING:
    from collections.abc import Iterable

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
THURSDAY = 3
"""The day of the week on which UTC milliseconds begin to count."""

MINUTES = DAY_MS // MINUTE_MS
SPAN = re.compile(r"(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})")


class Hours(NamedTuple):
    """From one minute of the day on, up to another; into the next day where that is not later."""

    begin: int
    end: int

    def __str__(self) -> str:
        return f"{_clock(self.begin)}-{_clock(self.end)}"


@dataclass(frozen=True, slots=True)
class TradingHours:
    """Days of the week (0 is Monday) and hours; without days every day, without hours the whole day.

    Hours that go past midnight belong to the day on which they begin.
    """

    days: frozenset[int] = frozenset()
    hours: tuple[Hours, ...] = ()

    @classmethod
    def written(cls, days: Iterable[str], hours: Iterable[str]) -> TradingHours:
        """Return what ``mon`` or ``mon-fri`` and ``07:00-16:00`` mean. Raises BadData."""
        return cls(frozenset(day for text in days for day in _days(text)), tuple(map(_hours, hours)))

    def open(self, time: int) -> bool:
        """Say whether a moment (UTC ms) lies within; the end of hours lies outside."""
        day, minute = (time // DAY_MS + THURSDAY) % len(DAYS), time % DAY_MS // MINUTE_MS
        if not self.hours:
            return self._on(day)
        for begin, end in self.hours:
            overnight = end <= begin
            if self._on(day) and begin <= minute < (MINUTES if overnight else end):
                return True
            if overnight and self._on(day - 1) and minute < end:
                return True
        return False

    def _on(self, day: int) -> bool:
        return not self.days or day % len(DAYS) in self.days

    def __str__(self) -> str:
        days = " ".join(DAYS[day] for day in sorted(self.days)) or "every day"
        return f"{days} {', '.join(map(str, self.hours))}".rstrip() + " UTC"


ALWAYS = TradingHours()


def _days(text: str) -> list[int]:
    first, _, last = text.strip().lower().partition("-")
    if first not in DAYS or (last or first) not in DAYS:
        raise BadData(f"{text!r} is no day; write {', '.join(DAYS)}, or several as in mon-fri")
    begin, end = DAYS.index(first), DAYS.index(last or first)
    return [day % len(DAYS) for day in range(begin, end + 1 + (len(DAYS) if end < begin else 0))]


def _hours(text: str) -> Hours:
    found = SPAN.fullmatch(text.strip())
    if found is None:
        raise BadData(f"{text!r} are no hours; write them as in 07:00-16:00 (UTC), past midnight as in 22:00-02:00")
    begin, end = (int(hour) * 60 + int(minute) for hour, minute in (found.group(1, 2), found.group(3, 4)))
    if int(found[2]) > 59 or int(found[4]) > 59 or begin >= MINUTES or end > MINUTES:  # noqa: PLR2004  an hour's minutes
        raise BadData(f"{text!r}: a day has 00:00 to 24:00")
    if begin == end:
        raise BadData(f"{text!r}: begins and ends at once; leave the hours out for the whole day")
    return Hours(begin, end)


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"

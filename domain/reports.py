"""Finished trades grouped in the ways people ask for: by day, week or month, by symbol, strategy, exit or hour."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING

from domain.trade import ZERO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from domain.trade import Trade


class Period(StrEnum):
    """How long the stretches are that results are told by; weeks begin on Monday, all in UTC."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class Group(StrEnum):
    """What trades can be put together by; the hour is that of the entry, in UTC."""

    SYMBOL = "symbol"
    STRATEGY = "strategy"
    EXIT = "exit"
    HOUR = "hour"


@dataclass(frozen=True, slots=True)
class Result:
    """What the trades of one group made, net; ``win_rate`` in percent, ``mean_r`` in R, ``held_s`` on average."""

    name: str
    trades: int
    wins: int
    pnl: Decimal
    fees: Decimal
    mean_r: float
    held_s: float

    @property
    def win_rate(self) -> float:
        """Share of trades with a net profit, in percent."""
        return 100 * self.wins / self.trades if self.trades else 0.0


@dataclass(frozen=True, slots=True)
class Slump:
    """The deepest fall of the running profit: how much in quote units, from when to when; none when it never fell."""

    depth: Decimal = ZERO
    since: datetime | None = None
    until: datetime | None = None


def since(trades: Sequence[Trade], begin: datetime | None) -> list[Trade]:
    """Return the trades that ended at a time or later, of all time for None; they are in the order of their exits."""
    return list(trades[bisect_left(trades, begin, key=lambda one: one.exit_time) :] if begin else trades)


def by_period(trades: Iterable[Trade], period: Period, count: int, now: datetime) -> list[Result]:
    """Return the last ``count`` periods, newest first, also those without a trade."""
    groups: dict[date, list[Trade]] = {}
    for trade in trades:
        groups.setdefault(start_of(trade.exit_time.date(), period), []).append(trade)
    return [_result(first.isoformat(), groups.get(first, [])) for first in periods(period, count, now)]


def periods(period: Period, count: int, now: datetime) -> list[date]:
    """Return the first days of the last ``count`` periods, newest first."""
    first, found = start_of(now.date(), period), []
    for _ in range(count):
        found.append(first)
        first = start_of(first - timedelta(days=1), period)
    return found


def by_group(trades: Iterable[Trade], group: Group) -> list[Result]:
    """Return what each symbol, strategy, kind of exit or hour has made, the best first."""
    key = NAME_IN[group]
    groups: dict[str, list[Trade]] = {}
    for trade in trades:
        groups.setdefault(key(trade), []).append(trade)
    found = [_result(name, held) for name, held in groups.items()]
    return sorted(found, key=lambda one: (-one.pnl, one.name))


def curve(trades: Sequence[Trade]) -> list[tuple[datetime, Decimal]]:
    """Return the running net profit after each trade, in the order of exits."""
    total, points = ZERO, []
    for trade in sorted(trades, key=lambda one: (one.exit_time, one.trade_id)):
        total += trade.pnl_usd
        points.append((trade.exit_time, total))
    return points


def slump(trades: Sequence[Trade]) -> Slump:
    """Return the deepest fall of the running profit from its best, which begins at zero."""
    peak, at, worst = ZERO, None, Slump()
    for time, total in curve(trades):
        if total >= peak:
            peak, at = total, time
        elif peak - total > worst.depth:
            worst = Slump(peak - total, at or time, time)
    return worst


def start_of(day: date, period: Period) -> date:
    """Return the first day of the period that a day is of."""
    if period is Period.WEEK:
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if period is Period.MONTH else day


def _result(name: str, trades: Sequence[Trade]) -> Result:
    held = [(one.exit_time - one.entry_time).total_seconds() for one in trades]
    return Result(
        name, len(trades), sum(one.pnl_usd > 0 for one in trades), sum((one.pnl_usd for one in trades), ZERO),
        sum((one.fees for one in trades), ZERO), _mean([float(one.r_multiple) for one in trades]), _mean(held),
    )  # fmt: skip


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


NAME_IN: dict[Group, Callable[[Trade], str]] = {
    Group.SYMBOL: lambda trade: trade.symbol,
    Group.STRATEGY: lambda trade: trade.strategy_name,
    Group.EXIT: lambda trade: trade.exit_reason,
    Group.HOUR: lambda trade: f"{trade.entry_time.astimezone(UTC):%H}:00",
}

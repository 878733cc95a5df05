"""The running net profit of trades as a bounded number of points, kept up as trades come."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from domain.reports import Slump
from domain.trade import ZERO

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal

    from domain.trade import Trade

POINTS_MAX = 1_000
EACH_MAX = 3
"""Points of a bucket: its lowest, its highest and its last."""


class Point(NamedTuple):
    """The net profit after so many trades, in quote units."""

    number: int
    time: datetime
    net: Decimal


class RunningProfit(NamedTuple):
    """Points in the order of time, and the deepest fall among all trades."""

    points: list[Point]
    slump: Slump


class EquityCurve:
    """Every trade is a point until they are too many; then so many neighbours share a bucket, extremes kept."""

    def __init__(self, most: int = POINTS_MAX) -> None:
        self._most = most
        self._seen: list[Trade] = []
        self._buckets: list[list[Point]] = []
        self._size, self._count = 1, 0
        self._total, self._peak, self._slump = ZERO, ZERO, Slump()
        self._peaked: datetime | None = None

    def follow(self, trades: list[Trade]) -> RunningProfit:
        """Return that of trades in the order of their exits; only what came since the last time is looked at."""
        known = len(self._seen)
        if trades[:known] != self._seen:
            # one was told late, or anew
            EquityCurve.__init__(self, self._most)
            known = 0
        for trade in trades[known:]:
            self.add(trade)
        self._seen = list(trades)
        return self.running()

    def running(self) -> RunningProfit:
        """Return the points and the deepest fall of what was added."""
        return RunningProfit([point for bucket in self._buckets for point in bucket], self._slump)

    def copy(self) -> EquityCurve:
        """Return the same, which goes its own way from now on."""
        other = EquityCurve(self._most)
        # a bucket is replaced when it changes
        other._buckets, other._size, other._count = self._buckets.copy(), self._size, self._count
        other._total, other._peak, other._slump, other._peaked = self._total, self._peak, self._slump, self._peaked
        return other

    def add(self, trade: Trade) -> None:
        """Take the trade that ended last."""
        self._total += trade.pnl_usd
        point = Point(self._count, trade.exit_time, self._total)
        if self._count % self._size:
            self._buckets[-1] = _extremes([*self._buckets[-1], point])
        else:
            self._buckets.append([point])
        self._count += 1
        while len(self._buckets) * min(self._size, EACH_MAX) > self._most:
            self._size *= 2
            pairs = (self._buckets[at : at + 2] for at in range(0, len(self._buckets), 2))
            self._buckets = [_extremes([one for bucket in pair for one in bucket]) for pair in pairs]
        self._fall(point)

    def _fall(self, point: Point) -> None:
        if point.net >= self._peak:
            self._peak, self._peaked = point.net, point.time
        elif self._peak - point.net > self._slump.depth:
            self._slump = Slump(self._peak - point.net, self._peaked or point.time, point.time)


def _extremes(points: list[Point]) -> list[Point]:
    low, high = min(points, key=lambda one: one.net), max(points, key=lambda one: one.net)
    return sorted({low, high, points[-1]})

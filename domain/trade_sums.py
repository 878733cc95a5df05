"""Figures over all trades that ever ended, kept up as they come: no trade has to be at hand for them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from domain.equity_curve import EquityCurve
from domain.reports import NAME_IN, Group, Period, Result, periods, start_of
from domain.statistics import TOP, Statistics, SymbolFigures
from domain.trade import ZERO

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date, datetime
    from decimal import Decimal

    from domain.equity_curve import RunningProfit
    from domain.trade import Trade


class Tally(NamedTuple):
    """What some trades made together: ``gained`` by those above zero, ``lost`` (at most zero) by all others."""

    trades: int = 0
    wins: int = 0
    gained: Decimal = ZERO
    lost: Decimal = ZERO
    fees: Decimal = ZERO
    funding: Decimal = ZERO
    r: Decimal = ZERO
    held: timedelta = timedelta()

    @property
    def pnl(self) -> Decimal:
        """Their net profit."""
        return self.gained + self.lost

    def plus(self, trade: Trade) -> Tally:
        """Return it with one more."""
        won = trade.pnl_usd > 0
        return Tally(
            self.trades + 1, self.wins + won, self.gained + trade.pnl_usd if won else self.gained,
            self.lost if won else self.lost + trade.pnl_usd, self.fees + trade.fees, self.funding + trade.funding,
            self.r + trade.r_multiple, self.held + (trade.exit_time - trade.entry_time),
        )  # fmt: skip

    def joined(self, other: Tally) -> Tally:
        """Return both together."""
        return Tally(
            self.trades + other.trades, self.wins + other.wins, self.gained + other.gained, self.lost + other.lost,
            self.fees + other.fees, self.funding + other.funding, self.r + other.r, self.held + other.held,
        )  # fmt: skip

    def result(self, name: str) -> Result:
        """Return it as people are told it."""
        if not self.trades:
            return Result(name, 0, 0, ZERO, ZERO, 0.0, 0.0)
        mean_r, held_s = float(self.r) / self.trades, self.held.total_seconds() / self.trades
        return Result(name, self.trades, self.wins, self.pnl, self.fees, mean_r, held_s)


NONE = Tally()


class TradeSums:
    """Sums over trades, which are added in the order of their exits; ``first`` and ``last`` are exit times."""

    def __init__(self, trades: Iterable[Trade] = ()) -> None:
        self._curve, self._all = EquityCurve(), NONE
        self._groups: dict[Group, dict[str, Tally]] = {group: {} for group in Group}
        self._days: dict[date, Tally] = {}
        self._best: Trade | None = None
        self._worst: Trade | None = None
        self.first: datetime | None = None
        self.last: datetime | None = None
        for trade in trades:
            self.add(trade)

    def __len__(self) -> int:
        """Return how many trades there are."""
        return self._all.trades

    def add(self, trade: Trade) -> None:
        """Take the trade that ended last."""
        self._curve.add(trade)
        self.first, self.last = self.first or trade.exit_time, trade.exit_time
        self._all = self._all.plus(trade)
        for group, held in self._groups.items():
            name = NAME_IN[group](trade)
            held[name] = held.get(name, NONE).plus(trade)
        day = trade.exit_time.date()
        self._days[day] = self._days.get(day, NONE).plus(trade)
        if self._best is None or trade.pnl_usd > self._best.pnl_usd:
            self._best = trade
        if self._worst is None or trade.pnl_usd < self._worst.pnl_usd:
            self._worst = trade

    def copy(self) -> TradeSums:
        """Return the same, which goes its own way from now on."""
        other = TradeSums()
        other._curve, other._all, other._days = self._curve.copy(), self._all, self._days.copy()
        other._groups = {group: held.copy() for group, held in self._groups.items()}
        other._best, other._worst, other.first, other.last = self._best, self._worst, self.first, self.last
        return other

    def names(self, group: Group) -> list[str]:
        """Return the symbols, strategies, kinds of exit or hours that there are."""
        return sorted(self._groups[group])

    def total(self) -> Result:
        """Return what all of them made."""
        return self._all.result("")

    def curve(self) -> RunningProfit:
        """Return the running profit, and how deep it fell."""
        return self._curve.running()

    def by_group(self, group: Group) -> list[Result]:
        """Return what each symbol, strategy, kind of exit or hour has made, the best first."""
        found = [held.result(name) for name, held in self._groups[group].items()]
        return sorted(found, key=lambda one: (-one.pnl, one.name))

    def by_period(self, period: Period, count: int, now: datetime) -> list[Result]:
        """Return the last ``count`` periods, newest first, also those without a trade."""
        begun = periods(period, count, now)
        made = dict.fromkeys(begun, NONE)
        for day, held in self._days.items():
            first = start_of(day, period)
            if first in made:
                made[first] = made[first].joined(held)
        return [made[first].result(first.isoformat()) for first in begun]

    def statistics(self) -> Statistics:
        """Return the figures of all of them."""
        made, days = self._all, len(self._days)
        if not made.trades:
            return Statistics()
        by_symbol = {
            name: SymbolFigures(held.trades, held.pnl, held.wins, 100 * held.wins / held.trades)
            for name, held in self._groups[Group.SYMBOL].items()
        }
        ranked = sorted(by_symbol.items(), key=lambda item: (-item[1].pnl, item[0]))
        losses = made.trades - made.wins
        return Statistics(
            total_trades=made.trades, wins=made.wins, losses=losses, win_rate=100 * made.wins / made.trades,
            total_pnl=made.pnl, avg_win=made.gained / made.wins if made.wins else ZERO,
            avg_loss=made.lost / losses if losses else ZERO,
            profit_factor=float(made.gained / -made.lost) if made.lost else None,
            best_trade=self._best, worst_trade=self._worst, trading_days=days, daily_avg=made.pnl / days,
            total_fees=made.fees, total_funding=made.funding, top_symbols=tuple(ranked[:TOP]),
            worst_symbols=tuple(ranked[::-1][:TOP]), by_symbol=by_symbol,
        )  # fmt: skip

"""Figures over finished trades, and the text they are shown as."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from domain.trade import ZERO

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from domain.trade import Trade

TOP = 5


@dataclass(frozen=True, slots=True)
class SymbolFigures:
    """Results of one symbol; ``win_rate`` in percent."""

    trades: int
    pnl: Decimal
    wins: int
    win_rate: float


@dataclass(frozen=True, slots=True)
class Statistics:
    """Results of many trades.

    Wins have a net profit above zero, all others are losses. ``profit_factor`` is gross gain over gross loss,
    None while there are no losses. ``trading_days`` counts the UTC days on which a trade ended.
    """

    total_trades: int = 0
    wins: int = 0
    losses: int = 0
    win_rate: float = 0.0
    total_pnl: Decimal = ZERO
    avg_win: Decimal = ZERO
    avg_loss: Decimal = ZERO
    profit_factor: float | None = None
    best_trade: Trade | None = None
    worst_trade: Trade | None = None
    trading_days: int = 1
    daily_avg: Decimal = ZERO
    total_fees: Decimal = ZERO
    total_funding: Decimal = ZERO
    top_symbols: tuple[tuple[str, SymbolFigures], ...] = ()
    worst_symbols: tuple[tuple[str, SymbolFigures], ...] = ()
    by_symbol: dict[str, SymbolFigures] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        """Return a figure by its name, as of a dictionary. Raises KeyError with the names that there are."""
        if name not in self.__dataclass_fields__:
            raise KeyError(f"{name}: there are {', '.join(self.__dataclass_fields__)}")
        return getattr(self, name)


def summarise(trades: Sequence[Trade]) -> Statistics:
    """Compute the figures of the given trades."""
    if not trades:
        return Statistics()
    gains = [t.pnl_usd for t in trades if t.pnl_usd > 0]
    drops = [t.pnl_usd for t in trades if t.pnl_usd <= 0]
    lost = -sum(drops, ZERO)
    total = sum((t.pnl_usd for t in trades), ZERO)
    days = len({t.exit_time.date() for t in trades})
    by_symbol = {symbol: _figures(group) for symbol, group in _by_symbol(trades).items()}
    ranked = sorted(by_symbol.items(), key=lambda item: (-item[1].pnl, item[0]))
    return Statistics(
        total_trades=len(trades),
        wins=len(gains),
        losses=len(drops),
        win_rate=100 * len(gains) / len(trades),
        total_pnl=total,
        avg_win=_mean(gains),
        avg_loss=_mean(drops),
        profit_factor=float(sum(gains, ZERO) / lost) if lost else None,
        best_trade=max(trades, key=lambda t: t.pnl_usd),
        worst_trade=min(trades, key=lambda t: t.pnl_usd),
        trading_days=days,
        daily_avg=total / days,
        total_fees=sum((t.fees for t in trades), ZERO),
        total_funding=sum((t.funding for t in trades), ZERO),
        top_symbols=tuple(ranked[:TOP]),
        worst_symbols=tuple(ranked[::-1][:TOP]),
        by_symbol=by_symbol,
    )


def describe(stats: Statistics, days: int | None) -> str:
    """Return the figures as a message in Telegram's Markdown."""
    if not stats.total_trades:
        return "📊 *No trades recorded yet*"
    period = f"Last {days} days" if days else "All time"
    lines = [
        f"📊 *Trading Statistics - {period}*",
        "",
        "*Performance Overview*",
        f"Total Trades: {stats.total_trades}",
        f"Wins/Losses: {stats.wins}/{stats.losses}",
        f"Win Rate: {stats.win_rate:.1f}%",
        f"Total PnL: {_money(stats.total_pnl)}",
        f"Fees: {_money(stats.total_fees)}, Funding: {_money(stats.total_funding)}",
        f"Daily Average: {_money(stats.daily_avg)}",
        "",
        "*Risk Metrics*",
        f"Avg Win: {_money(stats.avg_win)}",
        f"Avg Loss: {_money(stats.avg_loss)}",
        f"Profit Factor: {_factor(stats.profit_factor)}",
    ]
    for title, trade in (("Best Trade", stats.best_trade), ("Worst Trade", stats.worst_trade)):
        if trade and (title == "Best Trade" or trade.pnl_usd < 0):
            lines += ["", f"*{title}*", f"{trade.symbol} {trade.side} {_money(trade.pnl_usd)}"]
    lines += ["", "*Top Symbols*"]
    lines += [
        f"{symbol}: {_money(held.pnl)} ({held.trades} trades, {held.win_rate:.0f}% WR)"
        for symbol, held in stats.top_symbols[:3]
    ]
    return "\n".join(lines)


def _figures(group: Sequence[Trade]) -> SymbolFigures:
    wins = sum(t.pnl_usd > 0 for t in group)
    return SymbolFigures(len(group), sum((t.pnl_usd for t in group), ZERO), wins, 100 * wins / len(group))


def _by_symbol(trades: Iterable[Trade]) -> dict[str, list[Trade]]:
    groups: dict[str, list[Trade]] = {}
    for trade in trades:
        groups.setdefault(trade.symbol, []).append(trade)
    return groups


def _mean(values: Sequence[Decimal]) -> Decimal:
    return sum(values, ZERO) / len(values) if values else ZERO


def _money(value: Decimal) -> str:
    return f"{'-' if value < 0 else ''}${abs(value):,.2f}"


def _factor(value: float | None) -> str:
    if value is None:
        return "∞ (no losses)"
    return ">100" if value > 100 else f"{value:.2f}"  # noqa: PLR2004  the seeds' own wording

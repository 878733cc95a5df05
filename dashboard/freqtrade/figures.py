"""What closed trades made, in freqtrade's shapes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from dashboard.freqtrade.trades import FORMAT, profit
from domain.durations import DAY_MS, HOUR_MS, MINUTE_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from domain.reports import Result
    from domain.trade import Trade

SURE = 100.0
"""What freqtrade calls the expectancy ratio of trades that never lost."""


class Money(NamedTuple):
    """The equity of the moment and what open positions have made of it, in quote units."""

    equity: float
    open_pnl: float

    def start(self, made: float) -> float:
        """Return what the account had before trades made something."""
        return self.equity - self.open_pnl - made


class Fall(NamedTuple):
    """The deepest fall of the account: share of its peak, money, from when to when."""

    ratio: float = 0.0
    money: float = 0.0
    since: datetime | None = None
    until: datetime | None = None


def ratio_of(trade: Trade) -> float:
    """Return a trade's profit as a ratio of its stake."""
    return float(trade.pnl_percent) / 100


def by(trades: Iterable[Trade], key: Callable[[Trade], str], name: str) -> list[dict[str, Any]]:
    """Return what groups of trades made, the best first."""
    groups: dict[str, list[Trade]] = {}
    for trade in trades:
        groups.setdefault(key(trade), []).append(trade)
    rows = [
        {name: group, **profit(sum(map(ratio_of, held)), float(sum(one.pnl_usd for one in held))), "count": len(held)}
        for group, held in groups.items()
    ]
    return sorted(rows, key=lambda row: (-row["profit_abs"], row[name]))


def outcome(trade: Trade) -> str:
    """Return what freqtrade counts a trade as."""
    return "wins" if trade.pnl_usd > 0 else "losses" if trade.pnl_usd < 0 else "draws"


def stats(trades: Iterable[Trade]) -> dict[str, Any]:
    """Return how trades ended, and how long they took on average (seconds)."""
    reasons: dict[str, dict[str, int]] = {}
    times: dict[str, list[float]] = {"wins": [], "draws": [], "losses": []}
    for trade in trades:
        counted = reasons.setdefault(trade.exit_reason, {"wins": 0, "losses": 0, "draws": 0})
        counted[outcome(trade)] += 1
        times[outcome(trade)].append((trade.exit_time - trade.entry_time).total_seconds())
    means = {name: sum(held) / len(held) if held else None for name, held in times.items()}
    return {"exit_reasons": reasons, "durations": means}


def periods(results: Iterable[Result], money: Money, currency: str) -> dict[str, Any]:
    """Return what periods made, newest first, of what the account had when each began."""
    had, rows = money.start(0.0), []
    for one in results:
        made = float(one.pnl)
        had -= made
        rows.append({
            "date": one.name, "abs_profit": made, "rel_profit": round(made / had, 8) if had > 0 else 0.0,
            "starting_balance": had, "fiat_value": 0.0, "trade_count": one.trades,
        })  # fmt: skip
    return {"data": rows, "fiat_display_currency": "", "stake_currency": currency}


def totals(
    trades: Sequence[Trade], positions: Sequence[Mapping[str, Any]], money: Money, begun: datetime, now: datetime
) -> dict[str, Any]:
    """Return the profit of trades and of open positions; ``money`` is the whole account's.

    Args:
        trades: closed trades in the order of their exits.
        positions: open ones in freqtrade's shape.
        money: of the account.
        begun: when the bot was started.
        now: market time.
    """
    made = [float(one.pnl_usd) for one in trades]
    start = money.start(sum(made))
    ratios = [ratio_of(one) for one in trades]
    every = [*ratios, *(one["profit_ratio"] for one in positions)]
    opened = sorted([one.entry_time for one in trades] + [_time(one["open_timestamp"]) for one in positions])
    held = sum(((one.exit_time - one.entry_time) for one in trades), timedelta())
    best = max(by(trades, lambda one: one.symbol, "pair"), key=lambda row: row["profit_ratio"], default=None)
    return {
        **_sums("closed", ratios, sum(made), start), **_sums("all", every, sum(made) + money.open_pnl, start),
        "trade_count": len(every), "closed_trade_count": len(trades),
        **_first("first_trade", opened[0] if opened else None, now),
        **_first("latest_trade", opened[-1] if opened else None, now),
        "avg_duration": str(held / (len(trades) or 1)).partition(".")[0],
        "best_pair": best["pair"] if best else "", "best_rate": best["profit_pct"] if best else 0.0,
        "best_pair_profit_ratio": best["profit_ratio"] if best else 0.0,
        "best_pair_profit_abs": best["profit_abs"] if best else 0.0,
        **_chances(made), **_fallen(fall(trades, start)),
        "trading_volume": float(sum(one.quantity * (one.entry_price + one.exit_price) for one in trades)),
        "bot_start_timestamp": int(begun.timestamp() * 1000), "bot_start_date": f"{begun:{FORMAT}}",
    }  # fmt: skip


def fall(trades: Iterable[Trade], start: float) -> Fall:
    """Return the deepest fall of an account that began with so much, by its closed trades."""
    had = peak = start
    since, worst = None, Fall()
    for trade in trades:
        had += float(trade.pnl_usd)
        if had >= peak:
            peak, since = had, trade.exit_time
        elif peak - had > worst.money:
            worst = Fall(
                (peak - had) / peak if peak > 0 else 0.0, peak - had, since or trade.exit_time, trade.exit_time
            )
    return worst


def ago(time: datetime, now: datetime) -> str:
    """Return how long ago a time was, in words."""
    ms = max(0, int((now - time).total_seconds() * 1000))
    for unit, name in ((DAY_MS, "day"), (HOUR_MS, "hour"), (MINUTE_MS, "minute")):
        if ms >= unit:
            count = ms // unit
            return f"{count} {name}{'s' if count > 1 else ''} ago"
    return "just now"


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def _sums(which: str, ratios: Sequence[float], made: float, start: float) -> dict[str, float]:
    mean, whole = sum(ratios) / len(ratios) if ratios else 0.0, made / start if start > 0 else 0.0
    name = f"profit_{which}"
    return {
        f"{name}_coin": round(made, 8), f"{name}_percent_mean": round(100 * mean, 2), f"{name}_ratio_mean": mean,
        f"{name}_percent_sum": round(100 * sum(ratios), 2), f"{name}_ratio_sum": sum(ratios),
        f"{name}_percent": round(100 * whole, 2), f"{name}_ratio": whole, f"{name}_fiat": 0.0,
    }  # fmt: skip


def _first(name: str, time: datetime | None, now: datetime) -> dict[str, Any]:
    if time is None:
        return {f"{name}_date": "", f"{name}_humanized": "", f"{name}_timestamp": 0}
    return {f"{name}_date": f"{time:{FORMAT}}", f"{name}_humanized": ago(time, now),
            f"{name}_timestamp": int(time.timestamp() * 1000)}  # fmt: skip


def _chances(made: Sequence[float]) -> dict[str, Any]:
    gains, drops = [one for one in made if one >= 0], [-one for one in made if one < 0]
    won, lost = sum(gains), sum(drops)
    rate = len(gains) / len(made) if made else 0.0
    gain, drop = won / len(gains) if gains else 0.0, lost / len(drops) if drops else 0.0
    return {
        "winning_trades": len(gains), "losing_trades": len(drops), "profit_factor": won / lost if lost else None,
        "winrate": rate, "expectancy": rate * gain - (1 - rate) * drop if made else 0.0,
        "expectancy_ratio": (1 + gain / drop) * rate - 1 if drop else SURE if made else 0.0,
    }  # fmt: skip


def _fallen(worst: Fall) -> dict[str, Any]:
    told: dict[str, Any] = {"max_drawdown": worst.ratio, "max_drawdown_abs": worst.money}
    for name, time in (("start", worst.since), ("end", worst.until)):
        told[f"max_drawdown_{name}"] = f"{time:{FORMAT}}" if time else ""
        told[f"max_drawdown_{name}_timestamp"] = int(time.timestamp() * 1000) if time else 0
    return told

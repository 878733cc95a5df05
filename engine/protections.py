"""freqtrade's protections: reasons, drawn from closed trades, to make no entry for a while.

They are computed from the trades themselves, so a restart forgets nothing.
Source of the terms: freqtrade, Protections (StoplossGuard, MaxDrawdown, LowProfitPairs, CooldownPeriod).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from domain.durations import MINUTE_MS
from domain.order import Cause
from domain.trade import ZERO
from engine.closed_trades import EVERY, ClosedTrades

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from domain.trade import Trade

STOPS = {Cause.STOP_LOSS.value, Cause.LIQUIDATION.value}


@dataclass(frozen=True, slots=True)
class Protection:
    """One protection; times in market milliseconds, ``equity`` is what drawdown is a fraction of."""

    method: str
    lookback_ms: int
    trade_limit: int
    stop_ms: int
    only_per_pair: bool
    required_profit: Decimal
    max_drawdown: Decimal

    @property
    def per_pair(self) -> bool:
        """Whether it holds for the symbol whose trades it looks at, and for no other."""
        return self.only_per_pair or self.method in {"CooldownPeriod", "LowProfitPairs"}


class Lock(NamedTuple):
    """A protection that forbids entries in a symbol, "*" for all, until a market time (UTC ms)."""

    symbol: str
    method: str
    until: int


def blocked(
    protections: Sequence[Protection], closed: Sequence[Trade], symbol: str, now: int, equity: Decimal
) -> str | None:
    """Say which protection forbids an entry in a symbol at market time ``now``, None when none does.

    ``closed`` holds closed trades in the order of their exits. A protection is judged at the exit of each trade,
    and then holds for its stop duration.
    """
    held = ClosedTrades.of(closed)
    for protection in protections:
        until = _locked_until(protection, held, symbol, now, equity)
        if until is not None:
            return f"{protection.method} for {(until - now) // MINUTE_MS} more minutes"
    return None


def locks(
    protections: Sequence[Protection], closed: Sequence[Trade], symbols: Iterable[str], now: int, equity: Decimal
) -> list[Lock]:
    """Return every protection that forbids entries at market time ``now``: those of all symbols once, the rest by one.

    ``closed`` holds closed trades in the order of their exits.
    """
    found, held = [], ClosedTrades.of(closed)
    for protection in protections:
        for symbol in symbols if protection.per_pair else ("*",):
            until = _locked_until(protection, held, symbol, now, equity)
            if until is not None:
                found.append(Lock(symbol, protection.method, until))
    return found


def _locked_until(protection: Protection, closed: ClosedTrades, symbol: str, now: int, equity: Decimal) -> int | None:
    """Look back only as far as a lock can reach; what each trade's window says is found out once."""
    line, judge = closed.line(symbol if protection.per_pair else EVERY), _METHODS[protection.method]
    for later, ended in line.newest_first():
        if ended.at > now:
            continue
        if ended.at + protection.stop_ms <= now:
            return None
        verdict = line.judged(protection, later, ended.at - protection.lookback_ms, partial(judge, protection))
        if verdict is True or (verdict and equity > 0 and verdict / equity > protection.max_drawdown):
            return ended.at + protection.stop_ms
    return None


def _stoploss_guard(protection: Protection, window: Sequence[Trade]) -> bool:
    lost = [t for t in window if t.exit_reason in STOPS and t.pnl_usd < 0]
    return bool(lost) and lost[-1] is window[-1] and len(lost) >= protection.trade_limit


def _max_drawdown(protection: Protection, window: Sequence[Trade]) -> Decimal:
    """Return the worst fall, in quote units: whether it is too deep depends on the equity of the moment."""
    total = peak = worst = ZERO
    for trade in window if len(window) >= protection.trade_limit else ():
        total += trade.pnl_usd
        peak = max(peak, total)
        worst = max(worst, peak - total)
    return worst


def _low_profit(protection: Protection, window: Sequence[Trade]) -> bool:
    profit = sum((t.pnl_percent / t.leverage for t in window), ZERO)
    return len(window) >= protection.trade_limit and profit < protection.required_profit


def _cooldown(_: Protection, window: Sequence[Trade]) -> bool:
    return bool(window)


_METHODS: dict[str, Callable[[Protection, Sequence[Trade]], bool | Decimal]] = {
    "StoplossGuard": _stoploss_guard,
    "MaxDrawdown": _max_drawdown,
    "LowProfitPairs": _low_profit,
    "CooldownPeriod": _cooldown,
}

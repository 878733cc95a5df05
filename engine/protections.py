"""freqtrade's protections: reasons, drawn from closed trades, to make no entry for a while.

They are computed from the trades themselves whenever they are asked, so a restart forgets nothing.
Source of the terms: freqtrade, Protections (StoplossGuard, MaxDrawdown, LowProfitPairs, CooldownPeriod).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from domain.order import Cause
from domain.trade import ZERO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from domain.trade import Trade

MINUTE_MS = 60_000
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
    for protection in protections:
        until = _locked_until(protection, closed, symbol, now, equity)
        if until is not None:
            return f"{protection.method} for {(until - now) // MINUTE_MS} more minutes"
    return None


def locks(
    protections: Sequence[Protection], closed: Sequence[Trade], symbols: Iterable[str], now: int, equity: Decimal
) -> list[Lock]:
    """Return every protection that forbids entries at market time ``now``: those of all symbols once, the rest by one.

    ``closed`` holds closed trades in the order of their exits.
    """
    found = []
    for protection in protections:
        for symbol in symbols if _per_pair(protection) else ("*",):
            until = _locked_until(protection, closed, symbol, now, equity)
            if until is not None:
                found.append(Lock(symbol, protection.method, until))
    return found


def _per_pair(protection: Protection) -> bool:
    return protection.only_per_pair or protection.method in {"CooldownPeriod", "LowProfitPairs"}


def _locked_until(
    protection: Protection, closed: Sequence[Trade], symbol: str, now: int, equity: Decimal
) -> int | None:
    per_pair = _per_pair(protection)
    relevant = [t for t in closed if not per_pair or t.symbol == symbol]
    triggered = _METHODS[protection.method]
    for i in range(len(relevant) - 1, -1, -1):
        at = _exit(relevant[i])
        if at > now:
            continue
        if at + protection.stop_ms <= now:
            return None
        window = [t for t in relevant[: i + 1] if _exit(t) > at - protection.lookback_ms]
        if triggered(protection, window, equity):
            return at + protection.stop_ms
    return None


def _stoploss_guard(protection: Protection, window: Sequence[Trade], _: Decimal) -> bool:
    lost = [t for t in window if t.exit_reason in STOPS and t.pnl_usd < 0]
    return bool(lost) and lost[-1] is window[-1] and len(lost) >= protection.trade_limit


def _max_drawdown(protection: Protection, window: Sequence[Trade], equity: Decimal) -> bool:
    if len(window) < protection.trade_limit or equity <= 0:
        return False
    total = peak = worst = ZERO
    for trade in window:
        total += trade.pnl_usd
        peak = max(peak, total)
        worst = max(worst, peak - total)
    return worst / equity > protection.max_drawdown


def _low_profit(protection: Protection, window: Sequence[Trade], _: Decimal) -> bool:
    profit = sum((t.pnl_percent / t.leverage for t in window), ZERO)
    return len(window) >= protection.trade_limit and profit < protection.required_profit


def _cooldown(_: Protection, window: Sequence[Trade], __: Decimal) -> bool:
    return bool(window)


def _exit(trade: Trade) -> int:
    return round(trade.exit_time.timestamp() * 1000)


_METHODS: dict[str, Callable[[Protection, Sequence[Trade], Decimal], bool]] = {
    "StoplossGuard": _stoploss_guard,
    "MaxDrawdown": _max_drawdown,
    "LowProfitPairs": _low_profit,
    "CooldownPeriod": _cooldown,
}

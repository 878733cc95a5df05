"""The limits in force: what is configured, and what the operator has changed since, which outlives restarts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from domain.errors import BadData
from domain.records import Adjusted
from engine.closed_trades import ClosedTrades
from engine.protections import Lock, locks

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from decimal import Decimal

    from domain.trade import Trade
    from engine.risk import RiskLimits

EVERYTHING = "*"
RISK_MAX = 10


class Adjustments:
    """Knows the limits and the blacklist of the moment; ``made`` is what the operator has changed."""

    def __init__(self, configured: RiskLimits, blacklist: Collection[str] = ()) -> None:
        self._configured, self._blacklist = configured, frozenset(blacklist)
        self.made = Adjusted(time=0)
        self.limits = configured

    @property
    def banned(self) -> list[str]:
        """Every symbol that takes no new entries, configured or by word."""
        return sorted({*self._blacklist, *self.made.banned})

    @property
    def configured_percent(self) -> Decimal:
        """The configured risk per trade, in percent of the equity."""
        return self._configured.percent

    def configure(self, limits: RiskLimits, blacklist: Collection[str]) -> None:
        """Take what the configuration says now; what was changed by word stays on top of it."""
        self._configured, self._blacklist = limits, frozenset(blacklist)
        self.restore(self.made)

    def restore(self, made: Adjusted) -> None:
        """Take what was changed before."""
        self.made = made
        risk = made.risk_percent
        self.limits = self._configured if risk is None else replace(self._configured, percent=risk)

    def limits_of(self, risk_percent: Decimal | None, leverage: Decimal | None) -> RiskLimits:
        """Return the limits of a strategy that has some of its own.

        Its risk stands in for the configured one; one that the operator has set meanwhile is never exceeded.
        """
        if risk_percent is None and leverage is None:
            return self.limits
        percent = self.limits.percent if risk_percent is None else risk_percent
        if self.made.risk_percent is not None:
            percent = min(percent, self.made.risk_percent)
        most = self.limits.leverage if leverage is None else min(leverage, self.limits.leverage)
        return replace(self.limits, percent=percent, leverage=most)

    def refuses(self, symbol: str) -> bool:
        """Say whether a symbol takes no new entries."""
        return symbol in self._blacklist or symbol in self.made.banned

    def counted(self, closed: ClosedTrades, symbol: str) -> ClosedTrades:
        """Return the closed trades that count for the protections of a symbol."""
        after = max(self.made.unlocked.get(symbol, 0), self.made.unlocked.get(EVERYTHING, 0))
        return closed.since(after)

    def locks(self, closed: Sequence[Trade], symbols: Iterable[str], now: int, equity: Decimal) -> list[Lock]:
        """Return what forbids entries at a market time."""
        ended = ClosedTrades.of(closed)
        whole = [one for one in self.limits.protections if not one.per_pair]
        rest = [one for one in self.limits.protections if one.per_pair]
        found = locks(whole, self.counted(ended, EVERYTHING), (), now, equity)
        for symbol in sorted(symbols):
            found += locks(rest, self.counted(ended, symbol), (symbol,), now, equity)
        return found

    def with_risk(self, percent: Decimal | None, now: int) -> Adjusted:
        """Return what a new risk per trade leads to, None for the configured one.

        Raises:
            BadData: for a risk that no configuration may have either.
        """
        if percent is not None and not 0 < percent <= RISK_MAX:
            raise BadData(f"risk {percent}: give more than 0 and at most {RISK_MAX} percent of the equity")
        return self._changed(now, risk_percent=percent)

    def with_banned(self, symbols: Iterable[str], now: int) -> Adjusted:
        """Return what banning symbols leads to."""
        return self._changed(now, banned=tuple(sorted({*self.made.banned, *symbols})))

    def without_banned(self, symbols: Collection[str], now: int) -> Adjusted:
        """Return what letting symbols in again leads to.

        Raises:
            BadData: for one that the configuration bans, or nothing does.
        """
        for symbol in symbols:
            if symbol in self._blacklist:
                raise BadData(f"{symbol} is on the configuration's blacklist; take it off there, then reload")
            if symbol not in self.made.banned:
                raise BadData(f"{symbol} is not on the blacklist")
        return self._changed(now, banned=tuple(one for one in self.made.banned if one not in symbols))

    def with_unlocked(self, symbol: str, now: int) -> Adjusted:
        """Return what lifting the protections of a symbol, or of all, leads to."""
        return self._changed(now, unlocked={**self.made.unlocked, symbol: now})

    def _changed(self, now: int, **values: object) -> Adjusted:
        return msgspec.structs.replace(self.made, time=now, **values)

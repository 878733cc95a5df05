"""Follows the leverage that the exchange shows of our open positions: somebody may change it by hand."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Protocol

import msgspec
import structlog

from domain.records import LeverageChanged

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from domain.order import PositionReport
    from domain.records import Receipt, Record
    from engine.trader import Trader

log = structlog.get_logger(__name__)


class Scribe(Protocol):
    """Who writes records down."""

    def market_time(self) -> int:
        """Return the market time."""
        ...

    async def append(self, record: Record) -> Receipt:
        """Write a record down."""
        ...


class Releveraged(msgspec.Struct, frozen=True):
    """A position that stands at another leverage than before.

    ``liquidation`` is the price at which it would be liquidated where that comes before its ``stop``, else 0.
    """

    symbol: str
    digest: str
    before: Decimal
    leverage: Decimal
    stop: Decimal
    liquidation: Decimal = Decimal(0)


class Leverages:
    """Has the book follow: what a position ties up, and its trade, are reckoned by the leverage that it stands at.

    The leverage itself is left as somebody wanted it; each change is told once.
    """

    def __init__(
        self, trader: Trader, scribe: Scribe, told: Callable[[str, object], None] = lambda _kind, _what: None
    ) -> None:
        self._trader, self._scribe, self._told = trader, scribe, told
        self._sights: dict[str, Decimal] = {}

    async def look(self, reported: Mapping[str, PositionReport]) -> None:
        """Compare the leverage of each position of ours with what the exchange lists; zero is no leverage.

        A list that shows another quantity may be older than the position: it is believed the second time.
        """
        earlier, self._sights = self._sights, {}
        for held in self._trader.book.positions():
            there = reported.get(held.symbol)
            if held.pending or held.flat or there is None or there.leverage in {0, held.leverage}:
                continue
            if abs(there.qty) != held.qty and earlier.get(held.digest) != there.leverage:
                self._sights[held.digest] = there.leverage
                continue
            before, sign = held.leverage, held.opening.side.sign
            record = LeverageChanged(
                time=self._scribe.market_time(), digest=held.digest, symbol=held.symbol, leverage=there.leverage
            )
            await self._scribe.append(record)
            self._trader.book.apply(record)
            first = there.liquidation if sign * (held.bracket.stop - there.liquidation) <= 0 else Decimal(0)
            log.warning("leverage of a position was changed by hand", symbol=held.symbol, before=str(before),
                        leverage=str(there.leverage), liquidated_before_stop=str(first) if first else "no")  # fmt: skip
            self._trader.counts["touch:leverage_changed"] += 1
            self._told("leverage", Releveraged(
                held.symbol, held.digest, before, there.leverage, held.bracket.stop, first
            ))  # fmt: skip

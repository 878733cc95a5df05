"""What the chat needs of the running bot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from engine.desk import CommonDesk

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from domain.notice import Loudness, Notice
    from domain.reports import Slump
    from domain.trade import Trade
    from domain.trade_sums import TradeSums


class Desk(CommonDesk, Protocol):
    """Answers and acts. Calls raise BadData for what cannot be, Unavailable for what cannot be now."""

    @property
    def loudness(self) -> Mapping[Notice, Loudness]:
        """How each kind of event is told."""
        ...

    async def newest(self, count: int) -> list[Trade]:
        """Return the trades that closed last, the newest last."""
        ...

    async def sums(self, days: int | None) -> TradeSums:
        """Return the sums over closed trades."""
        ...

    async def slump(self, days: int | None) -> Slump:
        """Return the deepest fall of the running profit."""
        ...

    def risk(self) -> dict[str, Any]:
        """Return how much a trade may lose."""
        ...

    async def set_risk(self, percent: Decimal | None, reason: str) -> None:
        """Set how much a trade may lose, None for what is configured."""
        ...

    async def db_stats(self) -> dict[str, Any]:
        """Return every tier."""
        ...

    async def coverage(self, symbol: str | None) -> list[dict[str, Any]]:
        """Return how complete the stored candles are."""
        ...

    async def chart(self, symbol: str, timeframe: str) -> bytes:
        """Return a picture of a series with what was done on it."""
        ...

    async def equity(self, days: int | None = None) -> bytes:
        """Return a picture of the running profit."""
        ...

"""When the exchange's API key ends: looked at every few hours, so that nobody is surprised."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from domain.errors import RevenantError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import Any

log = structlog.get_logger(__name__)

NOTICE_DAYS = 14
"""From how many days before its end on a key's end is announced."""

LOOK_S = 6 * 3600.0
AGAIN_S = 300.0


class KeyWatch:
    """Asks the exchange when the key ends; ``facts`` is :meth:`BybitBroker.account_facts`."""

    def __init__(
        self, facts: Callable[[], Awaitable[Mapping[str, Any]]], now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._facts, self._now = facts, now
        self._ends: datetime | None = None

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(LOOK_S if await self.look() else AGAIN_S)

    async def look(self) -> bool:
        """Ask once, and warn in the log when the end is near; return whether the exchange answered."""
        try:
            self._ends = (await self._facts())["expires"]
        except RevenantError as error:
            log.info("the exchange does not tell when the API key ends: asked again later", reason=str(error))
            return False
        left = self.days()
        if left is not None and left <= NOTICE_DAYS:
            log.warning("the API key ends soon", ends=self._ends, days=round(left, 1), do="make a new one")
        return True

    def days(self) -> float | None:
        """Return the days that are left; None when the key does not end, or nobody knows."""
        return None if self._ends is None else (self._ends - self._now()) / timedelta(days=1)


def ends(key: Mapping[str, Any]) -> datetime | None:
    """Return when a key ends, from Bybit's ``/v5/user/query-api``; None for one bound to addresses, which does not.

    Raises:
        ValueError: when the time cannot be read.
    """
    expiry = str(key.get("expiredAt") or "")
    end = datetime.fromisoformat(expiry) if expiry else None
    # a time without a zone is UTC, as all times of the exchange are
    end = end.replace(tzinfo=end.tzinfo or UTC) if end is not None else None
    # Bybit tells 1970 of keys that do not end
    return end if end is not None and end.timestamp() > 0 else None

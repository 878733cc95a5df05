"""The market time of this moment, also while the market tells nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class MarketClock:
    """Goes on from the newest time that was told at the pace of the host's clock, until more is told.

    No market goes slower than that, so it is never ahead; it needs a running event loop.
    """

    def __init__(self, told: Callable[[], int]) -> None:
        self._told = told
        self._newest, self._at = 0, 0.0

    def told(self) -> int:
        """Return the newest time that the market has told (UTC ms)."""
        newest = self._told()
        if newest > self._newest:
            self._newest, self._at = newest, asyncio.get_running_loop().time()
        return newest

    def now(self) -> int:
        """Return what time it is at the market, at the least (UTC ms)."""
        self.told()
        return self._newest + int((asyncio.get_running_loop().time() - self._at) * 1000)

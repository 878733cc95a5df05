"""Disconnection protection: orders are cancelled when every private stream that asked for it has been gone for a while.

Source: docs, order/dcp and websocket/private/dcp.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

DERIVATIVES = "DERIVATIVES"
TOPICS = {"dcp.future": DERIVATIVES, "dcp.spot": "SPOT", "dcp.option": "OPTIONS"}


class Dcp:
    """The windows (host's seconds) by product, kept by ``put``; ``cancel`` cancels all derivatives orders."""

    def __init__(self, kept: str | None, put: Callable[[str], None], cancel: Callable[[], None]) -> None:
        self.windows = msgspec.json.decode(kept or "{}", type=dict[str, int])
        self._put, self._cancel = put, cancel
        self._timer: asyncio.TimerHandle | None = None

    def set(self, product: str, window: int) -> None:
        """Protect a product with a window in seconds."""
        self.windows[product] = window
        self._put(msgspec.json.encode(self.windows).decode())

    def connected(self) -> None:
        """Take that a stream with dcp.future is there."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def gone(self) -> None:
        """Take that the last stream with dcp.future has gone."""
        window = self.windows.get(DERIVATIVES)
        if window is not None and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(window, self._due)

    def _due(self) -> None:
        self._timer = None
        self._cancel()

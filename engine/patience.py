"""Requests for lists: one that fails quickly is sent again, so that not all of a comparison begins anew."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, TypeVar

from domain.backoff import Backoff
from domain.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from domain.order import ClosedPart, OpenOrder, OrderReport, PositionReport
    from domain.ports import Lists
    from domain.records import Fill

T = TypeVar("T")

ATTEMPTS = 3
PAUSE = Backoff(0.2, 0.4)
QUICK_S = 1.0
"""A failure that took longer is not repeated here: what hangs would hold up everything else."""


class Patient:
    """Asks for lists, a few times where that fails; a comparison is a chain of such requests."""

    def __init__(self, lists: Lists) -> None:
        self._lists = lists
        self._jitter = random.Random()  # noqa: S311  spreads repeats, guards nothing

    async def positions(self) -> list[PositionReport]:
        """Return all open positions. Raises Unavailable."""
        return await self._ask(self._lists.positions)

    async def flat(self, symbol: str) -> bool:
        """Return whether the exchange says that there is no position. Raises Unavailable or Rejected."""
        return await self._ask(self._lists.flat, symbol)

    async def order(self, symbol: str, order_id: str) -> OrderReport:
        """Look an order up by our id. Raises Unavailable or Rejected."""
        return await self._ask(self._lists.order, symbol, order_id)

    async def fills_since(self, time: int, until: int, symbol: str = "") -> list[Fill]:
        """Return every execution with a market time in [time, until] (UTC ms). Raises Unavailable."""
        return await self._ask(self._lists.fills_since, time, until, symbol)

    async def closed_since(self, time: int, until: int, symbol: str) -> list[ClosedPart]:
        """Return what the exchange has booked as closed in [time, until] (UTC ms). Raises Unavailable."""
        return await self._ask(self._lists.closed_since, time, until, symbol)

    async def open_orders(self) -> list[OpenOrder]:
        """Return every working order that carries an id of ours. Raises Unavailable."""
        return await self._ask(self._lists.open_orders)

    async def _ask(self, request: Callable[..., Awaitable[T]], *asked_for: object) -> T:
        loop = asyncio.get_running_loop()
        for attempt in range(1, ATTEMPTS):
            asked = loop.time()
            try:
                return await request(*asked_for)
            except Unavailable:
                if loop.time() - asked > QUICK_S:
                    raise
                await asyncio.sleep(PAUSE.wait_s(attempt, self._jitter.uniform))
        return await request(*asked_for)

"""Tells somebody outside that the bot is able to trade, and says nothing while it is not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp
import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger(__name__)

ANSWER_S = 10.0


class Heartbeat:
    """Asks an address again and again while ``reasons`` gives no reason against trading."""

    def __init__(self, url: str, every_s: float, reasons: Callable[[], list[str]]) -> None:
        self._url, self._every_s, self._reasons = url, every_s, reasons
        self.heard = 0
        self._failing = False

    async def run(self) -> None:
        """Go on until cancelled."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(ANSWER_S)) as session:
            while True:
                if not self._reasons():
                    await self._beat(session)
                await asyncio.sleep(self._every_s)

    async def _beat(self, session: aiohttp.ClientSession) -> None:
        try:
            async with session.get(self._url) as answer:
                answer.raise_for_status()
        except (aiohttp.ClientError, TimeoutError) as error:
            # the address is a secret, and errors repeat it
            if not self._failing:
                log.warning("the heartbeat is not heard", kind=type(error).__name__)
            self._failing = True
        else:
            self.heard += 1
            self._failing = False

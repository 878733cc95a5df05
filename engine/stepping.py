"""Markets that wait for the bot: they go on when it says that it has handled what they showed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.parts import Parts, Progress

STEP_LOOK_S = 0.05
STEP_LOST_S = 30.0


async def keep_stepping(parts: Parts, progress: Progress, market_time: Callable[[], int]) -> None:
    """Ask a stepping market for its first bars once we listen, and again if a step got lost on the way."""
    loop = asyncio.get_running_loop()
    while not parts.feed.connected():
        await asyncio.sleep(STEP_LOOK_S)
    seen, since = -1, -STEP_LOST_S
    while parts.acknowledge is not None:
        if seen == progress.batches and loop.time() - since > STEP_LOST_S:
            since = loop.time()
            await parts.acknowledge(market_time())
        elif seen != progress.batches:
            since = loop.time() if seen >= 0 else since
            seen = progress.batches
        await asyncio.sleep(STEP_LOOK_S)

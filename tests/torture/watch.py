"""Watches the true books beside a life of the bot: for how long something there was nobody's, or without a stop."""

from __future__ import annotations

import asyncio
from decimal import Decimal as D
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.torture.episodes import Life
    from tests.torture.venue import Venue

LOOK_S = 0.1


class Watch:
    """Seconds, one figure for each time: ``unowned`` until book or policy knew a quantity, ``naked`` until a stop stood.

    That something is missing is known once it has been told, or once the exchange is asked where it has gone.

    Times in which the clock jumped, or nobody lived, say nothing and are not counted.
    """

    def __init__(self) -> None:
        self.unowned: list[float] = []
        self.naked: list[float] = []

    async def run(self, life: Life, venue: Venue) -> None:
        """Watch until cancelled."""
        loop, since, last = asyncio.get_running_loop(), dict[tuple[str, str], float](), 0.0
        while True:
            if loop.time() - last > 1:
                since.clear()
            last = loop.time()
            for symbol in venue.rules:
                self._note(since, ("unowned", symbol), self.unowned, still=not _known(life, venue, symbol))
                self._note(since, ("naked", symbol), self.naked, still=_naked(life, venue, symbol))
            await asyncio.sleep(LOOK_S)

    @staticmethod
    def _note(since: dict[tuple[str, str], float], key: tuple[str, str], seconds: list[float], *, still: bool) -> None:
        now = asyncio.get_running_loop().time()
        if still:
            since.setdefault(key, now)
        elif key in since:
            seconds.append(now - since.pop(key))


def _known(life: Life, venue: Venue, symbol: str) -> bool:
    book, there = life.trader.book, venue.account.position(symbol).qty
    held = book.of_symbol(symbol)
    ours = held.opening.side.sign * held.qty if held is not None else D(0)
    found = life.runtime.reconciler.found
    told = held is not None and any(one.name.startswith("unlisted") for one in held.touches)
    missed = abs(there) < abs(ours) and there * ours >= 0 and (told or symbol in found.ghosts)
    return missed or symbol in found.foreign or there in {ours, ours + book.net_of_strays(symbol, 0)}


def _naked(life: Life, venue: Venue, symbol: str) -> bool:
    held, there = life.trader.book.of_symbol(symbol), venue.account.position(symbol)
    return held is not None and held.qty > 0 and there.qty * held.opening.side.sign > 0 and not there.stop


def spread(seconds: list[float]) -> dict[str, float]:
    """Return how many there were, their median, their 99th percentile, and the longest."""
    held = sorted(seconds)
    if not held:
        return {"times": 0}
    picked = {name: held[int(len(held) * share)] for name, share in (("p50", 0.5), ("p99", 0.99))}
    return {"times": len(held), **{name: round(value, 2) for name, value in {**picked, "max": held[-1]}.items()}}

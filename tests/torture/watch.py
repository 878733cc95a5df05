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
    """Seconds, one figure for each time, of what was wrong for so long.

    ``unowned``: until book or policy knew a quantity. That something is missing is known once it has been told, or once
    the exchange is asked where it has gone. While the exchange's own list shows a quantity that is not there
    (``Venue.illusions``), nobody can know better: the time begins when the list tells the truth again.

    ``naked``: until a stop stood. Where the price has passed the stop the exchange refuses it, at any attempt; once an
    exit has been ordered there, only that can end it, and its time counts as ``passed``, until the position is closed.
    If the price comes back meanwhile, what had been counted as naked goes on.

    Times in which the clock jumped, or nobody lived, say nothing and are not counted.
    """

    def __init__(self) -> None:
        self.unowned: list[float] = []
        self.naked: list[float] = []
        self.passed: list[float] = []

    async def run(self, life: Life, venue: Venue) -> None:
        """Watch until cancelled."""
        loop, running, last = asyncio.get_running_loop(), dict[tuple[str, str], float](), 0.0
        while True:
            now = loop.time()
            if now - last > 1:
                running.clear()
                last = now
            self.look(life, venue, running, now - last)
            last = now
            await asyncio.sleep(LOOK_S)

    def look(self, life: Life, venue: Venue, running: dict[tuple[str, str], float], seconds: float) -> None:
        """Count what is wrong now, so many seconds after the last look; ``running`` holds what has not ended yet."""
        for symbol in venue.rules:
            unowned = not _known(life, venue, symbol)
            if unowned and _imagined(venue, symbol):
                running.pop(("unowned", symbol), None)
            else:
                self._note(running, ("unowned", symbol), self.unowned, seconds, still=unowned, counts=True)
            naked, passed = _naked(life, venue, symbol), _passed(life, venue, symbol)
            self._note(running, ("naked", symbol), self.naked, seconds, still=naked, counts=not passed)
            self._note(running, ("passed", symbol), self.passed, seconds, still=naked, counts=passed)

    @staticmethod
    def _note(
        running: dict[tuple[str, str], float], key: tuple[str, str], ended: list[float], seconds: float, *,
        still: bool, counts: bool,
    ) -> None:  # fmt: skip
        if still and counts:
            # what has just begun has not lasted yet
            running[key] = running[key] + seconds if key in running else 0.0
        elif not still and key in running:
            ended.append(running.pop(key) + seconds)


def _known(life: Life, venue: Venue, symbol: str) -> bool:
    book, there = life.trader.book, venue.account.position(symbol).qty
    held = book.of_symbol(symbol)
    ours = held.opening.side.sign * held.qty if held is not None else D(0)
    found = life.runtime.reconciler.found
    told = held is not None and any(one.name.startswith("unlisted") for one in held.touches)
    missed = abs(there) < abs(ours) and there * ours >= 0 and (told or symbol in found.ghosts)
    return missed or symbol in found.foreign or there in {ours, ours + book.net_of_strays(symbol, 0)}


def _imagined(venue: Venue, symbol: str) -> bool:
    _, until = venue.illusions.get(symbol, (D(0), 0.0))
    return venue.seconds() < until


def _naked(life: Life, venue: Venue, symbol: str) -> bool:
    held, there = life.trader.book.of_symbol(symbol), venue.account.position(symbol)
    return held is not None and held.qty > 0 and there.qty * held.opening.side.sign > 0 and not there.stop


def _passed(life: Life, venue: Venue, symbol: str) -> bool:
    """Return whether an exit was ordered of a position whose stop the exchange would refuse at the price that it has."""
    held, price = life.trader.book.of_symbol(symbol), venue.account.last_price(symbol)
    if held is None or price is None or not held.exit_attempts:
        return False
    return held.opening.side.sign * (price - held.bracket.stop) <= 0


def spread(seconds: list[float]) -> dict[str, float]:
    """Return how many there were, their median, their 99th percentile, and the longest."""
    held = sorted(seconds)
    if not held:
        return {"times": 0}
    picked = {name: held[int(len(held) * share)] for name, share in (("p50", 0.5), ("p99", 0.99))}
    return {"times": len(held), **{name: round(value, 2) for name, value in {**picked, "max": held[-1]}.items()}}

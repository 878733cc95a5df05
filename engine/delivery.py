"""Positions in contracts that are about to be delisted: told, and closed where the settings say so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from domain.durations import HOUR_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from domain.instrument import Instrument
    from engine.commands import Command
    from engine.position import Position
    from engine.trader import Trader


@dataclass(frozen=True, slots=True)
class DeliveryTerms:
    """What is done ``before_ms`` before a contract is settled: told only, or its position closed as well."""

    close: bool = True
    before_ms: int = 12 * HOUR_MS


@dataclass(frozen=True, slots=True)
class Nearing:
    """A position whose contract is delisted at ``time`` (UTC ms); ``closing`` says whether it is being closed."""

    symbol: str
    digest: str
    time: int
    closing: bool


def nearing(
    positions: Iterable[Position], rules: Callable[[str], Instrument | None], now: int, before_ms: int
) -> list[tuple[Position, int]]:
    """Return the positions whose contract is delisted soon, each with that time (UTC ms)."""
    found = []
    for held in positions:
        instrument = rules(held.symbol)
        at = instrument.delivery_time if instrument is not None else 0
        if at and now >= at - before_ms and not held.flat:
            found.append((held, at))
    return found


class Deliveries:
    """Tells of each position once, and asks for its exit until it is closed."""

    def __init__(self, terms: DeliveryTerms) -> None:
        self._terms = terms
        self._told: dict[str, int] = {}

    def look(self, trader: Trader, now: int) -> tuple[list[Nearing], Sequence[Command]]:
        """Return what is to be told at market time ``now``, and what is to be done."""
        found = nearing(trader.book.positions(), trader.rules, now, self._terms.before_ms)
        news = [Nearing(held.symbol, held.digest, at, self._terms.close) for held, at in found
                if self._told.get(held.digest) != at]  # fmt: skip
        # a delivery that is put off is told anew; what is no longer held is forgotten
        self._told = {held.digest: at for held, at in found}
        commands: list[Command] = []
        if self._terms.close:
            for held, _ in found:
                commands += trader.leave(held, now)
        return news, commands

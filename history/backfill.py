"""Fills many series, a few at a time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from domain.errors import RevenantError, Unavailable
from history.chain import Filled, statistics

if TYPE_CHECKING:
    from collections.abc import Mapping

    from domain.candle import Series
    from domain.coverage import Span
    from history.chain import Chain, Progress

AT_ONCE = 4
"""Series asked for at a time: enough to hide the network's delays, few enough for the store."""


@dataclass(slots=True)
class Backfilled:
    """What came of a run: the series that were filled, and why others could not be tried at all.

    Attributes:
        away: those of ``refused`` for which somebody did not answer: later they may do.
    """

    results: list[Filled] = field(default_factory=list)
    refused: dict[Series, str] = field(default_factory=dict)
    away: set[Series] = field(default_factory=set)

    @property
    def unfinished(self) -> dict[Series, str]:
        """The series that are worth another attempt, and why they are not complete."""
        failed = {one.series: one.errors[0] for one in self.results if one.errors and not one.complete}
        return failed | {series: said for series, said in self.refused.items() if series in self.away}

    @property
    def statistics(self) -> dict[str, Any]:
        """The totals, in the seeds' words."""
        return statistics(self.results, len(self.refused))


async def backfill(
    chain: Chain, wanted: Mapping[Series, Span], progress: Progress | None = None, *, kind: str = "backfill"
) -> Backfilled:
    """Fill every series in its window, one chain for all; what cannot be filled is told, and keeps no other waiting."""
    done, room = Backfilled(), asyncio.Semaphore(AT_ONCE)

    async def one(series: Series) -> None:
        async with room:
            try:
                done.results.append(await chain.fill(series, wanted[series], progress, kind=kind))
            except RevenantError as error:
                done.refused[series] = str(error)
                if isinstance(error, Unavailable):
                    done.away.add(series)

    async with asyncio.TaskGroup() as group:
        for series in wanted:
            group.create_task(one(series))
    done.results.sort(key=lambda filled: filled.series)
    return done

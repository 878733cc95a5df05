"""Takes rows from anywhere into the store: checked, the impossible ones set aside, nothing lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from domain.candle import Bars, timeframe_ms
from domain.sifting import sift

if TYPE_CHECKING:
    from domain.candle import Series
    from domain.coverage import Span
    from domain.source import Source
    from history.port import Store


class Deposit(NamedTuple):
    """What became of rows: handed in, new, changed, refused, still open, told twice; and the bars that were kept."""

    processed: int
    added: int
    updated: int
    refused: int
    unfinished: int
    repeated: int
    bars: Bars
    reasons: tuple[str, ...]


def deposit(store: Store, source: Source, series: Series, rows: Bars, now: int, asked: Span | None = None) -> Deposit:
    """Store what of the rows can be bars and quarantine the rest; synchronous. Raises Unavailable."""
    sifted = sift(rows, timeframe_ms(series.timeframe), now, asked)
    store.quarantine(source, series, sifted.refused)
    _, added, updated = store.save(source, series, sifted.bars)
    reasons = tuple(sorted({refusal.reason for refusal in sifted.refused}))
    return Deposit(
        len(rows), added, updated, len(sifted.refused), sifted.unfinished, sifted.repeated, sifted.bars, reasons
    )

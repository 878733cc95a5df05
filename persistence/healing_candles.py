"""Closed bars in the database, and next door while that is away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from domain.candle import FAST_TIMEFRAME, MAIN_TIMEFRAME, Bars, Series, join
from domain.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from persistence.candles import Frames, PostgresCandleStorage

DRAIN_ROWS = 5_000


class HealingCandleStorage:
    """Writes to the primary storage; while that is away, to a spill next door, which ``drain`` brings home.

    ``waiting`` says whether the spill may hold anything; at first nobody knows what an earlier life has left there.
    """

    def __init__(self, primary: PostgresCandleStorage, spill: PostgresCandleStorage) -> None:
        self._primary, self._spill = primary, spill
        self.source = primary.source
        self.degraded = ""
        self.waiting = True
        self.spilled = 0
        self.drained = 0

    def save_candles(self, symbol: str, df: Bars | pd.DataFrame, *, timeframe: str = MAIN_TIMEFRAME) -> int:
        """Store bars of one symbol; return the rows handed in."""
        return self.save_all_frames({Series(symbol, timeframe): df})

    def save_candles_3m(self, symbol: str, df: Bars | pd.DataFrame) -> int:
        """Store 3-minute bars of one symbol; return the rows handed in."""
        return self.save_candles(symbol, df, timeframe=FAST_TIMEFRAME)

    def save_all_frames(self, frames: Frames) -> int:
        """Store bars of many series, in the spill when the primary does not answer."""
        try:
            saved = self._primary.save_all_frames(frames)
        except Unavailable as error:
            self.degraded = str(error)
            self.waiting = True
            saved = self._spill.save_all_frames(frames)
            self.spilled += saved
            return saved
        self.degraded = ""
        return saved

    def load_candles(self, symbol: str, limit: int = 1_000, *, timeframe: str = MAIN_TIMEFRAME) -> Bars:
        """Return the newest bars of both storages together."""
        spilled = self._spill.load_candles(symbol, limit, timeframe=timeframe)
        try:
            stored = self._primary.load_candles(symbol, limit, timeframe=timeframe)
        except Unavailable as error:
            self.degraded = str(error)
            return spilled
        return join([stored, spilled])[-limit:]

    def load_frames(self, wanted: Mapping[Series, int]) -> dict[Series, Bars]:
        """Return the newest so many bars of each series, of both storages together; none of those without any."""
        spilled = self._spill.load_frames(wanted)
        try:
            frames = self._primary.load_frames(wanted)
        except Unavailable as error:
            self.degraded = str(error)
            return spilled
        for series, bars in spilled.items():
            frames[series] = join([frames[series], bars])[-wanted[series] :] if series in frames else bars
        return frames

    def cleanup_old_candles(self, days_to_keep: int) -> int:
        """Delete a bot's old bars from the primary; pinned ranges and history stay."""
        return self._primary.cleanup_old_candles(days_to_keep)

    def get_stats(self) -> dict[str, Any]:
        """Return the primary's figures, or the spill's while it is away, and how many rows still wait there."""
        waiting = self._spill.get_stats()
        try:
            stats = self._primary.get_stats()
        except Unavailable as error:
            self.degraded = str(error)
            return {**waiting, "degraded": self.degraded, "waiting": waiting["total_candles"]}
        return {**stats, "waiting": waiting["total_candles"]}

    def close(self) -> None:
        """Close the spill's file."""
        self._spill.close()

    def series(self) -> list[dict[str, Any]]:
        """Return name, span and row count of every series in the primary."""
        return self._primary.series()

    def drain(self) -> int:
        """Move what the spill holds to the primary; return the rows moved. Raises Unavailable while it is away."""
        moved = 0
        while frames := self._spill.take(DRAIN_ROWS):
            moved += self._primary.save_all_frames(frames)
            self._spill.remove(frames)
        self.drained += moved
        self.degraded, self.waiting = "", False
        return moved

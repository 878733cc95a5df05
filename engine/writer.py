"""Saves closed bars behind the back of the event loop."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from domain.candle import Bar, Bars, ClosedBar, Series
from domain.errors import RevenantError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from engine.threads import Tier

log = structlog.get_logger(__name__)

BATCH_ROWS = 20_000
RETRY_S = 1.0
DRAIN_S = 2.0


class Storage(Protocol):
    """What the writer needs of a candle storage."""

    waiting: bool

    def save_all_frames(self, frames: Mapping[Any, Any]) -> int:
        """Store bars."""
        ...

    def drain(self) -> int:
        """Move spilled bars home."""
        ...

    def get_stats(self) -> dict[str, Any]:
        """Return symbols, total_candles, db_size_mb and database_type."""
        ...

    def cleanup_old_candles(self, days_to_keep: int) -> int:
        """Delete old bars."""
        ...


@dataclass(slots=True)
class WriterCounters:
    """What became of the bars handed in."""

    queued: int = 0
    saved: int = 0
    failures: int = 0
    overflowed: int = 0
    last_error: str = ""


class CandleWriter:
    """Takes closed bars, coalesces them by series and time, saves them in batches on a thread of its own.

    At most ``pending_max`` bars wait; beyond that a bar is not queued, and its series' window is saved whole once
    the storage keeps up again (``window`` returns a copy of it). ``keep_days`` above 0 removes older bars at times.
    """

    def __init__(
        self,
        storage: Storage,
        tier: Tier,
        window: Callable[[Series], Bars],
        *,
        pending_max: int,
        summary_s: float,
        keep_days: int = 0,
    ) -> None:
        self._storage, self._tier, self._window = storage, tier, window
        self._pending_max, self._summary_s, self._keep_days = pending_max, summary_s, keep_days
        self._pending: dict[Series, dict[int, Bar]] = {}
        self._count = 0
        self._missed: set[Series] = set()
        self._in_flight = 0
        self._added = asyncio.Event()
        self._saving = asyncio.Lock()
        self._waits = 0
        self._free = asyncio.Event()
        self._free.set()
        self.counters = WriterCounters()

    @property
    def pending(self) -> int:
        """How many bars are not saved yet: those queued, those being saved, and the windows to be saved whole."""
        return self._count + self._in_flight + sum(len(self._window(series)) for series in self._missed)

    def add(self, bars: list[ClosedBar]) -> None:
        """Queue closed bars."""
        for closed in bars:
            held = self._pending.setdefault(closed.series, {})
            if self._count >= self._pending_max and closed.bar.open_time not in held:
                self.counters.overflowed += 1
                self._missed.add(closed.series)
                continue
            self._count += closed.bar.open_time not in held
            held[closed.bar.open_time] = closed.bar
            self.counters.queued += 1
        if not self._waits:
            self._added.set()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Begin to save what is added inside of the block when that ends; ``flush`` saves it at any time."""
        self._waits += 1
        self._free.clear()
        try:
            yield
        finally:
            self._waits -= 1
            if not self._waits:
                self._free.set()
            if self._count:
                self._added.set()

    async def free(self) -> None:
        """Wait until no block asks it to wait."""
        await self._free.wait()

    async def run(self) -> None:
        """Save until cancelled."""
        while True:
            await self._added.wait()
            self._added.clear()
            try:
                await self.flush()
            except RevenantError as error:
                self._note(error)
                await asyncio.sleep(RETRY_S)
                self._added.set()

    async def flush(self) -> None:
        """Save everything that waits; raises when the storage fails, and keeps what is not saved.

        What is being saved already is waited for.
        """
        async with self._saving:
            while self._count:
                taken = self._take()
                try:
                    with self._flying(sum(map(len, taken.values()))):
                        self.counters.saved += await self._tier.call(self._save, taken)
                    self.counters.last_error = ""
                except BaseException:
                    self._put_back(taken)
                    raise
            while self._missed:
                series = self._missed.pop()
                window = self._window(series)
                try:
                    with self._flying(len(window)):
                        await self._tier.call(self._storage.save_all_frames, {series: window})
                except BaseException:
                    self._missed.add(series)
                    raise

    @contextlib.contextmanager
    def _flying(self, rows: int) -> Iterator[None]:
        self._in_flight = rows
        try:
            yield
        finally:
            self._in_flight = 0

    async def drain(self) -> None:
        """Bring spilled bars home whenever the storage answers again, until cancelled."""
        while True:
            await asyncio.sleep(DRAIN_S)
            if not self._storage.waiting:
                continue
            try:
                moved = await self._tier.call(self._storage.drain)
            except RevenantError as error:
                self._note(error)
                continue
            if moved:
                log.info("database is back: spilled candles moved home", candles=moved)

    async def summarise(self) -> None:
        """Every summary period save what is unsaved and log what there is, until cancelled."""
        while True:
            await asyncio.sleep(self._summary_s)
            try:
                await self.flush()
                stats = await self._tier.call(self._storage.get_stats)
            except RevenantError as error:
                self._note(error)
                continue
            log.info(
                "candle summary", saved=self.counters.saved, waiting=self._count, candles=stats["total_candles"],
                symbols=stats["symbols"], size_mb=stats["db_size_mb"], database=stats["database_type"],
            )  # fmt: skip
            if self._keep_days:
                await self._clean_up()

    async def _clean_up(self) -> None:
        try:
            removed = await self._tier.call(self._storage.cleanup_old_candles, self._keep_days)
        except RevenantError as error:
            log.error("old candles not removed", reason=str(error))
        else:
            log.info("old candles removed", candles=removed, days_kept=self._keep_days)

    def _save(self, taken: dict[Series, dict[int, Bar]]) -> int:
        # on the storage's thread, and all bars turned into columns at once: what takes long there holds up the loop too
        bars = Bars.of([rows[time] for rows in taken.values() for time in sorted(rows)])
        frames, first = {}, 0
        for series, rows in taken.items():
            frames[series] = bars[first : first + len(rows)]
            first += len(rows)
        return self._storage.save_all_frames(frames)

    def _note(self, error: RevenantError) -> None:
        self.counters.failures += 1
        if str(error) != self.counters.last_error:
            log.error("candles not saved yet", reason=str(error), waiting=self._count)
        self.counters.last_error = str(error)

    def _take(self) -> dict[Series, dict[int, Bar]]:
        taken: dict[Series, dict[int, Bar]] = {}
        rows = 0
        for series in list(self._pending):
            if rows >= BATCH_ROWS:
                break
            taken[series] = self._pending.pop(series)
            rows += len(taken[series])
        self._count -= rows
        return taken

    def _put_back(self, taken: dict[Series, dict[int, Bar]]) -> None:
        for series, rows in taken.items():
            held = self._pending.setdefault(series, {})
            for time, bar in rows.items():
                if time not in held:
                    held[time] = bar
                    self._count += 1

"""Has every signal followed, taken or refused, and writes down what becomes of it without holding trading up."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import structlog

from domain.candle import Bars, ClosedBar, Series, join, timeframe_ms
from domain.errors import Rejected, Unavailable
from domain.records import PhantomClosed, PhantomManaged, PhantomOpened

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

    from domain.judgement import Judgement
    from domain.phantom import PhantomTrade
    from domain.records import Followed, Phantom, Record
    from domain.signal import Signal
    from domain.trade import Trade
    from engine.recovery import CandleRecovery, Windows

log = structlog.get_logger(__name__)

BEHIND_S = 60.0
ROOM_S = 0.1
UNFOLLOWED_BARS = 1_000
WAITING_MAX = 10_000
"""Records on their way to the journal; above that the oldest is let go and counted."""


class Tracker(Protocol):
    """The phantom tracker, as far as the engine needs it."""

    @property
    def completed(self) -> Iterable[PhantomTrade]:
        """The newest that have ended, oldest first."""
        ...

    def record_signal(
        self, symbol: str, signal: Signal, ml_score: float | None, was_executed: bool,  # noqa: FBT001
        features: dict[str, float] | None, strategy_name: str, gate: str = "",
    ) -> PhantomTrade | None:  # fmt: skip
        """Begin to follow a signal; None when it is known already, or cannot be followed."""
        ...

    def update_phantom_prices(self, closed: ClosedBar, *, none_missing: bool = False) -> list[PhantomTrade]:
        """Show a closed bar; return the phantoms that have ended on it."""
        ...

    def managed(self) -> list[PhantomTrade]:
        """Return the open phantoms that their strategies have changed since the last call."""
        ...

    def waiting_since(self, series: Series) -> int | None:
        """Return the open time of the oldest bar that a phantom of a series waits for."""
        ...

    def series(self) -> list[Series]:
        """Return the series that open phantoms are shown."""
        ...

    def active(self) -> list[PhantomTrade]:
        """Return those that are open."""
        ...

    def restore(self, phantoms: Iterable[PhantomTrade]) -> None:
        """Take phantoms of earlier lives."""
        ...

    def take_trade(self, trade: Trade) -> None:
        """Take what a trade of ours really made."""
        ...

    def get_phantom_stats(self, symbol: str | None = None, strategy: str | None = None) -> dict[str, Any]:
        """Return the figures."""
        ...


class Trail(Protocol):
    """Where phantoms' records go once the journal has them."""

    @property
    def unsettled(self) -> int:
        """How many records are not in the audit yet."""
        ...

    def add(self, records: Sequence[Phantom]) -> None:
        """Take records that the journal has."""
        ...

    def restore(self, records: Sequence[Phantom]) -> bool:
        """Take what the journal told of earlier lives; say whether the audit has all of it already."""
        ...

    def load(self) -> list[Phantom]:
        """Return what is known elsewhere, for a journal that was lost."""
        ...

    def legacy(self) -> list[Phantom]:
        """Return the open phantoms of an earlier program, until they are ``converted``."""
        ...

    def converted(self) -> None:
        """Put away what ``legacy`` told of."""
        ...

    def start(self) -> None:
        """Begin to carry."""
        ...

    def close(self, seconds: float) -> None:
        """Carry what can be carried in so many seconds, then stop."""
        ...

    def tiers(self) -> dict[str, dict[str, Any]]:
        """Return the state of each tier."""
        ...


class Phantoms:
    """Between the trader, which decides, and the tracker, which follows.

    ``judge`` scores signals that the trader has not seen. What is to be written waits in a bounded queue, which
    ``run`` empties; once the journal has it, ``trail`` carries it on.
    """

    def __init__(self, tracker: Tracker, judge: Callable[[Signal], Judgement], trail: Trail) -> None:
        self._tracker, self._judge, self.trail = tracker, judge, trail
        self._waiting: asyncio.Queue[Followed] = asyncio.Queue(WAITING_MAX)
        self._states: dict[str, PhantomManaged] = {}
        self._missed: deque[Signal] = deque()
        self._writing = False
        self.let_go = 0
        self.ended = 0

    def note(self, signal: Signal, gate: str, judged: Judgement) -> None:
        """Follow a signal that was just taken (no gate), or refused by a gate."""
        phantom = self._tracker.record_signal(
            signal.symbol, signal, judged.score, not gate, judged.features, signal.strategy, gate
        )
        if phantom is not None:
            phantom.scored_by = judged.by
            self._put(opened(phantom))

    def show(self, closed: ClosedBar) -> None:
        """Show a closed bar to the phantoms of its series."""
        self._show(closed, none_missing=False)

    def restore(self, record: Followed) -> None:
        """Take a record of an earlier life."""
        self._tracker.restore([record.phantom])

    def take_trades(self, trades: Iterable[Trade]) -> None:
        """Take what trades of ours really made."""
        for trade in trades:
            self._tracker.take_trade(trade)

    def live(self) -> list[Phantom]:
        """Return the records that the tracker could not be made again without."""
        return [*map(ended, self._tracker.completed), *map(opened, self._tracker.active())]

    def kept(self) -> Iterator[PhantomTrade]:
        """Yield the phantoms that are kept: those that have ended, oldest first, then the open ones."""
        yield from self._tracker.completed
        yield from self._tracker.active()

    def report(self, symbol: str | None = None, strategy: str | None = None) -> dict[str, Any]:
        """Return the figures, of a symbol, a strategy or all; of all, what waits for the journal as well."""
        figures = self._tracker.get_phantom_stats(symbol, strategy)
        if symbol is not None or strategy is not None:
            return figures
        return {**figures, "waiting": self._waiting.qsize(), "let_go": self.let_go}

    async def catch_up(self, windows: Windows, candles: CandleRecovery, wanted: Iterable[Series]) -> None:
        """Show phantoms that are behind the bars that they have not seen.

        Those behind the window's beginning are asked for; what the exchange cannot give now leaves them waiting, and
        what it never had is passed over.
        """
        followed, now = set(wanted), _newest(windows, wanted)
        for series in {*followed, *self._tracker.series()}:
            start = self._tracker.waiting_since(series)
            if start is None:
                continue
            try:
                if series in followed:
                    # a copy: a window is a view that the next bar spoils, and the exchange is waited for
                    bars = await _since(start, series, windows.bars(series).copy(), candles)
                else:
                    # nobody looks at its symbol any more, but how it ends is still a lesson
                    step = timeframe_ms(series.timeframe)
                    until = min(now - now % step, start + UNFOLLOWED_BARS * step)
                    bars = await candles.between(series, start, until)
            except (Unavailable, Rejected) as error:
                told = log.warning if series in followed else log.debug
                told("phantoms wait for bars", series=series, since=start, reason=str(error))
                continue
            for bar in bars.rows():
                self._show(ClosedBar(series, bar), none_missing=bar.open_time > start)
            await asyncio.sleep(0)

    def missed(self, signals: Iterable[Signal]) -> None:
        """Take signals that came while the bot was down; they may be thousands, so ``keep_up`` sees to them."""
        self._missed.extend(signals)

    async def keep_up(self, windows: Windows, candles: CandleRecovery, wanted: Iterable[Series]) -> None:
        """Follow what was missed, and catch up now and then, until cancelled."""
        while True:
            while self._missed:
                if self._waiting.qsize() < WAITING_MAX // 2:
                    signal = self._missed.popleft()
                    self.note(signal, "missed", self._judge(signal))
                # one at a time: a vector costs a fraction of a millisecond, and trading goes on meanwhile
                await asyncio.sleep(0 if self._waiting.qsize() < WAITING_MAX // 2 else ROOM_S)
            await self.catch_up(windows, candles, wanted)
            await asyncio.sleep(BEHIND_S)

    async def run(self, append: Callable[[Record], Awaitable[object]]) -> None:
        """Write down what waits, for ever."""
        self._writing = True
        try:
            while True:
                record = await self._waiting.get()
                try:
                    await self._write(record, append)
                finally:
                    self._waiting.task_done()
        finally:
            self._writing = False

    async def flush(self, append: Callable[[Record], Awaitable[object]]) -> None:
        """Have written down what waits now.

        While ``run`` writes, it alone does: of two writers one could be cut off between the journal and the trail, and
        the trail takes what comes before the newest record that it has carried for carried.
        """
        if self._writing:
            await self._waiting.join()
            return
        while not self._waiting.empty():
            await self._write(self._waiting.get_nowait(), append)
            self._waiting.task_done()

    def _show(self, closed: ClosedBar, *, none_missing: bool) -> None:
        for phantom in self._tracker.update_phantom_prices(closed, none_missing=none_missing):
            self.ended += 1
            # its vector was written down when it was opened
            self._put(ended(msgspec.structs.replace(phantom, features=None)))
        for phantom in self._tracker.managed():
            state = msgspec.structs.replace(phantom, features=None)
            self._put_state(PhantomManaged(time=phantom.next_open, phantom=state))

    def _put_state(self, record: PhantomManaged) -> None:
        # only the newest state matters: one that is still to be written takes the place of the one before
        waits = record.phantom.phantom_id in self._states
        self._states[record.phantom.phantom_id] = record
        if not waits:
            self._put(record)

    async def _write(self, record: Followed, append: Callable[[Record], Awaitable[object]]) -> None:
        if isinstance(record, PhantomManaged):
            await append(self._states.pop(record.phantom.phantom_id))
        else:
            await append(record)
            self.trail.add([record])

    def _put(self, record: Followed) -> None:
        if self._waiting.full():
            gone = self._waiting.get_nowait()
            if isinstance(gone, PhantomManaged):
                del self._states[gone.phantom.phantom_id]
            self._waiting.task_done()
            self.let_go += 1
        self._waiting.put_nowait(record)


def opened(phantom: PhantomTrade) -> PhantomOpened:
    """Return the record of a phantom that is open; later changes of it do not reach the record."""
    return PhantomOpened(time=phantom.signal_time, phantom=msgspec.structs.replace(phantom))


def ended(phantom: PhantomTrade) -> PhantomClosed:
    """Return the record of a phantom's outcome."""
    return PhantomClosed(time=phantom.exit_time, phantom=phantom)


def _newest(windows: Windows, wanted: Iterable[Series]) -> int:
    """Return when the newest closed bar of all ended."""
    ends = [int(bars.open_time[-1]) + timeframe_ms(one.timeframe) for one in wanted if len(bars := windows.bars(one))]
    return max(ends, default=0)


async def _since(start: int, series: Series, held: Bars, candles: CandleRecovery) -> Bars:
    if not len(held) or start > held.open_time[-1]:
        return Bars.empty()
    first = int(held.open_time[0])
    whole = join([await candles.between(series, start, first), held]) if start < first else held
    return whole[int(whole.open_time.searchsorted(start)) :]

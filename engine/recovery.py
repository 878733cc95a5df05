"""The only way to start: journal, candles, exchange, in this order; a first start is a recovery of nothing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import structlog

from domain.candle import Bars, ClosedBar, Series, join, timeframe_ms
from domain.errors import Rejected, Unavailable
from domain.ids import parse_order_id
from domain.order import OrderState
from domain.records import OrderEnded
from engine.trader import catch_up

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from domain.ports import Broker, CandleStore, Klines
    from engine.threads import Tier
    from engine.trader import Trader

log = structlog.get_logger(__name__)

REQUESTS_AT_ONCE = 8
OVERLAP_MS = 120_000


class Windows(Protocol):
    """The rolling windows that recovery fills."""

    def seed(self, series: Series, bars: Bars) -> None:
        """Put history in place of what a window holds."""
        ...

    def bars(self, series: Series) -> Bars:
        """Return a window."""
        ...


@dataclass(slots=True)
class CandleReport:
    """How many bars came from where."""

    stored: int = 0
    fetched: int = 0
    series: int = 0


class CandleRecovery:
    """Brings windows up to date from the storage, and from REST only what the storage lacks."""

    def __init__(
        self, store: CandleStore, tier: Tier, klines: Klines, windows: Windows, save: Callable[[list[ClosedBar]], None]
    ) -> None:
        self._store, self._tier, self._klines, self._windows, self._save = store, tier, klines, windows, save
        self._report = CandleReport()

    async def run(self, wanted: dict[Series, int]) -> CandleReport:
        """Fill each series with up to so many bars; a series that REST refuses stays empty."""
        gate = asyncio.Semaphore(REQUESTS_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for series, count in wanted.items():
                group.create_task(self._one(gate, series, count))
        self._report.series = len(wanted)
        return self._report

    async def _one(self, gate: asyncio.Semaphore, series: Series, count: int) -> None:
        try:
            held = await self._tier.call(self._store.load_candles, series.symbol, count, timeframe=series.timeframe)
        except Unavailable as error:
            log.warning("stored candles not readable", series=series, reason=str(error))
            held = Bars.empty()
        self._report.stored += len(held)
        async with gate:
            try:
                fetched = await self._missing(series, held, count)
            except (Unavailable, Rejected) as error:
                log.warning("candles not fetched", series=series, reason=str(error))
                fetched = Bars.empty()
        self._report.fetched += len(fetched)
        self._save([ClosedBar(series, bar) for bar in fetched.rows()])
        self._windows.seed(series, _unbroken(join([held, fetched]), timeframe_ms(series.timeframe))[-count:])

    async def _missing(self, series: Series, held: Bars, count: int) -> Bars:
        step = timeframe_ms(series.timeframe)
        if not len(held):
            return await self._klines.latest(series, count)
        newest = await self._klines.latest(series, 1)
        if not len(newest):
            return newest
        end = int(newest.open_time[-1]) + step
        start = max(int(held.open_time[-1]) + step, end - count * step)
        parts = [await self._klines.closed(series, start, end)] if start < end else []
        if len(held) < count and end - count * step < held.open_time[0]:
            parts.append(await self._klines.closed(series, end - count * step, int(held.open_time[0])))
        inner = held.missing(step)
        if inner:
            parts.append(await self._klines.closed(series, inner[0], inner[-1] + step))
        return join(parts) if parts else Bars.empty()


async def settle_orders(trader: Trader, broker: Broker, until: int, in_flight: Collection[str]) -> list[OrderEnded]:
    """Look up every order whose end is not known, but for those in flight; return the ones that have ended unfilled.

    Executions must have been taken before, so that a filled order is known as such. Raises Unavailable when the
    exchange does not answer: then nothing may be concluded.
    """
    ended = []
    for held in trader.book.positions():
        partial = "" if held.partial_taken else held.partial_order
        open_orders = {held.entry_order if held.pending else "", held.exit_order, partial} - {"", *in_flight}
        for order_id in sorted(open_orders):
            found = await broker.order(held.symbol, order_id)
            if parse_order_id(order_id) and found.state is not OrderState.WORKING and not found.filled_qty:
                ended.append(
                    OrderEnded(time=until, order_id=order_id, symbol=held.symbol, state=found.state, reason="looked up")
                )
    return ended


def fills_start(trader: Trader, until: int) -> int:
    """Return from which market time on executions have to be asked for."""
    times = [held.intended_at for held in trader.book.positions()]
    if trader.book.last_fill_time:
        times.append(trader.book.last_fill_time)
    return min(times, default=until) - OVERLAP_MS


async def warm_up(trader: Trader, windows: Windows, symbols: list[str], stored_until: dict[str, int]) -> int:
    """Step all strategies over the recovered bars; return how many signals were missed while the bot was down."""
    missed = 0
    for symbol in symbols:
        missed += trader.warm_up(symbol, stored_until.get(symbol, np.iinfo(np.int64).max))
        held = trader.book.of_symbol(symbol)
        if held is not None:
            catch_up(trader, symbol, windows.bars(Series(symbol, held.opening.timeframe)))
        # a thousand bars a strategy: with hundreds of symbols the loop must breathe in between
        await asyncio.sleep(0)
    return missed


def _unbroken(bars: Bars, step_ms: int) -> Bars:
    gaps = np.flatnonzero(np.diff(bars.open_time) != step_ms)
    return bars[int(gaps[-1]) + 1 :] if len(gaps) else bars

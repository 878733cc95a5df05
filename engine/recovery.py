"""The only way to start: journal, candles, exchange, in this order; a first start is a recovery of nothing."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import structlog

from domain.candle import TIME_MAX, Bars, ClosedBar, Series, join, timeframe_ms
from domain.coverage import Span, missing, reach, without
from domain.durations import DAY_MS, WEEK_MS
from domain.errors import Rejected, Unavailable
from domain.ids import parse_order_id
from domain.order import OrderReport, OrderState
from domain.records import Intent, OrderEnded
from engine.commands import PlaceOrder, request_of
from engine.executions import OVERLAP_MS
from engine.orders import NOT_FOUND_AFTER_S, NOT_FOUND_NEEDED

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from domain.ports import CandleStore, Klines, Ledger, Lists
    from domain.signal import Signal
    from engine.positions import Book
    from engine.threads import Tier
    from engine.trader import Trader

log = structlog.get_logger(__name__)

REQUESTS_AT_ONCE = 8
REACH_MS = 2 * 365 * DAY_MS
"""How far the exchange's list of executions goes back."""

LAST_MOMENTS_MS = 1_800_000
"""What happened so shortly before the last life ended may not have been known to it."""


class Windows(Protocol):
    """The rolling windows that recovery fills."""

    def seed(self, series: Series, bars: Bars) -> None:
        """Put history in place of what a window holds."""
        ...

    def bars(self, series: Series) -> Bars:
        """Return a window."""
        ...

    def follow(self, wanted: Mapping[Series, int]) -> None:
        """Make windows of so many bars of more series."""
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
        try:
            stored = await self._tier.call(self._store.load_frames, wanted)
        except Unavailable as error:
            log.warning("stored candles not readable", reason=str(error))
            stored = {}
        async with asyncio.TaskGroup() as group:
            for series, count in wanted.items():
                group.create_task(self._one(gate, series, count, stored.get(series, Bars.empty())))
        self._report.series = len(wanted)
        return self._report

    async def between(self, series: Series, start: int, end: int) -> Bars:
        """Return what REST has of a series from ``start`` up to ``end`` (UTC ms). Raises Unavailable or Rejected."""
        return await self._klines.closed(series, start, end)

    async def _one(self, gate: asyncio.Semaphore, series: Series, count: int, held: Bars) -> None:
        self._report.stored += len(held)
        async with gate:
            try:
                fetched = await self._missing(series, held, count)
            except (Unavailable, Rejected) as error:
                log.warning("candles not fetched", series=series, reason=str(error))
                fetched = Bars.empty()
        self._report.fetched += len(fetched)
        self._save([ClosedBar(series, bar) for bar in fetched.rows()])
        self._windows.seed(series, self._unbroken(series, join([held, fetched]))[-count:])

    def _unbroken(self, series: Series, bars: Bars) -> Bars:
        """Return the bars after the last hole; that the market was closed makes none."""
        step = timeframe_ms(series.timeframe)
        for gap in np.flatnonzero(np.diff(bars.open_time) != step)[::-1]:
            hole = Span(int(bars.open_time[gap]) + step, int(bars.open_time[gap + 1]))
            if without([hole], self._klines.resting(series, hole)):
                return bars[int(gap) + 1 :]
        return bars

    async def _missing(self, series: Series, held: Bars, count: int) -> Bars:
        step = timeframe_ms(series.timeframe)
        if not len(held):
            return await self._klines.latest(series, count)
        newest = await self._klines.latest(series, 1)
        if not len(newest):
            return newest
        end = int(newest.open_time[-1]) + step
        first = reach(end, count, step, lambda span: self._klines.resting(series, span))
        start = max(int(held.open_time[-1]) + step, first)
        parts = [await self._klines.closed(series, start, end)] if start < end else []
        if len(held) < count and first < held.open_time[0]:
            parts.append(await self._klines.closed(series, first, int(held.open_time[0])))
        whole = Span(int(held.open_time[0]), int(held.open_time[-1]) + step)
        holes = without(missing(held.open_time, whole, step), self._klines.resting(series, whole))
        if holes:
            parts.append(await self._klines.closed(series, holes[0].start, holes[-1].end))
        return join(parts) if parts else Bars.empty()


class OrderLookup:
    """Looks up orders whose end is not known; that there is none of a name is believed only after a while.

    ``send_again`` takes exits that an earlier life had sent and that are not found: the process may have ended before
    they were on their way, and what they were to close may have no stop any more.
    """

    def __init__(self, send_again: Callable[[PlaceOrder], None] = lambda _: None) -> None:
        self._send_again = send_again
        self._misses: dict[str, tuple[int, float]] = {}
        self.behind: set[str] = set()
        """Symbols of orders that the exchange has counted more executions of than are known here."""

    @property
    def undecided(self) -> bool:
        """Whether an order was not found and may still turn up, or its executions may."""
        return bool(self._misses or self.behind)

    async def settle(self, trader: Trader, lists: Lists, until: int, in_flight: Collection[str]) -> list[OrderEnded]:
        """Return the orders that have ended unfilled, of all but those in flight.

        Executions must have been taken before, so that a filled order is known as such. Raises Unavailable when the
        exchange does not answer: then nothing may be concluded.
        """
        ended, self.behind = [], set()
        wanted = {order_id: symbol for order_id, symbol in _open_orders(trader).items() if order_id not in in_flight}
        for order_id, symbol in sorted(wanted.items()):
            found = await _looked_up(trader, lists, symbol, order_id)
            if found is None:
                continue
            own = trader.book.order(order_id)
            if own is not None and own.filled < found.filled_qty:
                self.behind.add(symbol)
            gone = found.state is not OrderState.NOT_FOUND or self._believed(
                order_id, trader.book.sent_at.get(order_id)
            )
            if not gone and (lost := _exit_of_earlier_life(trader.book, order_id)) is not None:
                self._send_again(lost)
            # the executions of a filled order of an open position tell by themselves
            filled = found.state is OrderState.FILLED and not (own is not None and own.cut(found.filled_qty))
            told = filled and order_id not in trader.book.leftovers
            if found.state is OrderState.WORKING or not gone or told:
                continue
            one = OrderEnded(
                time=until, order_id=order_id, symbol=symbol, state=found.state, reason="looked up",
                filled=found.filled_qty,
            )  # fmt: skip
            ended.append(one)
        self._misses = {order_id: miss for order_id, miss in self._misses.items() if order_id in wanted}
        return ended

    def _believed(self, order_id: str, sent_at: int | None) -> bool:
        if sent_at and time.time() * 1000 - sent_at > NOT_FOUND_AFTER_S * 1000:
            # sent by an earlier life, and signed so long ago that it cannot arrive any more
            return True
        now = asyncio.get_running_loop().time()
        count, first = self._misses.get(order_id, (0, now))
        self._misses[order_id] = (count + 1, first)
        return count + 1 >= NOT_FOUND_NEEDED and now - first >= NOT_FOUND_AFTER_S


async def _looked_up(trader: Trader, lists: Lists, symbol: str, order_id: str) -> OrderReport | None:
    """Return what became of an order, None when the exchange refuses to say: others must not wait for that."""
    try:
        return await lists.order(symbol, order_id)
    except Rejected as error:
        rules = trader.rules(symbol)
        if rules is None or not rules.trading:
            # a contract that is not listed any more has no orders
            return OrderReport(order_id, symbol, OrderState.NOT_FOUND)
        log.warning("order not looked up", order=order_id, reason=str(error))
        return None


def _exit_of_earlier_life(book: Book, order_id: str) -> PlaceOrder | None:
    """Return an exit as an earlier life had sent it, None when it is something else or nothing is open any more."""
    name = parse_order_id(order_id)
    held = book.find(name.digest) if name is not None else None
    if held is None or held.exit_order != order_id or held.qty <= 0 or order_id not in book.sent_at:
        return None
    intents = (one for one in held.records if isinstance(one, Intent) and one.order_id == order_id)
    return next((PlaceOrder(intent, request_of(intent)) for intent in intents), None)


def _open_orders(trader: Trader) -> dict[str, str]:
    """Return the symbols of all orders of ours that may still fill, or of which executions are missing, by id."""
    return {order.order_id: order.symbol for order in trader.book.unsettled()}


def fills_start(trader: Trader, until: int) -> int:
    """Return from which market time on executions have to be asked for."""
    times = [held.intended_at for held in trader.book.positions()]
    if trader.book.last_fill_time:
        times.append(trader.book.last_fill_time)
    return min(times, default=until) - OVERLAP_MS


def asking_start(trader: Trader, ledger: Ledger, lived_until: int, until: int, lost: int | None = None) -> int:
    """Return from when on the whole account is asked what happened.

    That is when the last life ended, and some time before; far back when our records have a hole, or are none. What
    others remember and the journal does not was ``lost`` from a market time on (UTC ms): a week more is asked for then.
    """
    doubtful = ledger.doubtful_since
    start = fills_start(trader, until)
    if lost is not None:
        log.error("others remember trades that the journal does not: the exchange is asked for them", since=lost)
        doubtful = min(lost - WEEK_MS, lost if doubtful is None else doubtful)
    elif doubtful is not None:
        log.error("records are missing: the exchange is asked for what they told", since=doubtful)
    elif not lived_until:
        doubtful = until - WEEK_MS
    if doubtful is not None:
        return max(0, until - REACH_MS, min(start, doubtful - OVERLAP_MS))
    return max(start, lived_until - LAST_MOMENTS_MS)


def last_lived(wanted: Collection[Series], lived_until: int) -> dict[str, int]:
    """Return for each symbol when the last life ended; signals after that were missed. A first life has missed none."""
    return {series.symbol: lived_until for series in wanted} if lived_until else {}


async def warm_up(trader: Trader, windows: Windows, symbols: list[str], stored_until: dict[str, int]) -> list[Signal]:
    """Step all strategies over the recovered bars of symbols, and show all positions theirs.

    Where something is held and nothing is traded any more, they are stepped for what they say of leaving. Returns the
    signals that were missed while the bot was down.
    """
    missed: list[Signal] = []
    for symbol in sorted({held.symbol for held in trader.book.positions()} - set(symbols)):
        trader.warm_up(symbol, TIME_MAX, leaving=True)
    for symbol in symbols:
        missed += trader.warm_up(symbol, stored_until.get(symbol, TIME_MAX))
        # a thousand bars a strategy: with hundreds of symbols the loop must breathe in between
        await asyncio.sleep(0)
    for held in trader.book.positions():
        if trader.rules(held.symbol) is not None:
            held.show(windows.bars(Series(held.symbol, held.opening.timeframe)))
    return missed

"""The asynchronous shell: feeds the trader, carries out its commands, keeps the rest alive."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol

import structlog

from domain.candle import Bars, ClosedBar, Series
from domain.errors import BadData, OutcomeUnknown, Rejected, RevenantError, Unavailable
from domain.order import Cause
from domain.records import Fill, Level, OrderEnded, StopMoved
from engine import recovery
from engine.commands import CancelOrder, MoveStop, PlaceOrder, RecordTrade, Refused, Remember
from engine.orders import LANES, Orders
from engine.trader import replay

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from domain.order import PositionReport
    from domain.ports import Broker, Ledger
    from domain.records import Receipt, Record, SwitchState
    from domain.trade import Trade
    from engine.commands import Command
    from engine.tasks import Tasks
    from engine.threads import Tier
    from engine.trader import Trader
    from engine.writer import CandleWriter

log = structlog.get_logger(__name__)

Event = list[ClosedBar] | list[Fill] | OrderEnded | StopMoved | MoveStop

EVENTS_MAX = 10_000
BALANCE_S = 5.0
SETTLE_S = 5.0
RECONCILE_S = 60.0
INSTRUMENTS_S = 3_600.0
RECOVERY_RETRY_S = 2.0
NUDGE_PAUSE_S = 0.5
HOUR_MS = 3_600_000
ASK_S = 3.0
STEP_LOOK_S = 0.05
STEP_LOST_S = 30.0


class Trades(Protocol):
    """The trade tracker, as far as the runtime needs it."""

    @property
    def unsettled(self) -> int:
        """Trades not yet in the database."""
        ...

    def load(self) -> int:
        """Read the trades of earlier lives."""
        ...

    def restore(self, trade: Trade) -> None:
        """Take a trade that the journal holds."""
        ...

    def trades(self) -> list[Trade]:
        """Return all trades."""
        ...

    def add_trade(self, trade: Trade) -> Level:
        """Record a trade."""
        ...

    def settle(self) -> int:
        """Write what is unsettled to the database."""
        ...


class MarketFeed(Protocol):
    """The live feed, as far as the runtime needs it."""

    prices: dict[str, tuple[float, int]]

    async def run(self, deliver: Callable[[list[ClosedBar]], Awaitable[None]]) -> None:
        """Stream until cancelled."""
        ...

    def stale(self) -> list[Series]:
        """Return the series that have fallen silent."""
        ...

    def connected(self) -> bool:
        """Say whether every stream is subscribed."""
        ...


@dataclass(slots=True)
class Tiers:
    """One thread for each blocking thing."""

    journal: Tier
    candles: Tier
    trades: Tier


@dataclass(slots=True)
class Parts:
    """What the runtime is made of; ``acknowledge`` tells a stepping market that a batch has been handled."""

    trader: Trader
    broker: Broker
    feed: MarketFeed
    candles: recovery.CandleRecovery
    windows: recovery.Windows
    writer: CandleWriter
    ledger: Ledger
    trades: Trades
    tiers: Tiers
    wanted: dict[Series, int]
    finest: str
    acknowledge: Callable[[int], Awaitable[None]] | None = None
    told: Callable[[str, object], None] = lambda _kind, _what: None


@dataclass(slots=True)
class Progress:
    """Where the start stands, and what went wrong last; ``/readyz`` is made of it."""

    recovered: bool = False
    recovery_s: float = 0.0
    stored: int = 0
    fetched: int = 0
    missed_signals: int = 0
    balance_at: float = 0.0
    broker_error: str = "not asked yet"
    durable: bool = True
    batches: int = 0
    lag_max_ms: float = 0.0
    naked: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)


class Runtime:
    """Runs the bot: recovery first, then trading until cancelled."""

    def __init__(self, parts: Parts) -> None:
        self._p = parts
        self._events: asyncio.Queue[Event] = asyncio.Queue(EVENTS_MAX)
        self._nudged = asyncio.Event()
        self._finished: asyncio.Queue[Trade] = asyncio.Queue(EVENTS_MAX)
        self.orders = Orders(parts.broker, self.append, self._events.put, self._nudged.set)
        self.progress = Progress()
        self._records: list[Record] | None = None

    async def recover(self) -> None:
        """Bring everything back to where it was, and catch up with what happened since.

        Raises:
            Unavailable: when the exchange cannot be asked; nothing has been concluded then.
        """
        p, started = self._p, asyncio.get_running_loop().time()
        records = await self._remember()
        report = await p.candles.run(p.wanted)
        self.progress.stored, self.progress.fetched = report.stored, report.fetched
        until = self._market_time()
        p.trader.situation.market_time = until
        for series in p.wanted:
            bars = p.windows.bars(series)
            if len(bars):
                p.trader.situation.prices[series.symbol] = Decimal(repr(float(bars.close[-1])))
            if series.timeframe == p.finest:
                p.broker.on_bars(series.symbol, bars)
        await self._refresh_balance()
        symbols = sorted({series.symbol for series in p.wanted})
        self.progress.missed_signals = await recovery.warm_up(p.trader, p.windows, symbols, self._last_lived(records))
        await self._take_fills_since(recovery.fills_start(p.trader, until))
        await self._settle_orders()
        await self._dispatch(p.trader.resume())
        await self._compare_positions()
        self.progress.recovered = True
        self.progress.recovery_s = asyncio.get_running_loop().time() - started
        log.info(
            "recovered", seconds=round(self.progress.recovery_s, 2), records=len(records), candles_stored=report.stored,
            candles_fetched=report.fetched, positions=len(p.trader.book.positions()), trades=len(p.trades.trades()),
            missed_signals=self.progress.missed_signals,
        )  # fmt: skip

    async def _remember(self) -> list[Record]:
        # once only: a start that has to be tried again must not live its past twice
        if self._records is None:
            p = self._p
            records = await p.tiers.journal.call(lambda: list(p.ledger.replay()))
            await self._restore_trades(replay(p.trader, records))
            self._records = records
        return self._records

    async def recover_with_patience(self) -> None:
        """Recover, again and again until the exchange answers."""
        while not self.progress.recovered:
            try:
                await self.recover()
            except (Unavailable, OutcomeUnknown) as error:
                self.progress.broker_error = str(error)
                log.warning("start waits for the exchange", reason=str(error))
                await asyncio.sleep(RECOVERY_RETRY_S)

    def start(self, tasks: Tasks) -> None:
        """Begin trading; ``recover`` must have succeeded."""
        p = self._p
        tasks.start("events", self._consume)
        for lane in range(LANES):
            tasks.start(f"orders {lane}", lambda lane=lane: self.orders.run(lane))  # type: ignore[misc]
        tasks.start("trades", self._keep_trades)
        tasks.start("settle", self._settle)
        tasks.start("balance", self._watch_balance)
        tasks.start("reconcile", self._reconcile)
        tasks.start("executions", self._listen)
        tasks.start("candles", p.writer.run)
        tasks.start("candle drain", p.writer.drain)
        tasks.start("candle summary", p.writer.summarise)
        tasks.start("feed", lambda: p.feed.run(self._events.put))
        tasks.start("instruments", self._refresh_instruments)
        tasks.start("lag", self._measure_lag)
        if p.acknowledge is not None:
            tasks.start("stepping", self._keep_stepping)

    async def append(self, record: Record) -> Receipt:
        """Write a record to the ledger on its own thread."""
        receipt = await self._p.tiers.journal.call(self._p.ledger.append, record)
        self.progress.durable = self._p.trader.situation.durable = receipt.level > Level.MEMORY
        return receipt

    async def stop(self, deadline_s: float) -> None:
        """Take the last executions and save what is unsaved, as far as the deadline allows.

        What does not fit is not lost: the journal is durable already, and the next start asks the exchange again.
        """
        with contextlib.suppress(TimeoutError, RevenantError):
            async with asyncio.timeout(deadline_s):
                if self.progress.recovered:
                    await self._take_fills_since(recovery.fills_start(self._p.trader, self._market_time()))
                    await self._finished.join()
                await self._p.writer.flush()

    def reasons(self) -> list[str]:
        """Say why the bot is not able to trade, an empty list when it is."""
        p, said = self._p, []
        if not self.progress.recovered:
            said.append("recovery has not finished")
        if not p.feed.connected():
            said.append("feed is not connected")
        stale = p.feed.stale()
        if stale and self.progress.recovered:
            said.append(f"{len(stale)} streams are silent, among them {stale[0].symbol} {stale[0].timeframe}")
        if self.progress.broker_error:
            said.append(f"exchange: {self.progress.broker_error}")
        if not self.progress.durable:
            said.append("the journal cannot be written: no new entries")
        if p.trader.situation.switch != "running":
            said.append(f"trading is {p.trader.situation.switch.value}")
        return said

    async def _consume(self) -> None:
        while True:
            event = await self._events.get()
            try:
                await self._handle(event)
            finally:
                self._events.task_done()

    async def _handle(self, event: Event) -> None:
        trader = self._p.trader
        if isinstance(event, OrderEnded):
            await self._dispatch(trader.on_order_ended(event))
        elif isinstance(event, StopMoved):
            trader.on_stop_moved(event)
        elif isinstance(event, MoveStop):
            await self._dispatch(trader.on_stop_refused(event.digest, event.cause, event.time))
        elif event and isinstance(event[0], Fill):
            await self._take_told([one for one in event if isinstance(one, Fill)])
        else:
            await self._take_bars([one for one in event if isinstance(one, ClosedBar)])

    async def _take_bars(self, batch: list[ClosedBar]) -> None:
        p = self._p
        p.writer.add(batch)
        if p.acknowledge is not None:
            # a stepping market must look the same on every run, however the sockets race
            with contextlib.suppress(Unavailable, Rejected):
                await self._take_fills_since(recovery.fills_start(p.trader, self._market_time()))
                await self._refresh_balance()
        p.trader.situation.stale = frozenset(series.symbol for series in p.feed.stale())
        for symbol, (price, time) in p.feed.prices.items():
            p.broker.on_price(symbol, price, time)
        for closed in batch:
            if closed.series.timeframe == p.finest:
                p.broker.on_bars(closed.series.symbol, Bars.of([closed.bar]))
            await self._dispatch(p.trader.on_bar(closed))
            # hundreds of symbols close at once: the loop must breathe between them
            await asyncio.sleep(0)
        self.progress.batches += 1
        p.told("batch", batch)
        if p.acknowledge is not None and batch:
            await self._acknowledge(batch[0].close_time)

    async def _acknowledge(self, time: int) -> None:
        # everything that this batch led to must have happened before the market moves on
        await self.orders.settled()
        while not self._events.empty():
            event = self._events.get_nowait()
            try:
                await self._handle(event)
            finally:
                self._events.task_done()
        if self._p.acknowledge is not None:
            await self._p.acknowledge(time)

    async def _keep_stepping(self) -> None:
        """Ask a stepping market for its first bars once we listen, and again if a step got lost on the way."""
        loop = asyncio.get_running_loop()
        while not self._p.feed.connected():
            await asyncio.sleep(STEP_LOOK_S)
        seen, since = -1, -STEP_LOST_S
        while self._p.acknowledge is not None:
            if seen == self.progress.batches and loop.time() - since > STEP_LOST_S:
                since = loop.time()
                await self._p.acknowledge(self._market_time())
            elif seen != self.progress.batches:
                since = loop.time() if seen >= 0 else since
                seen = self.progress.batches
            await asyncio.sleep(STEP_LOOK_S)

    async def _take_told(self, fills: list[Fill]) -> None:
        # a trade is recorded once, when it is flat: what the stream may have left out of it, such as funding, has to be
        # asked for before
        if any(fill.closed_qty and not self._p.trader.book.knows(fill.exec_id) for fill in fills):
            with contextlib.suppress(TimeoutError, Unavailable, Rejected):
                async with asyncio.timeout(ASK_S):
                    await self._take_fills_since(recovery.fills_start(self._p.trader, self._market_time()))
        await self._take_fills(fills)

    async def _take_fills(self, fills: Sequence[Fill]) -> None:
        trader = self._p.trader
        for fill in fills:
            if trader.book.knows(fill.exec_id):
                continue
            await self.append(fill)
            commands = trader.on_fill(fill)
            self._p.told("fill", fill)
            await self._dispatch(commands)

    async def _take_fills_since(self, time: int) -> None:
        until = self._market_time() + 24 * HOUR_MS
        await self._take_fills(await self._p.broker.fills_since(time, until))

    async def _dispatch(self, commands: Sequence[Command]) -> None:
        for command in commands:
            if isinstance(command, PlaceOrder | CancelOrder | MoveStop):
                await self.orders.put(command)
            elif isinstance(command, RecordTrade):
                await self._finished.put(command.trade)
                self._p.told("trade", command.trade)
            elif isinstance(command, Remember):
                await self.append(command.record)
            elif isinstance(command, Refused):
                self._p.told("refused", command)
            if isinstance(command, PlaceOrder) and command.intent.cause is Cause.ENTRY:
                self._p.told("entry", command)

    async def _keep_trades(self) -> None:
        while True:
            trade = await self._finished.get()
            try:
                level = await self._p.tiers.trades.call(self._p.trades.add_trade, trade)
                log.debug("trade recorded", trade=trade.trade_id, level=level.name)
            except Unavailable as error:
                # the thread goes on with it by itself; its fills are in the journal in any case
                log.warning("trade not settled yet", trade=trade.trade_id, reason=str(error))
            finally:
                self._finished.task_done()

    async def _settle(self) -> None:
        while True:
            await asyncio.sleep(SETTLE_S)
            if self._p.trades.unsettled:
                with contextlib.suppress(Unavailable):
                    await self._p.tiers.trades.call(self._p.trades.settle)

    async def _watch_balance(self) -> None:
        while True:
            await asyncio.sleep(BALANCE_S)
            with contextlib.suppress(Unavailable, Rejected):
                await self._refresh_balance()

    async def _refresh_balance(self) -> None:
        try:
            balance = await self._p.broker.balance()
        except RevenantError as error:
            self.progress.broker_error = str(error)
            raise
        self._p.trader.situation.equity = balance.equity
        self.progress.broker_error = ""
        self.progress.balance_at = asyncio.get_running_loop().time()

    async def _refresh_instruments(self) -> None:
        while True:
            await asyncio.sleep(INSTRUMENTS_S)
            try:
                fresh = await self._p.broker.instruments()
            except (Unavailable, Rejected) as error:
                log.warning("trading rules not refreshed", reason=str(error))
                continue
            for symbol in self._p.trader.update_instruments(fresh):
                log.warning("symbol is not traded any more: no new entries", symbol=symbol)

    async def switch(self, state: SwitchState, reason: str) -> None:
        """Let new entries in, or stop them; the choice survives a restart."""
        await self._dispatch(self._p.trader.switch(state, reason))
        log.warning("switch", state=state.value, reason=reason)

    async def _listen(self) -> None:
        async for fills in self._p.broker.stream():
            if fills:
                await self._events.put(list(fills))
            else:
                # connected anew: what happened in between is asked for
                self._nudged.set()

    async def _reconcile(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RECONCILE_S):
                    await self._nudged.wait()
            self._nudged.clear()
            try:
                start = recovery.fills_start(self._p.trader, self._market_time())
                fills = await self._p.broker.fills_since(start, self._market_time() + 24 * HOUR_MS)
                await self._events.put(fills)
                await self._events.join()
                await self._settle_orders()
                await self._compare_positions()
            except (Unavailable, Rejected, BadData) as error:
                log.warning("reconciliation postponed", reason=str(error))
            await asyncio.sleep(NUDGE_PAUSE_S)

    async def _settle_orders(self) -> None:
        """Learn what became of orders whose end nobody has told us; those being sent right now are left alone."""
        ended = await recovery.settle_orders(self._p.trader, self._p.broker, self._market_time(), self.orders.in_flight)
        for one in ended:
            await self.append(one)
            await self._dispatch(self._p.trader.on_order_ended(one))

    async def _compare_positions(self) -> None:
        """Compare our book with the exchange's own report; give a position without a stop its stop back."""
        reported = {held.symbol: held for held in await self._p.broker.positions()}
        book = {held.symbol: held for held in self._p.trader.book.positions() if not held.pending and not held.flat}
        self.progress.foreign = sorted(set(reported) - set(book))
        self.progress.naked = []
        for symbol in self.progress.foreign:
            if self._p.trader.book.of_symbol(symbol) is None:
                log.warning("position on the exchange is not ours: left alone", symbol=symbol)
        for symbol, held in book.items():
            there = reported.get(symbol)
            if there is None:
                log.warning("our position is gone on the exchange; its executions are awaited", symbol=symbol)
                self._nudged.set()
            elif not there.stop:
                await self._protect(there, held.bracket.stop, held.bracket.target)

    async def _protect(self, there: PositionReport, stop: Decimal, target: Decimal) -> None:
        self.progress.naked.append(there.symbol)
        log.error("position without a stop: setting it", symbol=there.symbol, stop=str(stop))
        try:
            await self._p.broker.set_stop(there.symbol, stop, target)
        except (Rejected, OutcomeUnknown) as error:
            log.warning("stop refused: closing the position", symbol=there.symbol, reason=str(error))
            held = self._p.trader.book.of_symbol(there.symbol)
            if held is not None:
                await self._dispatch(self._p.trader.exit(held, Cause.STOP_LOSS, self._market_time()))

    async def _restore_trades(self, journaled: list[Trade]) -> None:
        p = self._p
        try:
            await p.tiers.trades.call(p.trades.load)
        except Unavailable as error:
            log.warning("database away: starting on the journal alone", reason=str(error))
        for trade in journaled:
            p.trades.restore(trade)
        p.trader.closed.extend(p.trades.trades())

    def _last_lived(self, records: list[Record]) -> dict[str, int]:
        # signals after the last thing written down were missed; a first life has missed nothing
        last = max((record.time for record in records), default=0)
        return {series.symbol: last for series in self._p.wanted} if last else {}

    def _market_time(self) -> int:
        held = [self._p.windows.bars(series) for series in self._p.wanted]
        newest = max((int(bars.open_time[-1]) for bars in held if len(bars)), default=0)
        return max(newest, self._p.trader.situation.market_time, self._p.trader.book.last_fill_time)

    async def _measure_lag(self) -> None:
        loop, pause = asyncio.get_running_loop(), 0.05
        while True:
            due = loop.time() + pause
            await asyncio.sleep(pause)
            self.progress.lag_max_ms = max(self.progress.lag_max_ms, (loop.time() - due) * 1000)

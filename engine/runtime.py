"""The asynchronous shell: feeds the trader, carries out its commands, keeps the rest alive."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import structlog

from domain.candle import Bars, ClosedBar, decimal_of
from domain.errors import OutcomeUnknown, Rejected, RevenantError, Unavailable
from domain.order import Cause, OrderReport, PositionReport
from domain.records import Fill, Level, Mended, OrderEnded, Receipt, StopMoved, finished
from engine import readiness, recovery
from engine.commands import Announced, CancelOrder, MoveStop, PlaceOrder, RecordTrade, Refused, Remember
from engine.execution_reader import ExecutionReader
from engine.exit_retries import ExitRetries
from engine.following import Following
from engine.intake import Intake
from engine.late_funding import LateFunding
from engine.leverage import Leverages
from engine.lookout import Lookout
from engine.market_clock import MarketClock
from engine.orders import LANES, Orders
from engine.parts import Parts, Progress
from engine.patience import Patient
from engine.recall import Recall
from engine.reconciliation import Reconciler
from engine.refusals import OrderRefused, Refusals, StopRefused
from engine.rounds import UNDECIDED_S, Rounds
from engine.rules import Rules
from engine.second_sender import SecondSender
from engine.stepping import keep_stepping
from engine.stops import Stops
from engine.upkeep import Upkeep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.records import Record, Touched
    from domain.trade import Leg, Trade
    from engine.commands import Command
    from engine.learning import Learning
    from engine.phantoms import Phantoms
    from engine.position import Position
    from engine.tasks import Tasks

log = structlog.get_logger(__name__)

Event = (
    list[ClosedBar] | list[Fill] | OrderEnded | StopMoved | StopRefused | OrderRefused | OrderReport | PositionReport
)

EVENTS_MAX = 10_000
CLOCK_S = 5.0
HEAL_S = 2.0
SETTLE_S = 5.0
RECOVERY_RETRY_S = 2.0


class Runtime:
    """Runs the bot: recovery first, then trading until cancelled."""

    def __init__(self, parts: Parts) -> None:
        self._p = parts
        self._events: asyncio.Queue[Event] = asyncio.Queue(EVENTS_MAX)
        self._nudged = asyncio.Event()
        self._finished: asyncio.Queue[Trade] = asyncio.Queue(EVENTS_MAX)
        self.rules = Rules(parts.trader, parts.broker)
        stops = Stops(parts.broker, self.rules, self._last_price)
        self._clock = MarketClock(self.market_time)
        self.second = SecondSender(parts.trader, parts.fence, self._clock.now, parts.told)
        self.orders = Orders(
            parts.broker, self.append, self._events.put, self._nudged.set, self.rules, stops, self.second.refused
        )
        self.progress, self.lists = Progress(), Patient(parts.broker)
        leverages = Leverages(parts.trader, self, parts.told)
        self.reconciler = Reconciler(parts.trader, parts.broker, self, parts.reconcile, stops, leverages, self.lists)
        self.exits = ExitRetries(
            parts.trader, self.dispatch, self.market_time, lambda failing: parts.told("exit failing", failing),
            lambda symbol: symbol in self.reconciler.found.ghosts,
        )  # fmt: skip
        self.rounds = Rounds(self._nudged, self._undecided, self._compare)
        self.lookout = Lookout(
            parts.trader, parts.broker, self.reconciler, self._nudged.set, lambda: not parts.fence.superseded
        )
        self._executions = ExecutionReader(parts.trader, self.lists, self._clock)
        self._funding = LateFunding(parts.trader, self._executions, self.dispatch, self._legs_of)
        self.intake = Intake(
            parts.trader, parts.broker, self, self.reconciler, self.exits, parts.told, self._executions, self._funding,
            self.lists,
        )  # fmt: skip
        self._lookup = recovery.OrderLookup(self.orders.find_out)
        self._batch_at = self._settled_at = 0.0
        self._consuming, self._leaving, self._recording = False, False, True
        self._recall, self.following = Recall(parts), Following(parts)
        self._upkeep = Upkeep(parts, self.progress, self.rules, self.orders.in_flight, self)
        self.refusals = Refusals(parts.trader, self, self.reconciler, self._upkeep.ask_balance, parts.told)

    async def recover(self) -> None:
        """Bring everything back to where it was, and catch up with what happened since.

        Raises:
            Unavailable: when the exchange cannot be asked; nothing has been concluded then.
        """
        p, started = self._p, asyncio.get_running_loop().time()
        await p.fence.take()
        gc.disable()  # hundreds of thousands of records come into being now, none of them garbage
        past = await self._recall.run()
        await p.learning.begin()
        self.following.begin()
        report = await p.candles.run(p.wanted)
        self.progress.stored, self.progress.fetched = report.stored, report.fetched
        until = self.market_time()
        p.trader.situation.market_time = until
        self.following.show(p.wanted)
        await self._upkeep.ask_balance()
        chosen = self.following.chosen
        missed = await recovery.warm_up(p.trader, p.windows, chosen, recovery.last_lived(p.wanted, past.until))
        p.phantoms.missed(missed)
        self.progress.missed_signals = len(missed)
        await p.phantoms.catch_up(p.windows, p.candles, p.wanted)
        lost = p.ledger.doubtful_since is not None or past.lost_since is not None
        start = recovery.asking_start(p.trader, p.ledger, past.until, until, past.lost_since)
        fills = await self._executions.since(start, lost=lost or not past.until)
        await self.intake.take_fills(fills)
        await self._settle_orders()
        await self.dispatch(p.trader.resume())
        forgotten = await self._executions.unknown(fills)
        await self.reconciler.restore_closed([*fills, *forgotten] if lost or not past.until else forgotten)
        await self.reconciler.compare()
        await self.following.keep_up()
        await self.intake.finish_flat()
        self._funding.recall(until)
        if lost:
            await self.append(Mended(time=until, missing=p.ledger.missing))
        # not before: carrying thousands of trades at once would slow the start down, and the journal has them
        p.trades.start()
        p.phantoms.trail.start()
        self.progress.lag.begin()
        # what has been loaded stays: the collector need not look at it again and again while trading
        gc.freeze()
        gc.enable()
        self.progress.recovered, self.progress.records = True, past.records
        self.progress.recovery_s = asyncio.get_running_loop().time() - started
        log.info(
            "recovered", seconds=round(self.progress.recovery_s, 2), records=past.records, candles_stored=report.stored,
            candles_fetched=report.fetched, positions=len(p.trader.book.positions()), trades=len(p.trades),
            missed_signals=self.progress.missed_signals,
        )  # fmt: skip
        p.told("recovered", self.progress)

    async def recover_with_patience(self) -> None:
        """Recover, again and again until the exchange answers."""
        while not self.progress.recovered:
            try:
                await self.recover()
            except (Unavailable, OutcomeUnknown) as error:
                gc.enable()
                self.progress.broker_error = str(error)
                log.warning("start waits for the exchange", reason=str(error))
                await asyncio.sleep(RECOVERY_RETRY_S)

    def start(self, tasks: Tasks, *, trading: bool = True) -> None:
        """Begin to handle events and orders, and with ``trading`` to listen; ``recover`` must have succeeded."""
        p = self._p
        self._consuming, self.progress.failing = True, tasks.failing
        tasks.start("events", self._consume)
        for lane in range(LANES):
            tasks.start(f"orders {lane}", lambda lane=lane: self.orders.run(lane))  # type: ignore[misc]
            tasks.start(f"lookups {lane}", self.orders.run_lookups)
        tasks.start("exits", self.orders.run_exits)
        tasks.start("trades", self._keep_trades)
        tasks.start("phantoms", lambda: p.phantoms.run(self.append))
        tasks.start("ledger", self._heal)
        tasks.start("lease", p.fence.keep)
        tasks.start("second sender", self.second.run)
        tasks.start("balance", self._upkeep.watch_balance)
        tasks.start("reconcile", self.rounds.run)
        tasks.start("lookout", self.lookout.run)
        tasks.start("exit retries", self.exits.run)
        tasks.start("executions", self._listen)
        if not trading:
            return
        tasks.start("time", self._watch_time)
        tasks.start("learning", p.learning.run)
        tasks.start("phantoms behind", lambda: p.phantoms.keep_up(p.windows, p.candles, p.wanted))
        tasks.start("candles", p.writer.run)
        tasks.start("candle drain", p.writer.drain)
        tasks.start("candle summary", p.writer.summarise)
        tasks.start("feed", lambda: p.feed.run(self._events.put))
        tasks.start("instruments", self._upkeep.watch_rules)
        if p.acknowledge is not None:
            tasks.start("stepping", lambda: keep_stepping(p, self.progress, self.market_time))

    @property
    def learning(self) -> Learning:
        """What has the models trained."""
        return self._p.learning

    @property
    def phantoms(self) -> Phantoms:
        """What has every signal followed."""
        return self._p.phantoms

    async def append(self, record: Record) -> Receipt:
        """Write a record to the ledger on its own thread; a disk that hangs counts as no disk."""
        self.second.note(record)
        try:
            receipt = await self._p.tiers.journal.call(self._p.ledger.append, record)
        except Unavailable as error:
            log.critical("record not on disk yet", reason=str(error))
            receipt = Receipt(Level.MEMORY)
        self._note_durable(receipt.level > Level.MEMORY and self._p.ledger.durable)
        return receipt

    async def stop(self, deadline_s: float) -> None:
        """Take the last executions and save what is unsaved, as far as the deadline allows.

        What does not fit is not lost: the journal is durable already, and the next start asks the exchange again.
        """
        # the moment that is being decided on is the last: what closes from now on is for the next start
        self._leaving = True
        with contextlib.suppress(TimeoutError, RevenantError):
            async with asyncio.timeout(deadline_s / 3):
                await self._p.writer.free()
                if self.progress.recovered:
                    await self.intake.take_news()
        # what is over from now on is recorded by the next start, for its executions are in the journal: a trade that
        # the journal gets in this moment would be missing from the database until then
        self._recording = False
        if self.progress.recovered:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(deadline_s / 6):
                    await self._finished.join()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline_s / 2):
                await asyncio.gather(
                    self._p.writer.flush(),
                    self._end_phantoms(deadline_s / 2),
                    self._p.tiers.trades.call(self._p.trades.close, deadline_s / 2),
                    return_exceptions=True,
                )

    async def _end_phantoms(self, deadline_s: float) -> None:
        await self._p.phantoms.flush(self.append)
        await self._p.tiers.phantoms.call(self._p.phantoms.trail.close, deadline_s)

    def reasons(self) -> list[str]:
        """Return why the bot is not able to trade, an empty list when it is."""
        return readiness.reasons(self._p, self.progress)

    def notes(self) -> list[str]:
        """Return what keeps entries from some symbols while the others can be traded."""
        return [*readiness.notes(self._p, self.progress), *self.reconciler.locked()]

    def report(self) -> dict[str, Any]:
        """Return the state of the tiers, of the right to send orders, and what reconciliation has found."""
        p, found = self._p, self.reconciler.found
        return {
            "connected": p.feed.connected(), "stale": [" ".join(series) for series in p.feed.stale()],
            "durable": self.progress.durable, "ledger": p.ledger.report(),
            "tiers": {**p.trades.tiers(), **p.phantoms.trail.tiers()},
            "private_stream": p.broker.private_stream.report(asyncio.get_running_loop().time()),
            "lease": p.fence.state(), "second_sender": self.second.report(), "reconciled": found.rounds,
            "foreign_positions": found.foreign, "ghosts": found.ghosts, "mismatched": found.mismatched,
            "adopted": found.adopted, "rebuilt": found.rebuilt, "naked": sorted(found.naked),
            "naked_seconds": found.naked_seconds(),
            "unknown_orders": self.orders.unknown, "orders_placed": self.orders.placed,
            "unsettled": p.trades.unsettled, "threads": p.tiers.took(),
            "bar_to_order_ms": {f"p{q}": self.orders.to_wire.quantile_ms(q / 100) for q in (50, 99)},
            "tasks": len(asyncio.all_tasks()),
        }  # fmt: skip

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
            await self.intake.take_end(event)
        elif isinstance(event, OrderReport):
            await self.intake.take_report(event)
        elif isinstance(event, PositionReport):
            self.intake.take_position(event)
        elif isinstance(event, StopMoved):
            trader.on_stop_moved(event)
        elif isinstance(event, StopRefused):
            await self.refusals.take_stop(event)
        elif isinstance(event, OrderRefused):
            await self.refusals.take_order(event)
        elif event and isinstance(event[0], Fill):
            await self.intake.take_told([one for one in event if isinstance(one, Fill)])
        elif event:
            await self._take_bars([one for one in event if isinstance(one, ClosedBar)])

    async def _take_bars(self, batch: list[ClosedBar]) -> None:
        p, self._batch_at = self._p, asyncio.get_running_loop().time()
        # the database would want the processor in the very moment in which the market is decided on
        with p.writer.waiting():
            p.writer.add(batch)
            if self._leaving:
                return
            await self._decide(batch)
        self.progress.batches += 1
        p.told("batch", batch)
        if p.acknowledge is not None:
            await self._acknowledge(batch[0].close_time)

    async def _decide(self, batch: list[ClosedBar]) -> None:
        p = self._p
        if p.acknowledge is not None:
            # a stepping market must look the same on every run, however the sockets race
            with contextlib.suppress(Unavailable, Rejected):
                await self.intake.take_news()
                await self._upkeep.ask_balance()
        p.trader.situation.stale = frozenset(readiness.silent(p))
        p.trader.situation.superseded |= p.fence.superseded  # what a successor has left is compared before entries
        p.trader.situation.barred = p.broker.barred()
        for symbol, (price, time) in p.feed.prices.items():
            p.broker.on_price(symbol, price, time)
        for closed in batch:
            if closed.series.timeframe == p.finest:
                p.broker.on_bars(closed.series.symbol, Bars.of([closed.bar]))
            await self.dispatch(p.trader.on_bar(closed))
            p.phantoms.show(closed)
            # hundreds of symbols close at once: the loop must breathe between them
            await asyncio.sleep(0)
        await self.dispatch(p.trader.overdue(p.trader.situation.market_time))

    async def _watch_time(self) -> None:
        """Keep timeouts also while nothing closes a bar: in the symbol, or anywhere."""
        while True:
            await asyncio.sleep(CLOCK_S)
            if not self._p.fence.superseded:
                await self.dispatch(self._p.trader.overdue(self._clock.now()))

    async def _acknowledge(self, time: int) -> None:
        # everything that this batch led to must have happened before the market moves on, and what that led to as well
        await self.orders.settled()
        while not self._events.empty():
            event = self._events.get_nowait()
            try:
                await self._handle(event)
            finally:
                self._events.task_done()
            await self.orders.settled()
        if self._p.acknowledge is not None:
            await self._p.acknowledge(time)

    async def dispatch(self, commands: Sequence[Command]) -> None:
        """Carry commands out, or queue them for those who do."""
        for command in commands:
            if isinstance(command, PlaceOrder | CancelOrder | MoveStop):
                entry = isinstance(command, PlaceOrder) and command.intent.cause is Cause.ENTRY
                await self.orders.put(command, self._batch_at if entry else None)
            elif isinstance(command, RecordTrade) and self._recording:
                # a start is over only once everything that it has found is recorded
                await (self._finished.put(command.trade) if self._consuming else self._record(command.trade))
                self._p.phantoms.take_trades([command.trade])
                self._p.told("amended" if command.trade.version else "trade", command.trade)
            elif isinstance(command, Remember):
                await self.append(command.record)
                self._p.told("decided", command.record)
                with contextlib.suppress(RevenantError):
                    await self._p.tiers.lease.call(self._p.latches.keep, command.record)
            elif isinstance(command, Refused):
                self._p.phantoms.note(command.signal, command.gate, command.judged)
                self._p.told("refused", command)
            elif isinstance(command, Announced):
                self._p.told("strategy", command)
            if isinstance(command, PlaceOrder) and command.signal is not None:
                self._p.phantoms.note(command.signal, "", command.judged)
                self._p.told("entry", command)

    async def _legs_of(self, trade_id: str) -> list[Leg]:
        return await self._p.tiers.trades.call(self._p.trades.legs, trade_id)

    async def _keep_trades(self) -> None:
        while True:
            trade = await self._finished.get()
            try:
                await self._record(trade)
            finally:
                self._finished.task_done()

    async def _record(self, trade: Trade) -> None:
        begun = asyncio.get_running_loop().time()
        try:
            level = await self._p.tiers.journal.call(self._p.trades.add_trade, trade)
            log.debug("trade recorded", trade=trade.trade_id, level=level.name)
        except Unavailable as error:
            # the thread goes on with it by itself; its fills are in the journal in any case
            log.warning("trade not recorded yet", trade=trade.trade_id, reason=str(error))
        self.progress.recording.note((asyncio.get_running_loop().time() - begun) * 1000)

    async def _heal(self) -> None:
        while True:
            await asyncio.sleep(HEAL_S)
            # a refuge that hangs must keep no record waiting
            tier = self._p.tiers.refuges or self._p.tiers.journal
            with contextlib.suppress(Unavailable):
                # what else an earlier life had written down, the exchange has told meanwhile
                if found := finished(await tier.call(self._p.ledger.heal)):
                    await self._p.tiers.trades.call(self._p.trades.restore, found)
            self._note_durable(self._p.ledger.durable)

    def _note_durable(self, durable: bool) -> None:  # noqa: FBT001  a fact, not a switch
        if durable != self.progress.durable:
            log.warning("new entries are possible again" if durable else "no durable place: no new entries")
        self.progress.durable = self._p.trader.situation.durable = durable

    def _last_price(self, symbol: str) -> Decimal | None:
        price, _ = self._p.feed.prices.get(symbol, (0.0, 0))
        return decimal_of(float(price)) if price else None

    async def settle(self, seconds: float) -> None:
        """Wait so long for finished trades to be recorded and to reach the database."""
        while not self._finished.empty():
            await self._record(self._finished.get_nowait())
            self._finished.task_done()
        await self._p.tiers.trades.call(self._p.trades.settle, seconds)

    async def _listen(self) -> None:
        async for told in self._p.broker.stream():
            if fills := [one for one in told if isinstance(one, Fill)]:
                await self._events.put(fills)
            for one in (one for one in told if not isinstance(one, Fill)):
                await self._events.put(one)
            await self.intake.take_unread()
            if not told:
                # connected anew: what happened in between is asked for
                self._nudged.set()

    async def _compare(self) -> None:
        asked = asyncio.get_running_loop().time()
        await self.catch_up()
        if not self._p.fence.superseded:
            await self.reconciler.compare(asked)
            self._p.trader.situation.superseded = False
        await self.following.keep_up()

    def _undecided(self) -> bool:
        """Return whether something waits for an answer of the exchange: then it is asked again within seconds."""
        book = self._p.trader.book
        return bool(
            self._lookup.undecided
            or (self.reconciler.doubts or self.reconciler.found.naked)
            or (self._p.trader.situation.superseded and not self._p.fence.superseded)
            or book.leftovers
            or any(order.market for order in book.unsettled())
            or any(held.flat or held.leaving for held in book.positions())
        )

    async def touched(self, touch: Touched) -> None:
        """Write down what a hand did to a position, and tell it."""
        await self.append(touch)
        self._p.trader.restore(touch)
        self._p.trader.counts[f"touch:{touch.touch}"] += 1
        self._p.told("hand", touch)

    def exit_again(self, held: Position) -> None:
        """Have an exit that came to nothing sent again, unless that is under way."""
        self.exits.ensure(held)

    def nudge(self) -> None:
        """Have the book compared with the exchange now."""
        self._nudged.set()

    async def catch_up(self) -> None:
        """Ask for executions and for the ends of orders, and take them."""
        doubted = [*self.reconciler.lasting_doubts, *self._lookup.behind]
        start = recovery.fills_start(self._p.trader, self.market_time())
        fills = await self._executions.news(start, doubted)
        await self.take(fills)
        await self.intake.take_unread()
        await self.intake.finish_flat(self.take)
        await self._funding.look()
        # each open order costs a request: rounds that follow one another closely look at fills and positions only
        now = asyncio.get_running_loop().time()
        hurried = any(order.market for order in self._p.trader.book.unsettled())
        if now - self._settled_at >= (UNDECIDED_S if hurried else SETTLE_S) or self._lookup.undecided:
            self._settled_at = now
            await self._settle_orders()
        await self.reconciler.restore_closed(await self._executions.unknown(fills))

    async def rebuild(self, since: int) -> list[str]:
        """Ask for everything since a market time anew, and settle by all means what differs; return where that was."""
        await self.take(fills := await self._executions.since(since, lost=True))
        await self.reconciler.restore_closed(fills)
        return await self.reconciler.settle()

    async def take(self, fills: list[Fill]) -> None:
        """Take executions, and return once they have been taken."""
        if not self._consuming:
            await self.intake.take_fills(fills)
            return
        await self._events.put(fills)
        await self._events.join()

    async def _settle_orders(self) -> None:
        """Learn what became of orders whose end nobody has told us; those being sent right now are left alone."""
        ended = await self._lookup.settle(self._p.trader, self.lists, self.market_time(), self.orders.in_flight)
        for one in ended:
            await self.append(one)
            await self.intake.take_end(one)

    def market_time(self) -> int:
        """Return the newest time that the market has told."""
        held = [self._p.windows.bars(series) for series in self._p.wanted]
        newest = max((int(bars.open_time[-1]) for bars in held if len(bars)), default=0)
        return max(newest, self._p.trader.situation.market_time, self._p.trader.book.last_fill_time)

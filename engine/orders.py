"""Carries the trader's orders out: intent on disk first, then the wire, then the truth about unknown outcomes."""

from __future__ import annotations

import asyncio
import random
import time
import zlib
from typing import TYPE_CHECKING

import msgspec
import structlog

from domain.backoff import Backoff
from domain.errors import IdUsed, OutcomeUnknown, Rejected, Unavailable
from domain.order import Cause, OrderKind, OrderState
from domain.records import Intent, Level, OrderEnded, Receipt, Record, StopMoved
from engine.commands import CancelOrder, MoveStop, PlaceOrder
from engine.lag import Lags
from engine.refusals import OrderRefused, StopRefused
from engine.stops import Placed, Stops, Unruled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from domain.order import OrderReport, OrderRequest
    from domain.ports import Broker
    from engine.commands import Command
    from engine.stops import Rulebook

log = structlog.get_logger(__name__)

ENTRY_LANES, EXIT_LANES, TENDING_LANES = 3, 3, 3
LANES = ENTRY_LANES + EXIT_LANES + TENDING_LANES
LANE_MAX = 1_000
REPEATS = 4
LOOKUPS, EXIT_LOOKUPS = 12, 40
NOT_FOUND_NEEDED = 3
NOT_FOUND_AFTER_S = 10.0
"""An order that arrived late shows up late: that there is none is believed after so many misses over so long."""
PAUSE, EXIT_PAUSE = Backoff(0.2, 5.0), Backoff(0.2, 1.0)
"""Between two attempts to send an order or to find out what became of it; what became of an exit is urgent."""

EXIT_REPEATS_AFTER_S = 0.5
"""An exit that has not been found after so long is sent again under its own id, at most that often."""

EXIT_ENDS_AFTER_S = 0.3
"""An exit that was accepted is looked up after so long, at most that often, until its end is known."""

Executable = PlaceOrder | CancelOrder | MoveStop


class Orders:
    """Works orders off in a few lanes: of one symbol, entries share one, exits another, and what tends it a third.

    What tends a position are partial targets, moved stops and cancellations. No kind waits for another: when the
    exchange hangs on some requests, exits still go out.

    ``in_flight`` names the orders queued or being sent.

    ``append`` writes a record down; ``report`` takes what became of an order, ``nudge`` is called when executions
    should be asked for. ``rules`` are read again when a refusal contradicts them, ``stops`` sets stops. ``used`` takes
    what the exchange had an order of before it was sent for the first time.
    """

    def __init__(
        self,
        broker: Broker,
        append: Callable[[Record], Awaitable[Receipt]],
        report: Callable[[OrderEnded | OrderReport | StopMoved | StopRefused | OrderRefused], Awaitable[None]],
        nudge: Callable[[], None],
        rules: Rulebook | None = None,
        stops: Stops | None = None,
        used: Callable[[Intent], None] = lambda _: None,
    ) -> None:
        self._broker, self._append, self._report, self._nudge = broker, append, report, nudge
        self._used = used
        self._rules = rules or Unruled()
        self._stops = stops or Stops(broker, self._rules)
        self._lanes: list[asyncio.Queue[Executable]] = [asyncio.Queue(LANE_MAX) for _ in range(LANES)]
        self._unresolved: asyncio.Queue[PlaceOrder] = asyncio.Queue(LANE_MAX)
        self._accepted: asyncio.Queue[OrderRequest] = asyncio.Queue(LANE_MAX)
        self._jitter = random.Random()  # noqa: S311  spreads retries, guards nothing
        self.in_flight: set[str] = set()
        self._born: dict[str, float] = {}
        self._cancelling: set[str] = set()
        self._moves: dict[str, MoveStop] = {}
        self._withdrawn: set[str] = set()
        self.to_wire = Lags()
        self.unknown = 0
        self.placed = 0

    async def put(self, command: Executable, born: float | None = None) -> None:
        """Queue a command; ``born`` is when what led to it arrived, on the event loop's clock."""
        symbol = command.request.symbol if isinstance(command, PlaceOrder) else command.symbol
        if isinstance(command, CancelOrder):
            if command.order_id in self._cancelling:
                return
            self._cancelling.add(command.order_id)
            if command.order_id in self.in_flight:
                self._withdrawn.add(command.order_id)
        if isinstance(command, MoveStop):
            waits = command.digest in self._moves
            # of several moves of one stop that wait, only the last is worth a request
            self._moves[command.digest] = command
            if waits:
                return
        if isinstance(command, PlaceOrder):
            if command.intent.opening is not None:
                # stops that wait to be moved there were a position's that is no more
                self._moves = {name: move for name, move in self._moves.items() if move.symbol != symbol}
            self.in_flight.add(command.request.order_id)
            self._born[command.request.order_id] = born or asyncio.get_running_loop().time()
        await self._lanes[_lane(command, zlib.crc32(symbol.encode()))].put(command)

    def find_out(self, command: PlaceOrder) -> None:
        """Find out what became of an exit that an earlier life had sent; while nobody knows, it is sent again."""
        if command.request.order_id not in self.in_flight and not self._unresolved.full():
            self.in_flight.add(command.request.order_id)
            self._unresolved.put_nowait(command)

    async def run(self, lane: int) -> None:
        """Work one lane off until cancelled."""
        queue = self._lanes[lane]
        while True:
            command = await queue.get()
            try:
                await self._do(command)
            finally:
                queue.task_done()

    async def run_lookups(self) -> None:
        """Find out what became of orders whose outcome is unknown, until cancelled; nobody waits behind them."""
        while True:
            command = await self._unresolved.get()
            try:
                await self._resolve(command)
            finally:
                self.in_flight.discard(command.request.order_id)
                self._withdrawn.discard(command.request.order_id)
                self._unresolved.task_done()

    async def run_exits(self) -> None:
        """Find out how exits ended that the exchange has accepted, until cancelled.

        The report may be lost, and what an exit that was cancelled leaves open has no stop perhaps. Nobody waits for
        this, and no exit for another one.
        """
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._follow(await self._accepted.get()))

    async def _follow(self, request: OrderRequest) -> None:
        for attempt in range(EXIT_LOOKUPS):
            await asyncio.sleep(EXIT_ENDS_AFTER_S)
            found = await self._found(request)
            if found is not None and found.state not in {OrderState.WORKING, OrderState.NOT_FOUND}:
                await self._report(found)
                return
            await self._pause(attempt, EXIT_PAUSE)

    async def settled(self) -> None:
        """Wait until everything queued has been carried out."""
        for queue in self._lanes:
            await queue.join()
        await self._unresolved.join()

    async def _do(self, command: Command) -> None:
        if isinstance(command, PlaceOrder):
            await self._place(command)
        elif isinstance(command, CancelOrder):
            await self._cancel(command)
        elif isinstance(command, MoveStop):
            move = self._moves.pop(command.digest, None)
            if move is not None:
                await self._move(move)

    async def _place(self, command: PlaceOrder) -> None:
        known = True
        try:
            await self._try(command)
        except OutcomeUnknown as error:
            known = False
            self.unknown += 1
            log.warning("order outcome unknown: looking it up", order=command.request.order_id, reason=str(error))
            await self._unresolved.put(command)
        finally:
            self._born.pop(command.request.order_id, None)
            if known:
                self.in_flight.discard(command.request.order_id)
                self._withdrawn.discard(command.request.order_id)

    async def _try(self, command: PlaceOrder) -> None:
        request = command.request
        if request.order_id in self._withdrawn:
            await self._ended(command, OrderState.REJECTED, "withdrawn before it was sent")
            return
        receipt = await self._append(msgspec.structs.replace(command.intent, sent_at=int(time.time() * 1000)))
        if receipt.level is Level.MEMORY and not request.reduce_only:
            await self._ended(command, OrderState.REJECTED, "no durable place for the intent")
            return
        try:
            await self._prepare(command)
            await self._send(command)
        except Rejected as error:
            await self._rules.contradicted(request.symbol, error)
            await self._ended(command, OrderState.REJECTED, str(error))
            if command.signal is not None or command.intent.cause is Cause.PARTIAL:
                # what may be sent again in another shape; an exit is sent again in any case
                await self._report(OrderRefused(command, error.objection, str(error)))
        except Unavailable as error:
            await self._ended(command, OrderState.NOT_FOUND, str(error))
        else:
            self.placed += 1
            self._note_accepted(command)
            log.debug("order accepted", symbol=request.symbol, order=request.order_id, time=command.intent.time)

    async def _prepare(self, command: PlaceOrder) -> None:
        """Set the leverage that an entry was sized for: since the last one somebody may have set another."""
        opening = command.intent.opening
        if opening is None:
            return
        await self._stops.settled(command.request.symbol)
        try:
            await self._broker.set_leverage(command.request.symbol, opening.leverage)
        except OutcomeUnknown as error:
            raise Unavailable(str(error)) from error

    async def _send(self, command: PlaceOrder) -> None:
        now = asyncio.get_running_loop().time()
        self.to_wire.note((now - self._born.get(command.request.order_id, now)) * 1000)
        for attempt in range(REPEATS):
            try:
                await self._broker.place(command.request)
            except IdUsed:
                if attempt == 0:
                    self._used(command.intent)
                raise
            except Unavailable:
                # turned away unseen: the same id may be sent again
                if attempt == REPEATS - 1:
                    raise
                await self._pause(attempt)
            else:
                return

    async def _resolve(self, command: PlaceOrder) -> None:
        request, absent = command.request, 0
        loop = asyncio.get_running_loop()
        began = again_at = loop.time()
        for attempt in range(EXIT_LOOKUPS if _leaves(command) else LOOKUPS):
            await self._pause(attempt, EXIT_PAUSE if _leaves(command) else PAUSE)
            found = await self._found(request)
            if found is not None and (found.state in {OrderState.WORKING, OrderState.FILLED} or found.filled_qty):
                self._note_accepted(command)
                self._nudge()
                return
            if found is not None and found.state in {OrderState.CANCELLED, OrderState.REJECTED}:
                await self._ended(command, found.state, found.reason)
                return
            absent += found is not None
            if found is not None and absent >= NOT_FOUND_NEEDED and loop.time() - began >= NOT_FOUND_AFTER_S:
                await self._ended(command, OrderState.NOT_FOUND, f"looked up {absent} times")
                return
            if _leaves(command) and loop.time() - again_at >= EXIT_REPEATS_AFTER_S:
                again_at = loop.time()
                if await self._send_again(command):
                    return
        log.error("order outcome still unknown; its symbol stays locked", order=request.order_id)

    async def _found(self, request: OrderRequest) -> OrderReport | None:
        try:
            return await self._broker.order(request.symbol, request.order_id)
        except (Unavailable, Rejected):
            return None

    async def _send_again(self, command: PlaceOrder) -> bool:
        """Send an exit that may have been lost once more; return whether it was taken now.

        It bears the same id, so that the exchange takes one of the two at most. Whatever else it answers is about this
        request alone: what became of the first one is still to be found out.
        """
        try:
            await self._broker.place(command.request)
        except (Unavailable, Rejected, OutcomeUnknown) as error:
            log.info("exit not sent again", order=command.request.order_id, reason=str(error))
            return False
        self.placed += 1
        self._note_accepted(command)
        self._nudge()
        return True

    def _note_accepted(self, command: PlaceOrder) -> None:
        if _leaves(command) and not self._accepted.full():
            self._accepted.put_nowait(command.request)

    async def _cancel(self, command: CancelOrder) -> None:
        try:
            await self._broker.cancel(command.symbol, command.order_id)
            found = await self._broker.order(command.symbol, command.order_id)
        except (Unavailable, Rejected, OutcomeUnknown) as error:
            # asked for again by the reconciliation, in its own time: asking faster would only use up the rate limit
            log.warning("order not cancelled yet", order=command.order_id, reason=str(error))
            return
        finally:
            self._cancelling.discard(command.order_id)
        if found.filled_qty:
            self._nudge()
        # one that is not found may still be on its way: whoever looks orders up decides
        if found.state not in {OrderState.WORKING, OrderState.NOT_FOUND}:
            ended = OrderEnded(
                time=command.time,
                order_id=command.order_id,
                symbol=command.symbol,
                state=found.state,
                reason="cancelled",
                filled=found.filled_qty,
            )
            await self._append(ended)
            await self._report(ended)

    async def _move(self, command: MoveStop) -> None:
        try:
            outcome = await self._stops.set(command.symbol, command.side, command.stop)
        except Unavailable as error:
            log.warning("stop not moved yet", symbol=command.symbol, reason=str(error))
            return
        if outcome.placed is not Placed.SET:
            await self._report(StopRefused(command, outcome))
            return
        moved = StopMoved(
            time=command.time, digest=command.digest, symbol=command.symbol, stop=outcome.stop, cause=command.cause
        )
        await self._append(moved)
        await self._report(moved)

    async def _ended(self, command: PlaceOrder, state: OrderState, reason: str) -> None:
        request = command.request
        log.warning("order failed", symbol=request.symbol, order=request.order_id, state=state.value, reason=reason)
        ended = OrderEnded(
            time=command.intent.time, order_id=request.order_id, symbol=request.symbol, state=state, reason=reason
        )
        await self._append(ended)
        await self._report(ended)

    async def _pause(self, attempt: int, backoff: Backoff = PAUSE) -> None:
        await asyncio.sleep(backoff.wait_s(attempt + 1, self._jitter.uniform))


def _leaves(command: PlaceOrder) -> bool:
    """Return whether an order gets out of a position at the market."""
    return command.request.reduce_only and command.request.kind is OrderKind.MARKET


def _lane(command: Executable, place: int) -> int:
    """Return the lane for a command, of those that its symbol could have."""
    if not isinstance(command, PlaceOrder) or command.intent.cause is Cause.PARTIAL:
        return ENTRY_LANES + EXIT_LANES + place % TENDING_LANES
    return ENTRY_LANES + place % EXIT_LANES if command.request.reduce_only else place % ENTRY_LANES

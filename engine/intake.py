"""Takes what the exchange reports: executions, ends of orders, positions, and what cannot be interpreted."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

import msgspec

from domain import bounds
from domain.durations import DAY_MS
from domain.errors import Rejected, Unavailable
from domain.ids import parse_order_id
from domain.order import Cause, OrderReport, OrderState, PositionReport
from domain.records import Fill, OrderEnded, Unread
from domain.trade import ZERO
from engine import recovery
from engine.attribution import RACE_MS
from engine.commands import RecordTrade
from engine.differences import unlike
from engine.executions import OVERLAP_MS, whole_of
from engine.exit_retries import ExitRetries
from engine.memory import forgotten
from engine.published import Entered, PartlyTaken, Published
from engine.reconciliation import Reconciler, is_flat

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from domain.ports import Broker, Lists
    from engine.execution_reader import ExecutionReader
    from engine.late_funding import LateFunding
    from engine.position import Position
    from engine.shell import Shell
    from engine.trader import Trader

FUNDING_WAIT_S = 30.0
ASK_S = 3.0

PROVEN_AFTER_S = 10.0
"""After so long the executions have the last word: what they close is closed, whatever the list of positions says."""

ENDED_AFTER_S = 3.0
"""So long, where all orders of ours have ended: what they filled is known then, and only lists can be late."""

PUBLISHED_MAX = 10_000

AHEAD_MAX_MS = DAY_MS
"""How far an execution may be ahead of all that the market has told, and of the host's clock.

A feed may be silent for a while, and a practice exchange's market go much faster than clocks do.
"""

FACTOR_MAX = 1_000
"""How many times dearer or cheaper than meant nothing is bought or sold in the life of a position."""


class Intake:
    """Journals facts, tells the trader, and has carried out what follows from them."""

    def __init__(
        self, trader: Trader, broker: Broker, shell: Shell, reconciler: Reconciler, exits: ExitRetries,
        told: Callable[[str, object], None], executions: ExecutionReader, funding: LateFunding,
        lists: Lists | None = None,
    ) -> None:  # fmt: skip
        self._trader, self._broker, self._shell = trader, broker, shell
        self._lists = lists or broker
        self._executions, self._funding = executions, funding
        self._reconciler, self._exits, self._told = reconciler, exits, told
        self._flat_since: dict[str, float] = {}
        self._asked_whole: dict[str, float] = {}
        self._published: OrderedDict[tuple[str, type], None] = OrderedDict()
        self._refused: OrderedDict[str, None] = OrderedDict()

    async def take_end(self, ended: OrderEnded) -> None:
        """Take the end of an order; an exit that has left something open is sent again."""
        trader, own = self._trader, self._trader.book.order(ended.order_id)
        if own is None or own.state is None:
            self._told("order ended", ended)
        name = parse_order_id(ended.order_id)
        held = trader.book.find(name.digest) if name else None
        commands = trader.on_order_ended(ended)
        self._publish(held)
        await self._shell.dispatch(commands)
        if name is not None and held is not None and name.leg == "x":
            self._exits.note(ended, held)
            if held.leaving:
                # it may have been refused because the position is gone already
                self._shell.nudge()

    async def take_report(self, report: OrderReport) -> None:
        """Take what the private stream reports of an order of ours: its end, or that executions are missing here."""
        own = self._trader.book.order(report.order_id)
        if own is None and report.state is OrderState.WORKING:
            # one that nobody here has sent: looked at where all working orders are
            self._shell.nudge()
        if own is None or own.state is not None or report.state is OrderState.WORKING:
            return
        if own.filled < report.filled_qty:
            self._shell.nudge()
        if report.state is OrderState.FILLED and not own.cut(report.filled_qty):
            # its executions say so by themselves
            return
        ended = OrderEnded(
            time=self._shell.market_time(), order_id=report.order_id, symbol=report.symbol, state=report.state,
            reason=report.reason, filled=report.filled_qty,
        )  # fmt: skip
        await self._shell.append(ended)
        await self.take_end(ended)

    def take_position(self, report: PositionReport) -> None:
        """Compare a position that the private stream reports with the book; a difference wakes the reconciliation."""
        self._reconciler.hear(report)
        held = self._trader.book.of_symbol(report.symbol)
        if report.index or (held is None and report.symbol in self._trader.situation.foreign):
            return
        if unlike(held, report):
            self._reconciler.doubt(report.symbol)
            self._shell.nudge()

    async def take_told(self, fills: list[Fill]) -> None:
        """Take executions that the private stream reports; what they close is recorded once all of it is known."""
        await self.take_fills(fills)
        if self._trader.flat():
            try:
                async with asyncio.timeout(ASK_S):
                    await self.finish_flat()
            except (TimeoutError, Unavailable, Rejected):
                self._shell.nudge()

    async def take_fills(self, fills: Sequence[Fill]) -> None:
        """Journal executions, and have done what follows from them; those that are known already change nothing.

        What somebody else does in the same account is passed over: it may be a thousand times as much as ours.
        """
        trader = self._trader
        for fill in fills:
            if trader.book.knows(fill.exec_id) or not await self._understood(fill):
                continue
            if fill.cause is Cause.FUNDING and self._funding.belongs_here(fill):
                if self._funding.take(fill):
                    self._shell.nudge()
                continue
            if not self._concerns_us(fill):
                continue
            await self._shell.append(fill)
            before = trader.counts["opened"]
            commands = trader.on_fill(fill)
            await self._note_hand(fill)
            if trader.counts["opened"] > before:
                # its stop travels with the order; that it has arrived is looked at
                self._reconciler.guard.opened(fill.symbol)
                self._shell.nudge()
            self._told("fill", fill)
            for held in trader.book.positions():
                if held.symbol == fill.symbol:
                    self._publish(held)
            await self._shell.dispatch(commands)

    async def _understood(self, fill: Fill) -> bool:
        """Return whether anybody can reckon with an execution; one that nobody can is kept as what was not understood.

        It is tried out before it is journaled: what is in the journal comes back at every start.
        """
        reason = self._doubt(fill)
        if reason and fill.exec_id not in self._refused:
            self._refused[fill.exec_id] = None
            while len(self._refused) > PUBLISHED_MAX:
                self._refused.popitem(last=False)
            await self._keep(Unread(time=fill.time, symbol=fill.symbol, what=f"execution: {reason}"[:200],
                                    row=repr(fill)[:500]))  # fmt: skip
        return not reason

    def _doubt(self, fill: Fill) -> str:
        # not the shell's time, which looks through all windows: a start takes thousands of these
        known = max(self._trader.situation.market_time, self._trader.book.last_fill_time)
        newest = max(known, int(time.time() * 1000))
        if reason := bounds.doubt(fill):
            return reason
        if fill.time > newest + AHEAD_MAX_MS:
            return f"its time {fill.time} is in the future"
        held = self._trader.book.of_symbol(fill.symbol)
        if held is not None and fill.price and fill.cause is not Cause.CORPORATE_ACTION:
            meant = held.opening.entry
            if not meant / FACTOR_MAX <= fill.price <= meant * FACTOR_MAX:
                return f"its price {fill.price} is nowhere near {meant}"
        if self._trader.book.told_again(fill):
            return "it was told before, under another id"
        try:
            self._trader.book.try_out(fill)
        except (ArithmeticError, ValueError) as error:
            return repr(error)
        return ""

    async def _keep(self, unread: Unread) -> None:
        """Keep what was not understood, and have its symbol compared before it is traded again.

        Its time may be the very thing that is wrong, and the newest time in the journal is where the next start begins.
        """
        now = self._shell.market_time()
        if not 0 < unread.time <= now:
            unread = msgspec.structs.replace(unread, time=now)
        await self._shell.append(unread)
        self._reconciler.not_understood(unread)
        self._told("unread", unread)
        self._shell.nudge()

    async def _note_hand(self, fill: Fill) -> None:
        """Have it told when a hand has changed one of our positions."""
        beyond = (one for one in self._trader.book.strays(fill.symbol) if whole_of(one.exec_id) == fill.exec_id)
        others = sum((one.qty for one in beyond), ZERO)
        for held in self._trader.book.positions():
            if any(whole_of(exec_id) == fill.exec_id for exec_id in held.fills):
                await self._reconciler.guard.hands.executed(held, fill, others)
            for one in held.fills_by_hand() if held.symbol == fill.symbol else ():
                # it was nobody's until this execution was known
                await self._reconciler.guard.hands.executed(held, one, ZERO)

    def _concerns_us(self, fill: Fill) -> bool:
        """Return whether an execution is of an order of ours, or beside a position that we have or await."""
        if parse_order_id(fill.order_id) is not None or forgotten(self._trader, fill.symbol):
            return True
        held = self._trader.book.of_symbol(fill.symbol)
        # what somebody opened in the moment before an entry of ours stands beside it, unseen when that was sent
        return held is not None and fill.time >= held.intended_at - RACE_MS

    def _publish(self, held: Position | None) -> None:
        """Tell once that an entry has ended, and once that the partial target has been taken, in however many parts."""
        if held is None or held.pending:
            return
        if held.entry_ended and held.entry_order:
            self._publish_once(Entered(held.digest, held.symbol, *held.sum_of({held.entry_order})))
        if held.partial_taken:
            partials = {one.order_id for one in held.orders.values() if one.leg == "p"}
            self._publish_once(PartlyTaken(held.digest, held.symbol, *held.sum_of(partials)))

    def _publish_once(self, what: Published) -> None:
        key = (what.digest, type(what))
        if key not in self._published:
            self._published[key] = None
            self._told("position", what)
        while len(self._published) > PUBLISHED_MAX:
            self._published.popitem(last=False)

    async def take_news(self) -> None:
        """Ask for the executions since the last reading, and take them. Raises Unavailable."""
        since = recovery.fills_start(self._trader, self._shell.market_time())
        await self.take_fills(await self._executions.news(since))
        await self.finish_flat()

    async def finish_flat(self, take: Callable[[list[Fill]], Awaitable[None]] | None = None) -> None:
        """Record positions that are closed, once nothing of them can be missing any more.

        All of its executions are asked for once more: a stream may leave some out, such as funding. That it is over has
        to be proven; and funding that fell due is waited for, for a while. Raises Unavailable when the exchange does
        not answer. ``take`` is for those who do not handle events themselves.
        """
        trader, now = self._trader, asyncio.get_running_loop().time()
        await self._ask_whole(take or self.take_fills)
        waiting = {held.digest: self._flat_since.get(held.digest, now) for held in trader.flat()}
        self._flat_since = waiting
        for held in trader.flat():
            # of one that was rebuilt long after its end, no payment is on its way any more
            late = held.given and self._shell.market_time() - held.last_time > OVERLAP_MS
            patient = not late and now - waiting[held.digest] < FUNDING_WAIT_S
            proven = now - waiting[held.digest] >= _proven_after_s(held) or await self._over(held)
            if not proven or (patient and trader.lacks_funding(held)):
                # looked at again in the next round
                continue
            if held.flat and trader.book.find(held.digest) is held:
                commands = trader.finish(held)
                await self._shell.dispatch(commands)
                for done in commands:
                    if isinstance(done, RecordTrade):
                        self._funding.watch(done.trade)

    async def _ask_whole(self, take: Callable[[list[Fill]], Awaitable[None]]) -> None:
        """Ask for all executions of the positions that are closed, each time that one is, and once more when proven."""
        flat, now = self._trader.flat(), asyncio.get_running_loop().time()
        digests = {held.digest for held in flat}
        self._asked_whole = {digest: at for digest, at in self._asked_whole.items() if digest in digests}
        for held in flat:
            due = self._flat_since.get(held.digest, now) + _proven_after_s(held)
            asked = self._asked_whole.get(held.digest)
            if asked is None or asked < due <= now:
                await take(await self._executions.of(held))
                self._asked_whole[held.digest] = now

    async def _over(self, held: Position) -> bool:
        """Return whether the exchange has no such position, or only what was opened beside or after it, by anybody."""
        if await is_flat(self._lists, held.symbol):
            return True
        book = self._trader.book
        later = book.net(held.symbol)
        others = {book.net_of_strays(held.symbol, since) + later for since in (held.last_time, 0)}
        reported = await self._lists.positions()
        left = sum((one.qty for one in reported if one.symbol == held.symbol), ZERO)
        return bool(left) and left in others

    async def take_unread(self) -> None:
        """Keep what could not be interpreted, and compare its symbol with the exchange before trading there again."""
        for unread in self._broker.unread():
            await self._keep(unread)


def _proven_after_s(held: Position) -> float:
    """Return after how long what closed a position is believed, whatever the list of positions says."""
    ended = bool(held.entry_order) and held.entry_ended and not held.exit_order
    return ENDED_AFTER_S if ended else PROVEN_AFTER_S

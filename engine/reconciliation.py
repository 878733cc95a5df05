"""Compares our book with the exchange's own account of it, and settles every difference."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING

import structlog

from domain.candle import FAST_TIMEFRAME
from domain.durations import DAY_MS
from domain.errors import BadData, Rejected, Unavailable
from domain.order import Cause, Side
from domain.records import Fill, OrderFound
from domain.trade import ZERO
from engine import rebuild
from engine.beside import Beside
from engine.corrections import Corrections, way_out
from engine.differences import Differences
from engine.executions import OVERLAP_MS
from engine.flattening import Flattening
from engine.guard import Guard
from engine.leverage import Leverages
from engine.origins import SEARCH_S, Origins
from engine.stops import Stops, Unruled
from engine.unexplained import Unexplained

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.order import PositionReport
    from domain.ports import Broker, Lists
    from domain.records import Adopted, Unread
    from engine.position import Position
    from engine.shell import Shell
    from engine.trader import Trader

log = structlog.get_logger(__name__)

TARGET_R = 2
BOOKED_AFTER_S = 10.0
"""How long executions are waited for before what is booked as closed is taken in their place."""

DOUBT_ROUNDS = 15
"""Rounds in quick succession that a doubt leads to; a difference that outlasts them is left to the regular ones."""


class Policy(StrEnum):
    """What is done about a position that is not ours: nothing, a stop, closing it, or managing it as our own."""

    IGNORE = "ignore"
    PROTECT = "protect"
    FLATTEN = "flatten"
    ADOPT = "adopt"


@dataclass(frozen=True, slots=True)
class ReconcileTerms:
    """How differences are settled; ``protect_fraction`` of the price is the distance of a stop that we have to choose.

    ``timeframe`` is the one whose bars an adopted position is managed on.
    """

    policy: Policy = Policy.IGNORE
    protect_fraction: Decimal = Decimal("0.05")
    timeframe: str = FAST_TIMEFRAME
    paper: bool = False


async def is_flat(lists: Lists, symbol: str) -> bool:
    """Say whether the exchange says that there is no position; one symbol that it refuses must not hold up others."""
    try:
        return await lists.flat(symbol)
    except Rejected as error:
        log.error("the exchange does not say whether a position is gone", symbol=symbol, reason=str(error))
        return False


class Reconciler:
    """Finds and settles what our book and the exchange tell differently.

    Nothing is concluded from an error or from an answer that leaves something out: a position is gone only when the
    exchange says in so many words that its size is zero, and one is not ours only when it is still there, and still
    unknown, after the executions have been asked for.
    """

    def __init__(
        self, trader: Trader, broker: Broker, shell: Shell, terms: ReconcileTerms, stops: Stops | None = None,
        leverages: Leverages | None = None, lists: Lists | None = None,
    ) -> None:  # fmt: skip
        self._trader, self._lists, self._shell, self._terms = trader, lists or broker, shell, terms
        self._leverages = leverages or Leverages(trader, shell)
        self._turn = asyncio.Lock()
        self._told: set[tuple[str, int, Decimal]] = set()
        self._doubts: dict[str, int] = {}
        self._gone_since: dict[str, float] = {}
        self._origins = Origins(self._lists)
        self.found = Differences()
        self.guard = Guard(trader, shell, stops or Stops(broker, Unruled()), self.found)
        self._corrections = Corrections(trader, shell, self._executions_of, self.guard.hands)
        self.unexplained = Unexplained(trader.book, self._waited)
        self._beside = Beside(trader.book, self.guard.hands, self.unexplained, self._executions_of)
        self._bare: dict[str, PositionReport] = {}
        self.flattening = Flattening(shell, paper=terms.paper)
        self._foreign: list[PositionReport] = []

    @property
    def doubts(self) -> bool:
        """Whether something was reported that does not fit the book, and is still to be compared."""
        return bool(self._doubts)

    @property
    def lasting_doubts(self) -> list[str]:
        """Symbols in which book and exchange have differed for more than one comparison."""
        return [*self.found.mismatched, *(symbol for symbol, rounds in self._doubts.items() if rounds)]

    def doubt(self, symbol: str, reason: str = "") -> None:
        """Compare a symbol until book and exchange agree; with a ``reason``, no entry is made there before."""
        self._doubts[symbol] = 0
        if symbol and reason:
            self._trader.situation.doubtful[symbol] = reason

    def not_understood(self, unread: Unread) -> None:
        """Take note of something that could not be interpreted: nothing is concluded from it."""
        log.error("report of the exchange not understood: kept in the journal, and compared with the exchange",
                  symbol=unread.symbol, what=unread.what, row=unread.row[:200])  # fmt: skip
        self.doubt(unread.symbol, f"a report of the exchange could not be read: {unread.what}")

    def see(self, there: PositionReport) -> None:
        """Take note of what a look at the list shows of a position, before it is compared."""
        if self._minded(there):
            self.unexplained.see(there)

    def hear(self, there: PositionReport) -> None:
        """Take note of what the private stream tells of a position: where its stop is gone nobody waits for a list."""
        if self._minded(there):
            self.unexplained.hear(there)
        held = self._trader.book.of_symbol(there.symbol)
        if not there.index and held is not None and there.qty and not there.stop and self.guard.stood(held):
            self._bare[there.symbol] = there
            self.unexplained.wake.set()

    def _waited(self, symbol: str) -> None:
        """Have a difference settled that was first seen long enough ago, unless it has been met meanwhile."""
        if self._occupied(symbol) or symbol not in self.found.foreign:
            self.unexplained.wake.set()
            self._shell.nudge()

    def _minded(self, there: PositionReport) -> bool:
        return not there.index and (self._occupied(there.symbol) or there.symbol not in self.found.foreign)

    def bare(self) -> list[PositionReport]:
        """Return positions of which was heard, since the last time, that the stop that stood there is gone."""
        told, self._bare = self._bare, {}
        return list(told.values())

    async def prove(self, symbol: str) -> None:
        """Ask for the executions of a symbol in which a difference has stayed; what they do not explain is met at once.

        It waits for no comparison, which has all other symbols to see to; the policy is left to the next one.
        """
        book, asked, now = self._trader.book, asyncio.get_running_loop().time(), self._shell.market_time()
        held = book.of_symbol(symbol)
        since = (held.intended_at - OVERLAP_MS) if held is not None else now - DAY_MS
        try:
            await self._shell.take(await self._lists.fills_since(since, now + DAY_MS, symbol))
        except (Unavailable, Rejected, BadData) as error:
            log.info("executions not listed", symbol=symbol, reason=str(error))
            return
        there, held = self.unexplained.answered(symbol, asked), book.of_symbol(symbol)
        if there is None or not there.qty:
            # that all is gone is for the comparison, which asks whether it is
            return
        ours = held is not None and not held.flat
        for one in await self._beside.meet(held, there, now) if held is not None and ours else [there]:
            kept = [known for known in self._foreign if (known.symbol, known.index) != (one.symbol, one.index)]
            self._note_foreign([*kept, one])
        self._shell.nudge()

    async def compare(self, asked: float | None = None) -> None:
        """Compare and settle. Raises Unavailable when the exchange does not answer; nothing has been concluded then.

        Executions were ``asked`` for at a time of the loop, else just now. Whoever asks while a comparison is under way
        has another one after it.
        """
        async with self._turn:
            await self._compare(asyncio.get_running_loop().time() if asked is None else asked)

    async def _compare(self, asked: float) -> None:
        legs, reported = await self._reported()
        if self._strangers(reported) or self._missing(reported):
            # what we know may simply be older than the report
            asked = asyncio.get_running_loop().time()
            await self._shell.catch_up()
            earlier, (legs, reported) = reported, await self._reported()
            # a list may leave something out: it is gone only when the exchange says so
            reported = {symbol: earlier[symbol] for symbol in self._strangers(earlier)} | reported
        missing, strangers = self._missing(reported), self._strangers(reported)
        self._origins.keep(strangers)
        self.found.ghosts = []
        for held in missing:
            await self._bury(held)
        foreign = [reported[one] for one in strangers if not await self._meet(reported[one])]
        foreign += await self._not_shown(reported)
        foreign += await self._beside_ours(reported, asked)
        for leg in legs:
            # a bot in one-way mode never opens one: the other leg may even be in a symbol of its own position
            await self._apply_policy(leg)
        self._note_foreign([*foreign, *legs])
        self.flattening.settle(self.found.foreign)
        await self._look_at_orders()
        await self.guard.look(self._open(), reported)
        await self._leverages.look(reported)
        await self._corrections.look({
            symbol: reported[symbol].qty if symbol in reported else ZERO
            for symbol in (*self.found.mismatched, *self.found.ghosts)
        })  # fmt: skip
        self._settle_doubts(reported)
        await self._shell.dispatch(self._trader.tidy())
        for position in self._open().values():
            if position.leaving and position.symbol not in self.found.ghosts:
                self._shell.exit_again(position)
        self.found.rounds += 1

    async def restore_closed(self, fills: Sequence[Fill]) -> None:
        """Record closed positions that executions tell of, that our orders opened, and that nobody remembers."""
        for run in rebuild.whole(rebuild.runs(fills)):
            if self._trader.knows(run.digest):
                continue
            self._origins.forget(run.symbol)
            if run.qty:
                continue
            log.warning("closed position rebuilt from executions", symbol=run.symbol, trade=run.digest)
            self.found.rebuilt += 1
            await self._adopt(rebuild.adoption(run, self._shell.market_time(), self._terms.timeframe, "rebuilt"))

    async def settle(self) -> list[str]:
        """Have every position that differs from what the exchange reports settled by all means; return the symbols."""
        _, reported = await self._reported()
        return await self._corrections.settle(reported)

    def locked(self) -> list[str]:
        """Return which symbols a position locks that nobody can explain, each with the command that frees it.

        A difference that is new is not one of these: a report and an execution cross all the time.
        """
        held = {symbol: self._trader.book.of_symbol(symbol) for symbol in self._corrections.lasting}
        return [
            f"no entries in {symbol}: our position there is not what the exchange has; to settle it: {way_out(one)}"
            for symbol, one in held.items() if one is not None
        ]  # fmt: skip

    async def _reported(self) -> tuple[list[PositionReport], dict[str, PositionReport]]:
        """Return the legs of hedge mode, and the positions of one-way mode by symbol."""
        reports = await self._lists.positions()
        for one in reports:
            self.see(one)
        return [one for one in reports if one.index], {one.symbol: one for one in reports if not one.index}

    async def _not_shown(self, reported: dict[str, PositionReport]) -> list[PositionReport]:
        """Return somebody else's positions that a list leaves out, and that the exchange does not call flat."""
        gone = [there for there in self._foreign if not there.index and there.symbol not in reported]
        return [there for there in gone if not await is_flat(self._lists, there.symbol)]

    async def _beside_ours(self, reported: dict[str, PositionReport], asked: float) -> list[PositionReport]:
        """Meet what stands beside positions of ours: their stop guards all of it, so that none is set for it alone."""
        standing = {held.symbol: held for held in self._trader.book.positions() if not held.flat}
        beside = await self._beside.look(standing, reported, self._shell.market_time(), asked)
        # beside an entry that has not filled it may be that entry's after all: nothing is done to it before that ends
        settled = [there for there in beside if not standing[there.symbol].pending]
        for there in beside:
            self._tell(there)
        for there in settled:
            if self._policy(there) is Policy.FLATTEN:
                await self.flattening.close(there)
        adopted = [
            there for there in settled
            if self._policy(there) is Policy.ADOPT and there.qty * standing[there.symbol].opening.side.sign > 0
        ]  # fmt: skip
        if adopted:
            await self._shell.take([_unexplained(there, self._shell.market_time()).fills[0] for there in adopted])
        return [there for there in beside if there not in adopted]

    async def _executions_of(self, start: int, end: int, symbol: str) -> list[Fill]:
        return await self._lists.fills_since(start, end, symbol)

    def _note_foreign(self, foreign: Sequence[PositionReport]) -> None:
        values: dict[str, Decimal] = {}
        margin = ZERO
        for there in foreign:
            value = abs(there.qty) * (there.mark_price or there.entry_price)
            values[there.symbol] = values.get(there.symbol, ZERO) + value
            margin += value / max(there.leverage, rebuild.UNLEVERED)
        self.found.foreign = sorted(values)
        self._foreign = list(foreign)
        self._trader.situation.foreign, self._trader.situation.foreign_margin = values, margin

    async def _look_at_orders(self) -> None:
        """Take up working orders of ours that the records do not know; what belongs to nothing is cancelled."""
        book = self._trader.book
        for found in await self._lists.open_orders():
            if book.order(found.order_id) is not None:
                continue
            record = OrderFound(
                time=self._shell.market_time(), order_id=found.order_id, symbol=found.symbol, side=found.side,
                qty=found.qty, filled=found.filled, price=found.price, reduce_only=found.reduce_only,
                created=found.time,
            )  # fmt: skip
            await self._shell.append(record)
            held = book.apply(record)
            log.warning("working order found that the records do not know", order=found.order_id, symbol=found.symbol,
                        left=str(found.qty - found.filled), done="followed" if held else "cancelled")  # fmt: skip

    def _settle_doubts(self, reported: dict[str, PositionReport]) -> None:
        for symbol, rounds in list(self._doubts.items()):
            known = self._trader.book.net(symbol)
            there = reported[symbol].qty if symbol in reported else ZERO
            agreed = known == there or symbol in self.found.foreign
            if agreed:
                self._trader.situation.doubtful.pop(symbol, None)
            if agreed or rounds >= DOUBT_ROUNDS:
                del self._doubts[symbol]
            else:
                self._doubts[symbol] = rounds + 1

    def _open(self) -> dict[str, Position]:
        return {held.symbol: held for held in self._trader.book.positions() if not held.pending and not held.flat}

    def _strangers(self, reported: dict[str, PositionReport]) -> list[str]:
        return sorted(symbol for symbol in reported if not self._occupied(symbol))

    def _occupied(self, symbol: str) -> bool:
        """Return whether a position of ours is pending or open there; what comes after a flat one is another."""
        held = self._trader.book.of_symbol(symbol)
        return held is not None and not held.flat

    def _missing(self, reported: dict[str, PositionReport]) -> list[Position]:
        return [held for symbol, held in self._open().items() if symbol not in reported]

    async def _bury(self, held: Position) -> None:
        """Close a position of ours that the exchange says does not exist, from its executions or its booked profit."""
        if not await is_flat(self._lists, held.symbol):
            log.warning("position neither reported nor reported flat: kept", symbol=held.symbol)
            self.found.ghosts.append(held.symbol)
            return
        until = self._shell.market_time() + DAY_MS
        await self._shell.take(await self._lists.fills_since(held.intended_at, until, held.symbol))
        if held.flat or self._trader.book.find(held.digest) is None:
            self._gone_since.pop(held.digest, None)
            return
        now = asyncio.get_running_loop().time()
        if now - self._gone_since.setdefault(held.digest, now) < BOOKED_AFTER_S:
            # its executions may only be late: what is booked as closed would then be counted beside them
            self.found.ghosts.append(held.symbol)
            self.doubt(held.symbol)
            return
        told = {fill.venue_order_id for fill in held.fills.values()}
        parts = await self._lists.closed_since(held.intended_at, until, held.symbol)
        fresh = [part for part in parts if part.side is held.opening.side.exit and part.venue_order_id not in told]
        await self._shell.take([
            Fill(time=part.time, exec_id=f"closed-{part.venue_order_id}", order_id="",
                 venue_order_id=part.venue_order_id, symbol=part.symbol, side=part.side, qty=part.qty,
                 price=part.exit_price, fee=part.fee, closed_qty=part.qty, cause=Cause.UNKNOWN)
            for part in fresh
        ])  # fmt: skip
        if not held.flat and self._trader.book.find(held.digest) is not None:
            log.error("position is gone and nobody tells how: its symbol stays locked", symbol=held.symbol,
                      way_out=way_out(held))  # fmt: skip
            self.found.ghosts.append(held.symbol)

    async def _meet(self, there: PositionReport) -> bool:
        """Settle a position that we do not know; say whether it is ours from now on, or not there any more."""
        since = self._shell.market_time()
        # only a start waits for all of the search: later on it would keep other symbols waiting
        run = await self._origins.find(there, since, SEARCH_S if self.found.rounds else math.inf)
        if self._origins.unfinished(there.symbol):
            self._shell.nudge()
            return False
        if self._occupied(there.symbol) or (run is None and await self._lists.flat(there.symbol)):
            return True
        if run is not None and run.digest:
            late = self._trader.knows(run.digest)
            if late and all(self._trader.book.claimed(fill.exec_id) for fill in run.fills):
                # every execution of it belongs to a trade that has ended: what is reported is older than that
                self.doubt(there.symbol)
                return True
            await self._take_over(there, run, "our order opened it", late=late)
            return True
        if self._policy(there) is Policy.ADOPT:
            await self._take_over(there, run or _unexplained(there, since), "policy adopt")
            return True
        self._origins.settle(there, run)
        await self._apply_policy(there)
        return False

    async def _apply_policy(self, there: PositionReport) -> None:
        """Do to somebody else's position what the operator wants done to those; a hedge leg is never adopted."""
        self._tell(there)
        policy = self._policy(there)
        if policy is Policy.PROTECT and not there.stop:
            await self.guard.set_stop(there, self._own_stop(there), None)
        elif policy is Policy.FLATTEN:
            await self.flattening.close(there)

    def _policy(self, there: PositionReport) -> Policy:
        return Policy.FLATTEN if self.flattening.ordered(there.symbol) else self._terms.policy

    async def _take_over(self, there: PositionReport, run: rebuild.Run, why: str, *, late: bool = False) -> None:
        """Manage a position as our own; one that filled ``late``, after its trade was recorded, is closed at once."""
        meant = self._trader.book.given_up(run.digest)
        entry, side = run.average(closing=False), run.side
        stop = there.stop or (meant.stop if meant else self._own_stop(there))
        target = there.target or (meant.target if meant else entry + side.sign * TARGET_R * abs(entry - stop))
        target = target and self._rounded(there, target)
        adopted = rebuild.adoption(
            run, self._shell.market_time(), self._terms.timeframe, why, stop=stop, target=target,
            leverage=max(there.leverage, rebuild.UNLEVERED),
            digest=rebuild.name_of(run.fills[0].exec_id) if late else "",
        )  # fmt: skip
        log.warning("position taken over", symbol=there.symbol, qty=str(there.qty), reason=why, stop=str(stop))
        self.found.adopted += 1
        await self._adopt(adopted)
        if late and (held := self._trader.book.find(adopted.digest)) is not None:
            await self._shell.dispatch(self._trader.exit(held, Cause.FORCE_EXIT, self._shell.market_time()))

    async def _adopt(self, adopted: Adopted) -> None:
        await self._shell.append(adopted)
        await self._shell.dispatch(self._trader.adopt(adopted))

    def _own_stop(self, there: PositionReport) -> Decimal:
        price, sign = there.mark_price or there.entry_price, 1 if there.qty > 0 else -1
        return self._rounded(there, price * (1 - sign * self._terms.protect_fraction))

    def _rounded(self, there: PositionReport, price: Decimal) -> Decimal:
        rules = self._trader.rules(there.symbol)
        return rules.price(price) if rules is not None else price

    def _tell(self, there: PositionReport) -> None:
        key = (there.symbol, there.index, there.qty)
        if key not in self._told:
            self._told.add(key)
            log.warning(
                "position on the exchange is not ours", symbol=there.symbol, qty=str(there.qty),
                stop=str(there.stop or "none"), policy=self._terms.policy.value,
            )  # fmt: skip


def _unexplained(there: PositionReport, time: int) -> rebuild.Run:
    """Return a position whose executions are not to be had, as if one execution had opened it."""
    side = Side.LONG if there.qty > 0 else Side.SHORT
    name = f"adopted-{there.symbol}-{there.entry_price}-{there.qty}-{time}"
    fill = Fill(
        time=time, exec_id=name, order_id="", venue_order_id="", symbol=there.symbol, side=side.entry,
        qty=abs(there.qty), price=there.entry_price, fee=ZERO, closed_qty=ZERO, cause=Cause.ENTRY,
    )  # fmt: skip
    return rebuild.Run(there.symbol, [fill], there.qty)

"""Compares our book with the exchange's own account of it, and settles every difference."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

import structlog

from domain import ids
from domain.errors import OutcomeUnknown, Rejected
from domain.order import Cause, OrderKind, OrderRequest, Side
from domain.records import Fill, Intent
from domain.trade import ZERO
from engine import rebuild
from engine.commands import PlaceOrder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.order import PositionReport
    from domain.ports import Broker
    from domain.records import Adopted, Receipt, Record
    from engine.commands import Command
    from engine.positions import Position
    from engine.trader import Trader

log = structlog.get_logger(__name__)

WEEK_MS = 7 * 86_400_000
DAY_MS = 86_400_000
NAKED_KEPT = 10_000
TARGET_R = 2


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
    timeframe: str = "3m"
    paper: bool = False


@dataclass(slots=True)
class Differences:
    """What was found; ``naked_s`` are the seconds that positions stood without a stop, one figure per position."""

    rounds: int = 0
    foreign: list[str] = field(default_factory=list)
    ghosts: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)
    naked: dict[str, float] = field(default_factory=dict)
    naked_s: deque[float] = field(default_factory=lambda: deque(maxlen=NAKED_KEPT))
    adopted: int = 0
    rebuilt: int = 0


class Shell(Protocol):
    """What the reconciler needs of the runtime."""

    def market_time(self) -> int:
        """Return the market time."""
        ...

    async def append(self, record: Record) -> Receipt:
        """Write a record down."""
        ...

    async def dispatch(self, commands: Sequence[Command]) -> None:
        """Carry commands out."""
        ...

    async def catch_up(self) -> None:
        """Ask for executions and for the ends of orders, and take them."""
        ...

    async def take(self, fills: list[Fill]) -> None:
        """Take executions, and return once they have been taken."""
        ...


async def is_flat(broker: Broker, symbol: str) -> bool:
    """Say whether the exchange says that there is no position; one symbol that it refuses must not hold up others."""
    try:
        return await broker.flat(symbol)
    except Rejected as error:
        log.error("the exchange does not say whether a position is gone", symbol=symbol, reason=str(error))
        return False


class Reconciler:
    """Finds and settles what our book and the exchange tell differently.

    Nothing is concluded from an error or from an answer that leaves something out: a position is gone only when the
    exchange says in so many words that its size is zero, and one is not ours only when it is still there, and still
    unknown, after the executions have been asked for.
    """

    def __init__(self, trader: Trader, broker: Broker, shell: Shell, terms: ReconcileTerms) -> None:
        self._trader, self._broker, self._shell, self._terms = trader, broker, shell, terms
        self._told: set[tuple[str, Decimal]] = set()
        self.found = Differences()

    def opened(self, symbol: str) -> None:
        """Take note that a position has just opened: from now on it is naked until its stop has been seen."""
        self.found.naked.setdefault(symbol, asyncio.get_running_loop().time())

    async def compare(self) -> None:
        """Compare and settle. Raises Unavailable when the exchange does not answer; nothing has been concluded then."""
        reported = await self._reported()
        if self._strangers(reported) or self._missing(reported):
            # what we know may simply be older than the report
            await self._shell.catch_up()
            reported = await self._reported()
        missing, strangers = self._missing(reported), self._strangers(reported)
        self.found.ghosts = []
        for held in missing:
            await self._bury(held)
        foreign = [one for one in strangers if not await self._meet(reported[one])]
        self.found.foreign = foreign
        values = {symbol: abs(reported[symbol].qty) * reported[symbol].mark_price for symbol in foreign}
        self._trader.situation.foreign = values
        self._trader.situation.foreign_margin = sum(
            (value / max(reported[symbol].leverage, rebuild.UNLEVERED) for symbol, value in values.items()), ZERO
        )
        await self._look_at_stops(reported)
        await self._shell.dispatch(self._trader.tidy())
        for position in self._open().values():
            if position.leaving:
                # an exit that came to nothing is asked for again until the position is flat
                time = self._shell.market_time()
                await self._shell.dispatch(self._trader.exit(position, position.exit_cause, time))
        self.found.rounds += 1

    async def restore_closed(self, fills: Sequence[Fill]) -> None:
        """Record closed positions that executions tell of, that our orders opened, and that nobody remembers."""
        for run in rebuild.runs(fills):
            if run.qty or not run.digest or self._trader.knows(run.digest):
                continue
            log.warning("closed position rebuilt from executions", symbol=run.symbol, trade=run.digest)
            self.found.rebuilt += 1
            await self._adopt(rebuild.adoption(run, self._shell.market_time(), self._terms.timeframe, "rebuilt"))

    async def flatten_foreign(self) -> list[str]:
        """Close the positions that are not ours; return their symbols."""
        reported = await self._reported()
        strangers = self._strangers(reported)
        for symbol in strangers:
            await self._flatten(reported[symbol])
        return strangers

    async def _reported(self) -> dict[str, PositionReport]:
        return {held.symbol: held for held in await self._broker.positions()}

    def _open(self) -> dict[str, Position]:
        return {held.symbol: held for held in self._trader.book.positions() if not held.pending and not held.flat}

    def _strangers(self, reported: dict[str, PositionReport]) -> list[str]:
        return sorted(symbol for symbol in reported if self._trader.book.of_symbol(symbol) is None)

    def _missing(self, reported: dict[str, PositionReport]) -> list[Position]:
        return [held for symbol, held in self._open().items() if symbol not in reported]

    async def _bury(self, held: Position) -> None:
        """Close a position of ours that the exchange says does not exist, from its executions or its booked profit."""
        if not await is_flat(self._broker, held.symbol):
            log.warning("position neither reported nor reported flat: kept", symbol=held.symbol)
            self.found.ghosts.append(held.symbol)
            return
        until = self._shell.market_time() + DAY_MS
        await self._shell.take(await self._broker.fills_since(held.intended_at, until, held.symbol))
        if held.flat or self._trader.book.find(held.digest) is None:
            return
        told = {fill.venue_order_id for fill in held.fills.values()}
        parts = await self._broker.closed_since(held.intended_at, until, held.symbol)
        fresh = [part for part in parts if part.side is held.opening.side.exit and part.venue_order_id not in told]
        await self._shell.take([
            Fill(time=part.time, exec_id=f"closed-{part.venue_order_id}", order_id="",
                 venue_order_id=part.venue_order_id, symbol=part.symbol, side=part.side, qty=part.qty,
                 price=part.exit_price, fee=part.fee, closed_qty=part.qty, cause=Cause.UNKNOWN)
            for part in fresh
        ])  # fmt: skip
        if not held.flat and self._trader.book.find(held.digest) is not None:
            log.error("position is gone and nobody tells how: its symbol stays locked", symbol=held.symbol)
            self.found.ghosts.append(held.symbol)

    async def _meet(self, there: PositionReport) -> bool:
        """Settle a position that we do not know; say whether it is ours from now on, or not there any more."""
        since = self._shell.market_time()
        fills = await self._broker.fills_since(since - WEEK_MS, since + DAY_MS, there.symbol)
        held = [run for run in rebuild.runs(fills) if run.qty == there.qty]
        run = held[-1] if held else None
        if self._trader.book.of_symbol(there.symbol) is not None or (
            run is None and await self._broker.flat(there.symbol)
        ):
            return True
        if run is not None and run.digest and not self._trader.knows(run.digest):
            await self._take_over(there, run, "our order opened it")
            return True
        if self._terms.policy is Policy.ADOPT:
            await self._take_over(there, run or _unexplained(there, since), "policy adopt")
            return True
        self._tell(there)
        if self._terms.policy is Policy.PROTECT and not there.stop:
            await self._set_stop(there, self._own_stop(there), None)
        elif self._terms.policy is Policy.FLATTEN:
            await self._flatten(there)
        return False

    async def _take_over(self, there: PositionReport, run: rebuild.Run, why: str) -> None:
        meant = self._trader.book.given_up(run.digest)
        entry, side = run.average(closing=False), run.side
        stop = there.stop or (meant.stop if meant else self._own_stop(there))
        target = there.target or (meant.target if meant else entry + side.sign * TARGET_R * abs(entry - stop))
        adopted = rebuild.adoption(
            run, self._shell.market_time(), self._terms.timeframe, why, stop=stop, target=self._rounded(there, target),
            leverage=max(there.leverage, rebuild.UNLEVERED),
        )  # fmt: skip
        log.warning("position taken over", symbol=there.symbol, qty=str(there.qty), reason=why, stop=str(stop))
        self.found.adopted += 1
        await self._adopt(adopted)

    async def _adopt(self, adopted: Adopted) -> None:
        await self._shell.append(adopted)
        await self._shell.dispatch(self._trader.adopt(adopted))

    async def _flatten(self, there: PositionReport) -> None:
        side = Side.LONG if there.qty > 0 else Side.SHORT
        digest = rebuild.name_of(f"{there.symbol}|{there.entry_price}|{there.qty}|{self._shell.market_time()}")
        request = OrderRequest(
            ids.order_id(digest, "x", 0, paper=self._terms.paper), there.symbol, side.exit, OrderKind.MARKET,
            abs(there.qty), reduce_only=True,
        )  # fmt: skip
        intent = Intent(
            time=self._shell.market_time(), order_id=request.order_id, symbol=there.symbol, side=request.side,
            kind=request.kind, qty=request.qty, reduce_only=True, cause=Cause.FORCE_EXIT,
        )  # fmt: skip
        await self._shell.dispatch([PlaceOrder(intent, request)])

    async def _look_at_stops(self, reported: dict[str, PositionReport]) -> None:
        now = asyncio.get_running_loop().time()
        held = self._open()
        self.found.mismatched = []
        for symbol, position in held.items():
            there = reported.get(symbol)
            if there is None:
                continue
            if abs(there.qty) != position.qty:
                self.found.mismatched.append(symbol)
            if there.stop:
                # a stop that came with the entry was there from the first moment on
                since = self.found.naked.pop(symbol, None)
                self.found.naked_s.extend([0.0] if since is not None else [])
                if position.opening.side.sign * (position.bracket.stop - there.stop) > 0:
                    log.warning("stop is looser than it should be: setting it", symbol=symbol, found=str(there.stop))
                    await self._set_stop(there, position.bracket.stop, position.bracket.target)
                continue
            since = self.found.naked.setdefault(symbol, now)
            log.error("position without a stop: setting it", symbol=symbol, stop=str(position.bracket.stop))
            if await self._set_stop(there, position.bracket.stop, position.bracket.target):
                del self.found.naked[symbol]
                self.found.naked_s.append(asyncio.get_running_loop().time() - since)
            else:
                await self._shell.dispatch(self._trader.exit(position, Cause.STOP_LOSS, self._shell.market_time()))
        for symbol in set(self.found.naked) - set(held):
            self.found.naked_s.append(now - self.found.naked.pop(symbol))

    async def _set_stop(self, there: PositionReport, stop: Decimal, target: Decimal | None) -> bool:
        try:
            await self._broker.set_stop(there.symbol, stop, target)
        except (Rejected, OutcomeUnknown) as error:
            log.warning("stop not set", symbol=there.symbol, stop=str(stop), reason=str(error))
            return False
        return True

    def _own_stop(self, there: PositionReport) -> Decimal:
        price, sign = there.mark_price or there.entry_price, 1 if there.qty > 0 else -1
        return self._rounded(there, price * (1 - sign * self._terms.protect_fraction))

    def _rounded(self, there: PositionReport, price: Decimal) -> Decimal:
        rules = self._trader.rules(there.symbol)
        return rules.price(price) if rules is not None else price

    def _tell(self, there: PositionReport) -> None:
        key = (there.symbol, there.qty)
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

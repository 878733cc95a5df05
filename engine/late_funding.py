"""Funding that is told after its position was recorded: it is booked to the trade, or to the day."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog

from domain import ids
from domain.durations import DAY_MS
from domain.errors import Rejected, Unavailable
from domain.order import Cause
from domain.trade import Leg, Trade, with_funding
from engine import rebuild

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from domain.records import Fill
    from engine.commands import Command
    from engine.execution_reader import ExecutionReader
    from engine.trader import Trader

log = structlog.get_logger(__name__)

FIRST_LOOK_S = 10.0
LOOKS = 13
"""Looks for funding that a trade lacks, each after twice the time: a day in all. A rate of zero pays none."""

WAITING_MAX = 1_000
STRANGERS_MAX = 10_000


@dataclass(slots=True)
class Lack:
    """A trade that has had fewer funding payments than fell due, and when they are looked for next."""

    trade: Trade
    due_at: float
    looks: int = 0


class LateFunding:
    """Takes the funding payments that belong to no position.

    ``legs`` fetches the executions of a trade of an earlier life; ``dispatch`` carries out what the trader says.
    """

    def __init__(
        self, trader: Trader, executions: ExecutionReader, dispatch: Callable[[Sequence[Command]], Awaitable[None]],
        legs: Callable[[str], Awaitable[list[Leg]]],
    ) -> None:  # fmt: skip
        self._trader, self._executions, self._dispatch, self._legs = trader, executions, dispatch, legs
        self._waiting: OrderedDict[str, Fill] = OrderedDict()
        self._strangers: OrderedDict[str, None] = OrderedDict()
        self._lacking: OrderedDict[str, Lack] = OrderedDict()

    def belongs_here(self, fill: Fill) -> bool:
        """Return whether a payment is for a position that was held then and has ended, or for none that is held."""
        held = self._trader.book.of_symbol(fill.symbol)
        if held is None or held.pending or fill.time < held.bracket.opened_at:
            return held is None or self._trader.ended_at(fill.symbol, fill.time) is not None
        return False

    def take(self, fill: Fill) -> bool:
        """Keep a payment until ``look`` finds out whose it is; return whether that is still to be found out."""
        if any(fill.exec_id in known for known in (self._trader.booked, self._strangers, self._waiting)):
            return False
        ended = self._trader.ended_at(fill.symbol, fill.time)
        if ended is None and fill.symbol in self._trader.situation.foreign:
            # it is paid on what somebody else holds there
            return False
        _remember(self._waiting, fill.exec_id, fill, WAITING_MAX)
        return True

    def watch(self, trade: Trade) -> None:
        """Look for the funding of a trade now and then, if some fell due that has not been told."""
        if self._due(trade) > sum(leg.cause == Cause.FUNDING for leg in trade.legs):
            due_at = asyncio.get_running_loop().time() + FIRST_LOOK_S
            _remember(self._lacking, trade.trade_id, Lack(trade, due_at), WAITING_MAX)

    def recall(self, now: int) -> None:
        """Watch the trades that ended in the last day before a market time (UTC ms), as after a start."""
        for trade in reversed(self._trader.closed):
            if _ms(trade.exit_time) < now - DAY_MS:
                break
            self.watch(trade)

    async def look(self) -> None:
        """Book what waits, and ask for what trades lack where that is due; what is not answered waits."""
        try:
            await self._ask()
            for fill in list(self._waiting.values()):
                await self._book(fill)
                self._waiting.pop(fill.exec_id, None)
        except (Unavailable, Rejected) as error:
            log.warning("late funding not booked yet", reason=str(error))

    async def _ask(self) -> None:
        now = asyncio.get_running_loop().time()
        for lack in [one for one in self._lacking.values() if one.due_at <= now]:
            trade, lack.looks = lack.trade, lack.looks + 1
            lack.due_at = now + FIRST_LOOK_S * 2**lack.looks
            legs = trade.legs or tuple(await self._legs(trade.trade_id))
            found = await self._executions.between(trade.symbol, _ms(trade.entry_time), _ms(trade.exit_time))
            paid = [fill for fill in found if fill.cause is Cause.FUNDING]
            known = {leg.exec_id for leg in legs}
            for fill in paid:
                if fill.exec_id not in known:
                    self.take(fill)
            if len(paid) >= self._due(trade) or lack.looks >= LOOKS:
                self._lacking.pop(trade.trade_id, None)

    async def _book(self, fill: Fill) -> None:
        trade = self._trader.ended_at(fill.symbol, fill.time)
        if trade is None:
            await self._book_to_day(fill)
            return
        legs = trade.legs or tuple(await self._legs(trade.trade_id))
        if any(_same_payment(leg, fill) for leg in legs):
            return
        paid = Leg(
            exec_id=fill.exec_id, time=datetime.fromtimestamp(fill.time / 1000, UTC), qty=fill.qty, price=fill.price,
            fee=fill.fee, cause=fill.cause.value, closing=fill.side.value != _entering(trade),
        )  # fmt: skip
        amended = with_funding(trade, legs, paid)
        log.warning("funding was told late: the trade is amended", symbol=fill.symbol, trade=trade.trade_id,
                    fee=f"{fill.fee:.4f}", version=amended.version)  # fmt: skip
        await self._dispatch(self._trader.amend(amended, fill))

    async def _book_to_day(self, fill: Fill) -> None:
        """Book a payment to its day when executions show that a position of ours paid it whose trade is not at hand."""
        past = await self._executions.before(fill)
        run = next((one for one in rebuild.runs(past) if any(leg.exec_id == fill.exec_id for leg in one.fills)), None)
        if run is None or not run.digest or ids.trade_id(run.digest) not in self._trader.recorded:
            _remember(self._strangers, fill.exec_id, None, STRANGERS_MAX)
            return
        log.warning("funding was told late, and its trade is no more: it is booked to its day", symbol=fill.symbol,
                    trade=ids.trade_id(run.digest), fee=f"{fill.fee:.4f}")  # fmt: skip
        await self._dispatch(self._trader.book_to_day(fill))

    def _due(self, trade: Trade) -> int:
        rules = self._trader.rules(trade.symbol)
        interval = rules.funding_interval_ms if rules is not None else 0
        return _ms(trade.exit_time) // interval - _ms(trade.entry_time) // interval if interval else 0


def _same_payment(leg: Leg, fill: Fill) -> bool:
    """Return whether a payment is booked already, be it under another id."""
    paid = leg.cause == Cause.FUNDING and (_ms(leg.time), leg.qty, leg.fee) == (fill.time, fill.qty, fill.fee)
    return leg.exec_id == fill.exec_id or paid


def _entering(trade: Trade) -> str:
    return "Buy" if trade.side == "long" else "Sell"


def _ms(time: datetime) -> int:
    return round(time.timestamp() * 1000)


def _remember(held: OrderedDict[str, Any], key: str, value: object, most: int) -> None:
    held[key] = value
    while len(held) > most:
        held.popitem(last=False)

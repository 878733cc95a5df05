"""Positions of which the book believes something that the exchange's own executions contradict."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from domain.durations import DAY_MS
from domain.order import Cause, OrderSide
from domain.records import Adopted, Fill
from domain.trade import ZERO
from engine import rebuild
from engine.executions import OVERLAP_MS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from decimal import Decimal

    from domain.order import PositionReport
    from engine.hands import Hands
    from engine.position import Position
    from engine.shell import Shell
    from engine.trader import Trader

log = structlog.get_logger(__name__)

LASTING_S = 30.0
"""A difference that lasts so long is not one of lists that are late."""


def way_out(held: Position) -> str:
    """Return the command that frees the symbol of a position that cannot be explained."""
    return f"manage.py trades rebuild --since {datetime.fromtimestamp(held.intended_at / 1000, UTC):%Y-%m-%d}"


class Corrections:
    """Takes the exchange's executions in place of what was known of a position, where they explain what is there.

    That happens by itself once a difference has lasted; when the operator asks for it, also what no execution explains
    is settled: what the exchange reports is taken as if one execution had made it. ``executions`` asks for those of a
    symbol from one market time to another; ``hands`` are told of what a hand executed among them. ``lasting`` are the
    symbols that have differed for so long.
    """

    def __init__(
        self, trader: Trader, shell: Shell, executions: Callable[[int, int, str], Awaitable[list[Fill]]], hands: Hands
    ) -> None:
        self._trader, self._shell, self._executions, self._hands = trader, shell, executions, hands
        self._since: dict[str, float] = {}
        self._tried: dict[str, float] = {}
        self.lasting: list[str] = []

    async def look(self, differing: Mapping[str, Decimal]) -> None:
        """Correct what has differed for long: by symbol what the exchange has there, signed. Raises Unavailable."""
        now = asyncio.get_running_loop().time()
        self._since = {symbol: self._since.get(symbol, now) for symbol in differing}
        self._tried = {symbol: self._tried.get(symbol, since) for symbol, since in self._since.items()}
        for symbol, tried in list(self._tried.items()):
            held = self._trader.book.of_symbol(symbol)
            if held is not None and now - tried >= LASTING_S:
                await self._by_executions(held, differing[symbol])
                self._tried[symbol] = now
        self.lasting = [symbol for symbol, since in self._since.items() if now - since >= LASTING_S]

    async def settle(self, reported: Mapping[str, PositionReport]) -> list[str]:
        """Correct by all means what differs from what is reported; return the symbols. Raises Unavailable."""
        settled = []
        for held in self._trader.book.positions():
            there = reported.get(held.symbol)
            qty = there.qty if there is not None else ZERO
            if held.pending or held.flat or self._trader.book.net(held.symbol) == qty:
                continue
            settled.append(held.symbol)
            if not await self._by_executions(held, qty):
                await self._by_report(held, there)
        return settled

    async def _by_executions(self, held: Position, qty: Decimal) -> bool:
        """Take the run of executions that leads to what the exchange has, if there is one; return whether there was."""
        if self._trader.book.net(held.symbol) + self._trader.book.net_of_strays(held.symbol, held.intended_at) == qty:
            # others have a share in what is there, and it is known
            return True
        until = self._shell.market_time() + DAY_MS
        fills = await self._executions(held.intended_at - OVERLAP_MS, until, held.symbol)
        ours = [run for run in rebuild.runs(fills) if _is_of(held, run)]
        if not ours or sum((run.qty for run in ours), ZERO) != qty:
            return False
        await self._take(
            held, tuple(fill for run in ours for fill in run.fills), "its executions as the exchange has them"
        )
        return True

    async def _by_report(self, held: Position, there: PositionReport | None) -> None:
        now, side = self._shell.market_time(), held.opening.side
        if there is not None and there.qty * side.sign > 0:
            made = self._made_up(held, now, side.entry, abs(there.qty), there.entry_price, Cause.ENTRY)
            await self._take(held, (made,), "as the exchange reports it, which no execution explains")
            return
        price = self._trader.situation.prices.get(held.symbol, held.entry_price)
        # what somebody else had beside it is gone as well, and would be taken as closed first
        others = max(ZERO, self._trader.book.net_of_strays(held.symbol, 0) * side.sign)
        left = self._made_up(held, now, side.exit, held.qty + others, price, Cause.UNKNOWN)
        log.error("position written off at the last price: it is gone, and no execution tells how", symbol=held.symbol,
                  qty=str(held.qty), price=str(price))  # fmt: skip
        await self._shell.take([left])

    async def _take(self, held: Position, fills: tuple[Fill, ...], why: str) -> None:
        log.warning("position corrected", symbol=held.symbol, reason=why)
        record = Adopted(
            time=self._shell.market_time(), digest=held.digest, symbol=held.symbol, opening=held.opening, fills=fills,
            why=why,
        )  # fmt: skip
        await self._shell.append(record)
        await self._shell.dispatch(self._trader.adopt(record))
        for fill in held.fills_by_hand():
            await self._hands.executed(held, fill, ZERO)

    @staticmethod
    def _made_up(held: Position, time: int, side: OrderSide, qty: Decimal, price: Decimal, cause: Cause) -> Fill:
        name = f"settled-{held.digest}-{time}"
        closed = ZERO if cause is Cause.ENTRY else qty
        return Fill(
            time=time, exec_id=name, order_id="", venue_order_id="", symbol=held.symbol, side=side, qty=qty,
            price=price, fee=ZERO, closed_qty=closed, cause=cause,
        )  # fmt: skip


def _is_of(held: Position, run: rebuild.Run) -> bool:
    return run.digest == held.digest or any(fill.exec_id in held.fills for fill in run.fills)

"""Closes positions that are not ours, because the policy says so or an operator does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from domain import ids
from domain.order import Cause, OrderKind, OrderRequest, Side
from domain.records import Intent
from engine import rebuild
from engine.commands import PlaceOrder

if TYPE_CHECKING:
    from collections.abc import Iterable

    from domain.order import PositionReport
    from engine.shell import Shell

log = structlog.get_logger(__name__)

AGAIN_S = 10.0
"""A position is not closed again before the first exit has had its effect on the list of positions."""


class Flattening:
    """Sends exits for positions that are not ours, and again until they are gone.

    An operator's order holds for what stands on the exchange when it is next compared with our book, and for nothing
    that is opened later. It is forgotten with the process.
    """

    def __init__(self, shell: Shell, *, paper: bool) -> None:
        self._shell, self._paper = shell, paper
        self._everything = False
        self._symbols: set[str] = set()
        self._sent: dict[tuple[str, int], float] = {}

    @property
    def symbols(self) -> list[str]:
        """Symbols in which a position is still to be closed at an operator's order, as far as they are known."""
        return sorted(self._symbols)

    @property
    def ended(self) -> bool:
        """Whether nothing is left to be closed at an operator's order."""
        return not self._everything and not self._symbols

    def order(self) -> None:
        """Have every position closed that is not ours, at the comparison that follows."""
        self._everything = True
        self._shell.nudge()

    def ordered(self, symbol: str) -> bool:
        """Return whether an operator wants what stands in a symbol closed."""
        return self._everything or symbol in self._symbols

    def settle(self, foreign: Iterable[str]) -> None:
        """Take note of which symbols hold positions that are not ours, after a comparison."""
        self._symbols = set(foreign) if self._everything else self._symbols.intersection(foreign)
        self._everything = False

    async def close(self, there: PositionReport) -> None:
        """Close a position at the market, unless that has just been tried; look again when it should be gone."""
        loop, key = asyncio.get_running_loop(), (there.symbol, there.index)
        if loop.time() - self._sent.get(key, float("-inf")) < AGAIN_S:
            return
        self._sent[key] = loop.time()
        loop.call_later(AGAIN_S, self._shell.nudge)
        log.warning("position that is not ours is closed", symbol=there.symbol, qty=str(there.qty))
        await self._shell.dispatch([self._exit(there)])

    def _exit(self, there: PositionReport) -> PlaceOrder:
        side, time = Side.LONG if there.qty > 0 else Side.SHORT, self._shell.market_time()
        digest = rebuild.name_of(f"{there.symbol}|{there.entry_price}|{there.qty}|{time}")
        request = OrderRequest(
            ids.order_id(digest, "x", 0, paper=self._paper), there.symbol, side.exit, OrderKind.MARKET,
            abs(there.qty), reduce_only=True, index=there.index,
        )  # fmt: skip
        intent = Intent(
            time=time, order_id=request.order_id, symbol=there.symbol, side=request.side, kind=request.kind,
            qty=request.qty, reduce_only=True, cause=Cause.FORCE_EXIT,
        )  # fmt: skip
        return PlaceOrder(intent, request)

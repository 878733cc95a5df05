"""The exchange's trading rules: asked for regularly, and at once when an answer contradicts them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from domain.errors import Objection, Rejected, Unavailable

if TYPE_CHECKING:
    from domain.instrument import Instrument
    from domain.ports import Broker
    from engine.trader import Trader

log = structlog.get_logger(__name__)

AGAIN_S = 5.0
"""Rules that were read so shortly before are taken for those that hold."""

READ_S = 5.0
"""How long an order that was refused waits for the rules; after that it is judged by those that are known."""

CONTRADICTIONS = frozenset({Objection.RULES, Objection.RISK_LIMIT, Objection.CLOSED})
"""What a refusal objects to that other rules than the known ones would explain."""

SHOWN = ("tick", "step", "min_qty", "max_qty", "min_notional", "max_leverage", "trading")


class Rules:
    """Reads the trading rules into the trader; whoever asks while they are being read waits for the same answer."""

    def __init__(self, trader: Trader, broker: Broker) -> None:
        self._trader, self._broker = trader, broker
        self._reading = asyncio.Lock()
        self._read_at: float | None = None
        self.rereads = 0

    def get(self, symbol: str) -> Instrument | None:
        """Return the rules of a symbol as they were read last."""
        return self._trader.rules(symbol)

    async def read(self, symbol: str = "") -> None:
        """Ask for all rules; log what has changed where something is held, and in a ``symbol``.

        Raises:
            Unavailable: when the exchange does not answer.
            Rejected: when it does not tell them.
        """
        watched = {symbol, *(held.symbol for held in self._trader.book.positions())}
        before = {one: self.get(one) for one in watched}
        fresh = await self._broker.instruments()
        self._read_at = asyncio.get_running_loop().time()
        for gone in self._trader.update_instruments(fresh):
            log.warning("symbol is not traded any more: no new entries", symbol=gone)
        for one, old in before.items():
            _log_change(one, old, self.get(one))

    async def contradicted(self, symbol: str, refused: Rejected) -> None:
        """Read the rules again when other ones than those that are known would explain a refusal."""
        if refused.objection not in CONTRADICTIONS:
            return
        try:
            async with asyncio.timeout(READ_S), self._reading:
                if self._read_at is None or asyncio.get_running_loop().time() - self._read_at >= AGAIN_S:
                    await self.read(symbol)
                    self.rereads += 1
        except (TimeoutError, Unavailable, Rejected) as error:
            log.warning("trading rules not read again", symbol=symbol, reason=str(error) or "no answer in time")


def _log_change(symbol: str, old: Instrument | None, new: Instrument | None) -> None:
    if old is None or new is None:
        return
    changed = {
        name: f"{getattr(old, name)} -> {getattr(new, name)}"
        for name in SHOWN if getattr(old, name) != getattr(new, name)
    }  # fmt: skip
    if changed:
        log.warning("trading rules have changed", symbol=symbol, **changed)

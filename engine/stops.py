"""Sets protective stops, and finds out what a refusal of one means."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

import structlog

from domain.errors import Objection, OutcomeUnknown, Rejected, Unavailable
from domain.order import Side

if TYPE_CHECKING:
    from collections.abc import Callable

    from domain.instrument import Instrument
    from domain.order import PositionReport
    from domain.ports import Broker

log = structlog.get_logger(__name__)

ARRIVES_WITHIN_S = 5.0
"""How late a request whose answer was lost may still be carried out; the exchange turns away older signatures."""


class Placed(StrEnum):
    """What became of a stop.

    SET: it stands. CROSSED: the price has passed it, so that what it was to guard has to be closed. ABSENT: there is no
    position to guard. KEPT: refused for another reason; the stop that stood before stands. NAKED: refused, and no other
    stands. UNKNOWN: nobody knows whether it was set; the exchange's list of positions tells.
    """

    SET = "set"
    CROSSED = "crossed"
    ABSENT = "absent"
    KEPT = "kept"
    NAKED = "naked"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class StopOutcome:
    """What became of a stop, at which price it was asked for in the end, and why it does not stand if it does not."""

    placed: Placed
    stop: Decimal
    reason: str = ""


class Rulebook(Protocol):
    """Who knows the trading rules."""

    def get(self, symbol: str) -> Instrument | None:
        """Return the rules of a symbol as they were read last."""
        ...

    async def contradicted(self, symbol: str, refused: Rejected) -> None:
        """Read the rules again when other ones would explain a refusal."""
        ...


class Unruled:
    """Knows no rules: prices are sent as they are."""

    def get(self, symbol: str) -> None:  # noqa: ARG002  the protocol names it
        """Return nothing."""
        return

    async def contradicted(self, symbol: str, refused: Rejected) -> None:
        """Do nothing: there are none to be read again."""


class Stops:
    """Asks for stops at prices that the rules allow.

    A refusal never means by itself that a position has to be closed: it does only where the price has passed the stop,
    which the refusal's words, the exchange's mark price or the ``last_price`` traded say.
    """

    def __init__(
        self, broker: Broker, rules: Rulebook, last_price: Callable[[str], Decimal | None] = lambda _symbol: None
    ) -> None:
        self._broker, self._rules, self._last_price = broker, rules, last_price
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._lost_until: dict[str, float] = {}

    async def settled(self, symbol: str) -> None:
        """Wait until no stop of a symbol is on its way any more: the exchange would give it to the next position.

        Raises:
            Unavailable: when one has been on its way for too long.
        """
        try:
            async with asyncio.timeout(2 * ARRIVES_WITHIN_S), self._turns[symbol]:
                pass
        except TimeoutError as error:
            raise Unavailable("a stop of an earlier position is still on its way") from error
        if (until := self._lost_until.pop(symbol, None)) is not None:
            await asyncio.sleep(until - asyncio.get_running_loop().time())

    async def set(
        self, symbol: str, side: Side, stop: Decimal, target: Decimal | None = None, *, index: int = 0,
        there: PositionReport | None = None,
    ) -> StopOutcome:  # fmt: skip
        """Set a stop, and the target when given; ``index`` names a leg of hedge mode.

        ``there`` is what was reported of the position: where its price had passed the stop, a refusal for that reason
        stands, and the position need not wait for another one.

        Raises:
            Unavailable: when the exchange turned a request away unseen.
        """
        asked = self._rounded(symbol, side, stop, target)
        answer = await self._ask(symbol, asked, index)
        if isinstance(answer, StopOutcome):
            return answer
        log.warning("stop refused", symbol=symbol, stop=str(asked[0]), objection=answer.objection.value,
                    reason=str(answer))  # fmt: skip
        if answer.objection is Objection.CROSSED and there is not None and self._passed(side, there, asked[0]):
            return StopOutcome(Placed.CROSSED, asked[0], str(answer))
        await self._rules.contradicted(symbol, answer)
        rounded, tried = self._rounded(symbol, side, *asked), {asked}
        # a target that cannot be set, because the price has come to it, must not keep the stop from being set
        for again in (rounded, (rounded[0], None)):
            if again in tried or answer.objection is Objection.ABSENT:
                continue
            tried.add(again)
            answer = await self._ask(symbol, again, index)
            if isinstance(answer, StopOutcome):
                return answer
        return await self._meaning(symbol, side, rounded[0], index, answer)

    async def _ask(self, symbol: str, asked: tuple[Decimal, Decimal | None], index: int) -> StopOutcome | Rejected:
        try:
            async with self._turns[symbol]:
                await self._broker.set_stop(symbol, *asked, index=index)
        except OutcomeUnknown as error:
            self._lost_until[symbol] = asyncio.get_running_loop().time() + ARRIVES_WITHIN_S
            return StopOutcome(Placed.UNKNOWN, asked[0], str(error))
        except Rejected as error:
            return error
        return StopOutcome(Placed.SET, asked[0])

    async def _meaning(self, symbol: str, side: Side, stop: Decimal, index: int, refused: Rejected) -> StopOutcome:
        """Return what a refusal that stands means, by what the exchange shows of the position."""
        if refused.objection is Objection.CROSSED:
            # it was the stop alone that was asked for, and only a position has a price to compare it with
            return StopOutcome(Placed.CROSSED, stop, str(refused))
        try:
            there = await self._position(symbol, index)
        except Rejected as error:
            return StopOutcome(Placed.UNKNOWN, stop, f"{refused}; {error}")
        if there is None:
            placed = Placed.ABSENT
        elif self._passed(side, there, stop):
            placed = Placed.CROSSED
        else:
            placed = Placed.KEPT if there.stop else Placed.NAKED
        return StopOutcome(placed, stop, str(refused))

    async def _position(self, symbol: str, index: int) -> PositionReport | None:
        reports = await self._broker.positions()
        return next((one for one in reports if (one.symbol, one.index) == (symbol, index) and one.qty), None)

    def _passed(self, side: Side, there: PositionReport, stop: Decimal) -> bool:
        """Return whether a price that the exchange may compare a stop with has come to it."""
        prices = (there.mark_price, self._last_price(there.symbol))
        return any(side.sign * (price - stop) <= 0 for price in prices if price)

    def _rounded(
        self, symbol: str, side: Side, stop: Decimal, target: Decimal | None
    ) -> tuple[Decimal, Decimal | None]:
        """Return stop and target on the tick: the stop away from the price, the target towards it."""
        rules = self._rules.get(symbol)
        if rules is None:
            return stop, target
        down = side is Side.LONG
        stop = rules.price_down(stop) if down else rules.price_up(stop)
        return stop, target and (rules.price_down(target) if down else rules.price_up(target))

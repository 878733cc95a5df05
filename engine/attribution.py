"""Whose an execution is: all of a symbol are shared out among positions, whatever order they were told in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from domain.ids import parse_order_id
from domain.order import Cause
from domain.trade import ZERO
from engine.executions import divide, in_order, parts

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from decimal import Decimal

    from domain.records import Fill

NOBODY = ""

RACE_MS = 240_000
"""How long before an entry somebody else may have opened what the bot had not seen yet when it sent the entry.

In market time, and longer than the shortest bar: a practice market hands over the whole of one at once.
"""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a position has a right to: what happened ``since`` it was meant (UTC ms), and what was ``given`` to it."""

    since: int
    given: Collection[str] = ()


@dataclass(slots=True)
class _Lot:
    """What an owner has open, with its sign."""

    owner: str
    sign: int
    qty: Decimal
    since: int


@dataclass(slots=True)
class Attribution:
    """Parts of executions by the position that they belong to, and those that belong to nobody, oldest first.

    The exchange has one position per symbol. What our entry opens is its position's; what a hand opens beside an open
    position of ours is added to it, else it is the hand's own. What closes is taken from the position whose order it
    was, then from the oldest. An execution may so be divided among several owners. A split of the contract closes a
    position and opens it anew; it stays its owner's. ``unseen`` names the strays that closed what nobody here has seen
    being opened: with that, they come to nothing.
    """

    claims: Mapping[str, Claim]
    owned: dict[str, dict[str, Fill]] = field(default_factory=dict)
    strays: list[Fill] = field(default_factory=list)
    unseen: set[str] = field(default_factory=set)
    _lots: list[_Lot] = field(default_factory=list)
    _converted: str = NOBODY

    @classmethod
    def of(cls, fills: Iterable[Fill], claims: Mapping[str, Claim]) -> Attribution:
        """Share out executions of one symbol among the positions of these claims."""
        made = cls(claims, {digest: {} for digest in claims})
        told = list(fills)
        unexplained: list[Fill] = []
        for part, _ in in_order(part for fill in told if fill.cause is not Cause.FUNDING for part in parts(fill)):
            if part.closed_qty:
                unexplained += made._close(part, made._lots)
            else:
                made._open(part)
        for part in unexplained:
            # clocks that differ put what closes before what opened it
            there = [lot for lot in made._lots if lot.owner and claims[lot.owner].since <= part.time]
            left = made._close(part, there)
            made.strays += left
            made.unseen |= {one.exec_id for one in left}
        for fill in told:
            if fill.cause is Cause.FUNDING:
                made._pay(fill)
        return made

    def _open(self, part: Fill) -> None:
        sign, owner = part.side.sign, self._opener(part)
        self._forget_strangers(sign, self.claims[owner].since if owner else 0)
        lot = next((one for one in self._lots if (one.owner, one.sign) == (owner, sign)), None)
        if lot is None:
            lot = _Lot(owner, sign, ZERO, part.time)
            self._lots.append(lot)
        lot.since = lot.since if lot.qty else part.time
        lot.qty += part.qty
        self._give(owner, part)

    def _forget_strangers(self, sign: int, since: int) -> None:
        """Take what others had opened as closed where that must have happened, unseen.

        Nothing can be opened beside a position of the other side; and the bot enters only where nobody has anything.
        """
        for lot in self._lots:
            if lot.owner == NOBODY and (lot.sign != sign or lot.since < since - RACE_MS):
                lot.qty = ZERO

    def _opener(self, part: Fill) -> str:
        for digest, claim in self.claims.items():
            if part.exec_id in claim.given:
                return digest
        if part.cause is Cause.CORPORATE_ACTION:
            return self._converted
        name = parse_order_id(part.order_id)
        if name is not None:
            return name.digest if name.digest in self.claims else NOBODY
        beside = (lot.owner for lot in self._lots if lot.owner and lot.qty and lot.sign == part.side.sign)
        return next(beside, NOBODY)

    def _close(self, part: Fill, lots: Iterable[_Lot]) -> list[Fill]:
        """Take from lots what an execution closed; return what was not there to be closed."""
        name = parse_order_id(part.order_id)
        own = name.digest if name is not None else NOBODY
        there = [lot for lot in lots if lot.qty and lot.sign == -part.side.sign]
        rest: Fill | None = part
        for lot in sorted(there, key=lambda one: one.owner != own):
            if rest is None:
                return []
            given, rest = divide(rest, lot.qty, "/")
            lot.qty -= given.qty
            self._converted = lot.owner if part.cause is Cause.CORPORATE_ACTION else NOBODY
            self._give(lot.owner, given)
        return [] if rest is None else [rest]

    def _pay(self, funding: Fill) -> None:
        """Book a funding payment to the position that was open then; a flat one has none after its end."""
        for digest, claim in self.claims.items():
            trades = [fill for fill in self.owned[digest].values() if fill.cause is not Cause.FUNDING]
            still_open = any(lot.qty for lot in self._lots if lot.owner == digest)
            last = max((fill.time for fill in trades), default=-1)
            if trades and funding.time >= claim.since and (still_open or funding.time <= last):
                self._give(digest, funding)
                return
        self._give(NOBODY, funding)

    def _give(self, owner: str, part: Fill) -> None:
        if owner:
            self.owned[owner][part.exec_id] = part
        else:
            self.strays.append(part)

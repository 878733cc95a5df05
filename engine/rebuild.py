"""Positions rebuilt from the exchange's executions alone, for when our own records of them are gone."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from domain.exits import ExitPlan
from domain.ids import parse_order_id
from domain.order import Cause, OrderSide, Side
from domain.records import Adopted, Fill, Opening
from domain.trade import ZERO
from engine.executions import in_order, once, parts

if TYPE_CHECKING:
    from collections.abc import Iterable

STRATEGY = "adopted"
UNLEVERED = Decimal(1)


@dataclass(slots=True)
class Run:
    """The executions of one position, from flat to flat, or to now; ``qty`` is what is still open, signed."""

    symbol: str
    fills: list[Fill]
    qty: Decimal

    @property
    def digest(self) -> str:
        """The signal's name when our own entry order opened it, else empty."""
        name = parse_order_id(self.fills[0].order_id)
        return name.digest if name is not None and name.leg == "e" else ""

    @property
    def side(self) -> Side:
        """Direction of the position."""
        return Side.LONG if self.fills[0].side is OrderSide.BUY else Side.SHORT

    def average(self, *, closing: bool) -> Decimal:
        """Return the average price of the executions that opened it, or closed it; 0 when there are none."""
        held = [
            fill for fill in self.fills
            if fill.cause is not Cause.FUNDING and (fill.side is self.side.exit) == closing
        ]  # fmt: skip
        qty = sum((fill.qty for fill in held), ZERO)
        return sum((fill.qty * fill.price for fill in held), ZERO) / qty if qty else ZERO


def runs(fills: Iterable[Fill]) -> list[Run]:
    """Return the positions that executions made; those that began before the first execution are left out."""
    by_symbol: dict[str, list[Fill]] = {}
    for fill in once(fills):
        by_symbol.setdefault(fill.symbol, []).append(fill)
    return [run for symbol in sorted(by_symbol) for run in _runs_of(symbol, by_symbol[symbol])]


def whole(found: Iterable[Run]) -> list[Run]:
    """Return the runs that orders of ours opened, those of one entry as one: it may go on filling after a close."""
    named: dict[str, Run] = {}
    for run in found:
        before = named.setdefault(run.digest, run)
        if before is not run:
            named[run.digest] = Run(run.symbol, [*before.fills, *run.fills], before.qty + run.qty)
    return [run for digest, run in named.items() if digest]


def adoption(
    run: Run, time: int, timeframe: str, why: str, *, digest: str = "", stop: Decimal = ZERO,
    target: Decimal | None = None, leverage: Decimal = UNLEVERED,
) -> Adopted:  # fmt: skip
    """Return the record that takes a position over.

    Args:
        run: its executions.
        time: now, market time (UTC ms).
        timeframe: whose bars it is managed on.
        why: for the reader of the journal.
        digest: its name when no order of ours opened it.
        stop: the protective stop, 0 when not known; R cannot be told then.
        target: the target, 0 where there is none, None when not known.
        leverage: the exchange's, 1 when it is not known.
    """
    entry = run.average(closing=False)
    leave = run.average(closing=True) or entry
    stopped = run.fills[-1].cause is Cause.STOP_LOSS
    opening = Opening(
        strategy=STRATEGY, timeframe=timeframe, bar_start=run.fills[0].time, side=run.side, entry=entry,
        stop=stop or (leave if stopped else entry), plan=ExitPlan(), leverage=leverage,
        target=target if target is not None else (entry if stopped else leave),
    )  # fmt: skip
    name = digest or run.digest or name_of(run.fills[0].exec_id)
    return Adopted(time=time, digest=name, symbol=run.symbol, opening=opening, fills=tuple(run.fills), why=why)


def name_of(text: str) -> str:
    """Return a digest for a position that no signal of ours names."""
    return base64.b32encode(hashlib.blake2s(text.encode(), digest_size=15).digest()).decode()


def _runs_of(symbol: str, fills: list[Fill]) -> list[Run]:
    """Return the positions of one symbol: an execution that turns one round ends it and begins the next."""
    found: list[Run] = []
    current: Run | None = None
    for fill, _ in in_order(part for whole in fills for part in parts(whole)):
        if current is None and not fill.closed_qty and fill.cause is not Cause.FUNDING:
            current = Run(symbol, [], ZERO)
            found.append(current)
        current = _extended(current, fill)
    return found


def _extended(run: Run | None, fill: Fill) -> Run | None:
    if run is None:
        return None
    run.fills.append(fill)
    if fill.cause is not Cause.FUNDING:
        run.qty += fill.side.sign * fill.qty
    return run if run.qty * run.side.entry.sign > 0 else None

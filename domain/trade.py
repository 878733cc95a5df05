"""A finished trade, and the arithmetic of its profit."""

from __future__ import annotations

from datetime import datetime
from decimal import Context, Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from domain.errors import BadData
from domain.order import Side

if TYPE_CHECKING:
    from collections.abc import Iterable

ZERO = Decimal(0)
SIDES = frozenset(Side)
_EXACT = Context(prec=200)


class Leg(msgspec.Struct, frozen=True, kw_only=True):
    """One execution of a trade; ``closing`` says whether it reduced the position."""

    exec_id: str
    time: datetime
    qty: Decimal
    price: Decimal
    fee: Decimal
    cause: str
    closing: bool


class Trade(msgspec.Struct, frozen=True):
    """One position from flat to flat; money in quote units, times aware and in UTC.

    ``pnl_usd`` is net of fees and funding, ``pnl_percent`` is net profit over entry value, times leverage.
    ``r_multiple`` is net profit over the money that the first stop put at risk; the excursions are the best and
    worst price moves, in R. ``trade_id`` follows from the signal, so a redelivery is recognised. ``version`` counts how
    often a trade was amended by what was told after it had been recorded; the highest one holds.
    ``touched`` names what other hands than the bot's did to the position, separated by commas, empty when none did.
    """

    symbol: str
    side: str
    entry_price: Decimal
    exit_price: Decimal
    quantity: Decimal
    entry_time: datetime
    exit_time: datetime
    pnl_usd: Decimal
    pnl_percent: Decimal
    exit_reason: str
    leverage: Decimal = Decimal(1)
    strategy_name: str = "unknown"
    trade_id: str = ""
    source: str = ""
    mode: str = ""
    account: str = ""
    timeframe: str = ""
    gross_pnl: Decimal = ZERO
    fees: Decimal = ZERO
    funding: Decimal = ZERO
    r_multiple: Decimal = ZERO
    max_favourable_r: Decimal = ZERO
    max_adverse_r: Decimal = ZERO
    score: float | None = None
    touched: str = ""
    version: int = 0
    legs: tuple[Leg, ...] = ()

    def __post_init__(self) -> None:
        if self.side not in SIDES:
            raise ValueError(f"trade on {self.symbol}: side {self.side!r} is neither long nor short")
        for name in ("entry_time", "exit_time"):
            if getattr(self, name).utcoffset() is None:
                raise BadData(f"trade on {self.symbol}: {name} carries no time zone; give aware UTC times")


FIELDS = tuple(name for name in Trade.__struct_fields__ if name != "legs")
"""What a trade is told with where its executions are not."""


def calculate_pnl(
    symbol: str, side: str, entry: Decimal, exit_price: Decimal, qty: Decimal, leverage: Decimal
) -> tuple[Decimal, Decimal]:
    """Return (profit in quote units, percent of entry value times leverage), before fees and funding.

    Raises:
        BadData: when side is neither long nor short, in any spelling, or the entry is not positive.
    """
    try:
        sign = Side(side.lower()).sign
    except ValueError:
        raise BadData(f"{symbol}: side {side!r} is neither long nor short") from None
    if entry <= 0:
        raise BadData(f"{symbol}: entry price {entry} is not positive")
    move = sign * (exit_price - entry)
    return move * qty, move / entry * 100 * leverage


def rounded(value: Decimal, digits: int) -> Decimal:
    """Return a number with so many digits behind the point, however large it is: ``round`` fails beyond 28 in all."""
    return value.quantize(Decimal(1).scaleb(-digits), context=_EXACT)


def with_funding(trade: Trade, legs: Iterable[Leg], paid: Leg) -> Trade:
    """Return the next version of a trade: ``paid`` is a funding payment that was told late, ``legs`` are the others."""
    net, value = trade.pnl_usd - paid.fee, trade.entry_price * trade.quantity
    # the money that the first stop put at risk is known as the ratio that it made
    ratio = trade.r_multiple * net / trade.pnl_usd if trade.pnl_usd else trade.r_multiple
    return msgspec.structs.replace(
        trade, pnl_usd=net, funding=trade.funding + paid.fee, r_multiple=rounded(ratio, 6), version=trade.version + 1,
        pnl_percent=rounded(net / value * 100 * trade.leverage, 8) if value else trade.pnl_percent,
        legs=tuple(sorted([*legs, paid], key=lambda leg: (leg.time, leg.exec_id))),
    )  # fmt: skip


def newest(trades: Iterable[Trade]) -> dict[str, Trade]:
    """Return the highest version of each trade, by id; of two that are equally high, the first."""
    held: dict[str, Trade] = {}
    for trade in trades:
        if trade.trade_id not in held or held[trade.trade_id].version < trade.version:
            held[trade.trade_id] = trade
    return held


def as_row(trade: Trade) -> dict[str, Any]:
    """Return a trade's fields by name, without its executions."""
    return {name: getattr(trade, name) for name in FIELDS}


def as_tree(trade: Trade) -> dict[str, Any]:
    """Return a trade's fields by name, and those of its executions."""
    return as_row(trade) | {"legs": [msgspec.structs.asdict(leg) for leg in trade.legs]}

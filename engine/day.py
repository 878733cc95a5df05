"""The UTC day: what it began with, and what was made of it; every execution counts on the day on which it happened."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from domain.candle import decimal_of
from domain.durations import DAY_MS
from domain.order import Cause, Side
from domain.records import DayStarted
from domain.trade import ZERO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from domain.candle import Bars, Series
    from domain.records import Fill
    from domain.trade import Trade
    from engine.position import Position


BOOKED_MAX = 100_000


class Booked:
    """Funding payments that have been counted, by execution id: the newest so many."""

    def __init__(self) -> None:
        self._ids: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, exec_id: str) -> bool:
        return exec_id in self._ids

    def add(self, exec_ids: Iterable[str]) -> None:
        """Take note of payments."""
        self._ids |= dict.fromkeys(exec_ids)
        while len(self._ids) > BOOKED_MAX:
            self._ids.popitem(last=False)

    def add_funding(self, trade: Trade) -> None:
        """Take note of the payments of a trade."""
        self.add(leg.exec_id for leg in trade.legs if leg.cause == Cause.FUNDING)


def prices_at(start: int, series: Iterable[Series], until: Callable[[str, str, int], Bars]) -> dict[str, Decimal]:
    """Return the prices of symbols at a time (UTC ms), as far as ``until`` gives the bars of a series before it."""
    prices: dict[str, Decimal] = {}
    for one in series:
        # a series that is not followed any more, or not yet, has no window
        with contextlib.suppress(KeyError):
            bars = until(one.symbol, one.timeframe, start)
            prices |= {one.symbol: decimal_of(bars.close.item(-1))} if len(bars) else {}
    return prices


def begin(
    day: int, time: int, equity: Decimal, positions: Sequence[Position], prices: Mapping[str, Decimal],
    closed: Iterable[Trade] = (),
) -> DayStarted:  # fmt: skip
    """Return the record that a day is measured from.

    Args:
        day: days since 1970.
        time: now, market time (UTC ms).
        equity: what daily limits are a percentage of.
        positions: those of the moment; their symbols' prices are kept with the record.
        prices: at the beginning of the day, by symbol.
        closed: trades that ended after that; what they had made before it does not count.
    """
    held = {one.symbol: prices.get(one.symbol, one.entry_price) for one in positions}
    began = DayStarted(time=time, day=day, equity=equity, prices=held)
    began = msgspec.structs.replace(began, open_pnl=sum((made_before(began, one) for one in positions), ZERO))
    for trade in closed:
        began = with_closed(began, trade, prices.get(trade.symbol)) or began
    return began


def made_before(began: DayStarted, held: Position) -> Decimal:
    """Return what a position had made when a day began, as far as its executions are known by now.

    What was open then counts at the price of that moment, and at its entry where that is not known.
    """
    before = [fill for fill in held.fills.values() if fill.time < began.day * DAY_MS]
    cash, qty = ZERO, ZERO
    for fill in before:
        cash -= fill.fee
        if fill.cause is not Cause.FUNDING:
            cash -= fill.side.sign * fill.qty * fill.price
            qty += fill.side.sign * fill.qty
    return cash + qty * began.prices.get(held.symbol, held.entry_price)


def with_closed(began: DayStarted, trade: Trade, price: Decimal | None = None) -> DayStarted | None:
    """Return the record with what a trade that ends in a day had made before it; None when that was nothing.

    ``price`` is that of the symbol when the day began, for a record that does not have it.
    """
    start, sign = datetime.fromtimestamp(began.day * DAY_MS / 1000, UTC), Side(trade.side).sign
    cash, qty = ZERO, ZERO
    for leg in trade.legs:
        if leg.time >= start:
            continue
        cash -= leg.fee
        if leg.cause != Cause.FUNDING:
            bought = -sign * leg.qty if leg.closing else sign * leg.qty
            cash -= bought * leg.price
            qty += bought
    made = cash + qty * began.prices.get(trade.symbol, price if price is not None else trade.entry_price)
    if not made or trade.exit_time < start:
        return None
    return msgspec.structs.replace(began, made={**began.made, trade.trade_id: made})


def with_late(began: DayStarted, trade: Trade, fill: Fill) -> DayStarted | None:
    """Return the record after a payment of a trade was told late; None when the day is none the wiser."""
    start = began.day * DAY_MS
    if fill.time >= start or round(trade.exit_time.timestamp() * 1000) < start:
        return None
    made = began.made.get(trade.trade_id, ZERO) - fill.fee
    return msgspec.structs.replace(began, made={**began.made, trade.trade_id: made})


def with_booked(began: DayStarted, fill: Fill) -> DayStarted | None:
    """Return the record with a payment that belongs to no trade at hand; None when it was made before the day."""
    if fill.time < began.day * DAY_MS:
        return None
    return msgspec.structs.replace(began, booked={**began.booked, fill.exec_id: -fill.fee})


def profit(
    began: DayStarted | None, closed: Sequence[Trade], positions: Sequence[Position], open_pnl: Decimal
) -> Decimal:
    """Return what a day has made so far: its closed trades, and the change of what is open; no deposits.

    ``closed`` are in the order of their exits, ``open_pnl`` is what positions have made in all.
    """
    start = datetime.fromtimestamp(began.day * DAY_MS / 1000 if began else 0, UTC)
    made = open_pnl + (sum(began.booked.values(), ZERO) if began else ZERO)
    for trade in reversed(closed):
        if trade.exit_time < start:
            break
        made += trade.pnl_usd - (began.made.get(trade.trade_id, ZERO) if began else ZERO)
    if began is None:
        return made
    if began.open_pnl and not began.prices:
        # a record of a version that did not keep prices
        return made - began.open_pnl
    return made - sum((made_before(began, held) for held in positions), ZERO)

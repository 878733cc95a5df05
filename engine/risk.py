"""The risk gate: how much of a signal is taken, if any, and which rule says no."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING

import msgspec

from domain.candle import decimal_of
from domain.order import Side
from domain.trade import ZERO
from engine.protections import Protection, blocked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.instrument import Instrument
    from domain.records import SwitchState
    from domain.signal import Signal
    from domain.trade import Trade

LEAST_SHARE = Decimal("0.25")
"""A signal that exposure or margin would cut to less than this share of its size is not taken."""


RESERVE = Decimal("0.02")
"""Share of the equity that no margin is taken from: until an order arrives, what is open may have lost something."""
LIQUIDATION_SHARE = Decimal("0.8")
"""Share of the way to liquidation that a stop may take up; the rest is for gaps, and a mark price that runs ahead."""
MAINTENANCE_RESERVE = Decimal("1.25")
"""Times the maintenance margin of all positions that the account keeps even when every stop is hit."""


@dataclass(frozen=True, slots=True)
class RiskLimits:
    """The operator's limits; ``max_exposure`` and ``max_position`` are multiples of the equity.

    ``max_order_value`` (quote units) and ``max_orders_per_minute`` are absolute, 0 for none: they hold whatever equity
    and prices are told. ``max_equity_step`` is how many times the last equity the next may be, or its part;
    ``max_equity`` is what no equity is believed beyond, 0 for none. ``max_cost_r`` is what a signal may cost in R,
    0 for any.
    """

    percent: Decimal
    max_open_trades: int
    max_exposure: Decimal
    max_position: Decimal
    daily_loss_percent: Decimal
    leverage: Decimal
    fee: Decimal
    slippage: Decimal
    protections: tuple[Protection, ...] = ()
    max_order_value: Decimal = ZERO
    max_orders_per_minute: int = 0
    max_equity_step: Decimal = Decimal(10)
    max_equity: Decimal = ZERO
    max_cost_r: Decimal = ZERO


class Account(msgspec.Struct, frozen=True):
    """What the gate has to know of the moment; money in quote units, ``day_pnl`` since the UTC day began.

    ``exposure`` is the value of all positions, ``margin`` what is tied up for them; entries on their way count whole.
    ``at_risk`` is what is lost from now on when every open position is stopped, ``maintenance`` the margin that the
    exchange wants kept for them. ``available`` is what the exchange says that new positions may tie up, less what has
    been asked for since; None where it has not said so. Strangers' orders count there, and in nothing else.
    ``ordered`` are the entries of the last minute.
    """

    equity: Decimal
    day_equity: Decimal
    day_pnl: Decimal
    exposure: Decimal
    margin: Decimal
    open_trades: int
    switch: SwitchState
    durable: bool
    now: int
    closed: Sequence[Trade]
    at_risk: Decimal = ZERO
    maintenance: Decimal = ZERO
    available: Decimal | None = None
    ordered: int = 0

    @property
    def free(self) -> Decimal:
        """What nothing ties up, as the exchange says and as can be reckoned: the lesser of both."""
        reckoned = self.equity - self.margin
        return reckoned if self.available is None else min(reckoned, self.available)


class Approved(msgspec.Struct, frozen=True):
    """A signal that may be taken, with its size and leverage."""

    qty: Decimal
    leverage: Decimal


class Denied(msgspec.Struct, frozen=True):
    """A signal that may not be taken."""

    gate: str
    detail: str


def weigh(signal: Signal, instrument: Instrument, limits: RiskLimits, account: Account) -> Approved | Denied:
    """Return the size of a signal or the first rule that forbids it."""
    if account.switch != "running":
        return Denied("switch", f"trading is {account.switch.value}")
    if not account.durable:
        return Denied("not_durable", "no durable place for the intent")
    if not instrument.trading:
        return Denied("not_trading", "the exchange does not trade it any more")
    if signal.side is Side.SHORT and not instrument.shortable:
        return Denied("not_shortable", "what is not owned cannot be sold on this market")
    if account.open_trades >= limits.max_open_trades:
        return Denied("max_open_trades", f"{account.open_trades} positions are open")
    if 0 < limits.max_orders_per_minute <= account.ordered:
        return Denied("order_rate", f"{account.ordered} entries within a minute")
    lost = -account.day_pnl
    if account.day_equity > 0 and lost >= account.day_equity * limits.daily_loss_percent / 100:
        return Denied("daily_loss", f"{lost:.2f} lost today, of {account.day_equity:.2f}")
    reason = blocked(limits.protections, account.closed, signal.symbol, account.now, account.equity)
    if reason:
        return Denied("protection", reason)
    return _size(signal, instrument, limits, account)


def _size(signal: Signal, instrument: Instrument, limits: RiskLimits, account: Account) -> Approved | Denied:
    entry, long = decimal_of(signal.entry), signal.side is Side.LONG
    # as it will be sent: where the tick is coarse, what is lost at the stop is more than the signal says
    stop = instrument.price_down(signal.stop) if long else instrument.price_up(signal.stop)
    if account.equity <= 0:
        return Denied("sizing", f"equity is {account.equity}")
    # at the stop the price distance is lost, and fee and slippage on both ways
    loss = abs(entry - stop) + (limits.fee + limits.slippage) * (entry + stop)
    by_risk = account.equity * limits.percent / 100 / loss
    # the largest that it can become: a larger position has to keep more margin, and may have less leverage
    largest = min(by_risk * entry, account.equity * limits.max_position)
    rate = instrument.maintenance_rate(largest)
    leverage = min(limits.leverage, instrument.leverage_limit(largest), _safe_leverage(entry, stop, rate))
    if leverage < 1:
        return Denied("liquidation", f"its stop at {stop} lies beyond where the exchange would liquidate")
    # an exchange ties up, beside the margin, the fees of both ways
    free = account.free - account.equity * RESERVE
    by_margin = free / (1 / leverage + 2 * limits.fee + limits.slippage)
    room = min(account.equity * limits.max_position, account.equity * limits.max_exposure - account.exposure, by_margin)
    wanted = min(by_risk, account.equity * limits.max_position / entry)
    if room / entry < wanted * LEAST_SHARE and room == by_margin:
        return Denied("margin", f"the {max(ZERO, free):.2f} that are available are too little to be worth the fees")
    if room / entry < wanted * LEAST_SHARE:
        return Denied("exposure", f"only {room:.2f} of room is left, too little to be worth its fees")
    qty = instrument.floor_qty(min(by_risk, room / entry, instrument.max_qty))
    if qty < instrument.min_qty or qty * entry < instrument.min_notional:
        return Denied("sizing", f"{qty} is below the exchange's minimum")
    if 0 < limits.max_order_value < qty * entry:
        return Denied("order_value", f"{qty * entry:.2f} is more than an order may be worth")
    kept = (account.maintenance + qty * entry * rate) * MAINTENANCE_RESERVE
    if account.equity - account.at_risk - qty * loss < kept:
        # with cross margin all positions are liquidated together, each long before its own distance is used up
        return Denied("liquidation", f"with every stop hit, less than {kept:.2f} of maintenance margin would be left")
    return Approved(qty, leverage)


def _safe_leverage(entry: Decimal, stop: Decimal, maintenance: Decimal) -> Decimal:
    """Return the highest whole leverage at which the stop comes well before liquidation.

    An isolated linear position is liquidated 1 / leverage less the rate of its maintenance margin away from its entry
    (Bybit's liquidation price without extra margin); with cross margin it is further.
    """
    away = abs(entry - stop) / entry
    return (1 / (away / LIQUIDATION_SHARE + maintenance)).to_integral_value(ROUND_FLOOR)

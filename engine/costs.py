"""What a signal costs before it can gain anything, as a share of what it risks."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from domain.candle import decimal_of
from domain.durations import DAY_MS
from domain.funding import BASE_RATE, LONGEST_MS
from domain.order import Side
from domain.trade import ZERO

if TYPE_CHECKING:
    from domain.exits import ExitPlan
    from domain.instrument import Instrument
    from domain.signal import Signal
    from engine.risk import RiskLimits

RATE = Decimal(repr(BASE_RATE))


def cost_r(signal: Signal, instrument: Instrument, limits: RiskLimits, exits: ExitPlan) -> Decimal:
    """Return fees, spread, slippage and expected funding of a signal, in R.

    As sizing reckons the loss at the stop: taker fee, half a spread and slippage on entry and on stop. Of perpetuals a
    long pays the base rate of 0.01 % in eight hours for as long as its timeout lets it be held, for a day without a
    timeout; a short is given nothing for it.
    """
    entry, long = decimal_of(signal.entry), signal.side is Side.LONG
    stop, _ = signal.levels(instrument)
    traded = (limits.fee + limits.slippage) * (entry + stop)
    pays = long and ":" in signal.symbol
    funding = entry * RATE * (exits.timeout_ms or DAY_MS) / LONGEST_MS if pays else ZERO
    return (traded + funding) / abs(entry - stop)

"""What a backtest led to: trades, decisions, and what was held when."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from domain.candle import Floats, Times
    from domain.judgement import Judgement
    from domain.signal import Signal
    from domain.trade import Trade


@dataclass(frozen=True, slots=True)
class Funding:
    """Funding payments of a symbol: when (UTC ms, ascending), and at which rates."""

    times: Times
    rates: Floats


class Decision(NamedTuple):
    """What became of a signal: the gate that refused it, "" when it was taken, and what was thought of it."""

    signal: Signal
    gate: str
    detail: str
    judged: Judgement


REJECTED = "order_rejected"
"""The gate of a signal whose order the exchange did not accept."""


class Holdings(NamedTuple):
    """The wallet since a time (UTC ms), and what was held: signed quantity and average price by symbol."""

    time: int
    wallet: float
    held: dict[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class OpenPosition:
    """A position that was still open at the end; money in quote units, fees and funding as far as they were paid."""

    symbol: str
    side: str
    entry_time: int
    entry_price: Decimal
    quantity: Decimal
    fees: Decimal
    funding: Decimal
    unrealised: Decimal


@dataclass(slots=True)
class Outcome:
    """What a backtest led to.

    Attributes:
        trades: finished trades, by the time of their end.
        decisions: every signal in the order of time.
        equity: (UTC ms, equity in quote units) at the beginning, every midnight at which something was held, every
            trade's end, and the end.
        holdings: wallet and positions after everything that changed them.
        open: positions that were still open at the end; they count in the equity, not as trades.
        rejected: orders of positions that the exchange did not accept, by what they were for.
        liquidated_at: when the equity was used up (UTC ms), 0 if never; nothing after it counts.
        bars: bars that were played, of the finest timeframe.
    """

    trades: list[Trade] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    equity: list[tuple[int, Decimal]] = field(default_factory=list)
    holdings: list[Holdings] = field(default_factory=list)
    open: list[OpenPosition] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    liquidated_at: int = 0
    bars: int = 0

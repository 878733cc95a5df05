"""What the shipped protections cost a signal, with years of closed trades beside weeks of them, taken in turns."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from benchmarks.measured import Measured, compared, in_turns
from bootstrap.parts import limits
from domain.trade import Trade
from engine.adjustments import Adjustments
from engine.closed_trades import ClosedTrades
from engine.protections import blocked
from settings import load

ROUNDS, SIGNALS = 300, 40
FEW, MANY, SYMBOLS, A_DAY = 500, 5_000, 200, 100
EQUITY = Decimal(10_000)
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def measure() -> list[Measured]:
    """Measure a trade and the signals that are weighed after it, and what everybody is told when they ask for locks."""
    few, many = _Bot(FEW), _Bot(MANY)
    signals = in_turns(many.trade, few.trade, ROUNDS, 1000 / SIGNALS)
    locks = in_turns(many.locks, few.locks, ROUNDS // 10)
    what = f"a signal weighed by the shipped protections, {MANY:,} closed trades; with {FEW}"
    told = f"locks of {SYMBOLS} symbols, {MANY:,} closed trades; with {FEW}"
    return [
        compared("protections_growth", what, "ms", signals, 1.2),
        compared("protections_signal", what, "ms", signals, 0.2, absolute=True),
        compared("protections_locks", told, "ms", locks, 50, absolute=True),
    ]


class _Bot:
    """Closed trades at a steady rate, and the limits that are shipped."""

    def __init__(self, held: int) -> None:
        self._chance, self._ended = random.Random(1), 0
        self._limits = limits(load(None))
        self._adjustments = Adjustments(self._limits)
        self._closed = ClosedTrades(self._next() for _ in range(held))

    def trade(self, _: int) -> None:
        """Close a trade and weigh signals."""
        self._closed.append(self._next())
        for number in range(SIGNALS):
            blocked(self._limits.protections, self._closed, f"C{number}/USDT:USDT", self._now, EQUITY)

    def locks(self, _: int) -> None:
        """Ask what forbids entries."""
        self._adjustments.locks(self._closed.copy(), [f"C{n}/USDT:USDT" for n in range(SYMBOLS)], self._now, EQUITY)

    @property
    def _now(self) -> int:
        return int((BEGIN + timedelta(days=self._ended / A_DAY)).timestamp() * 1000) + 60_000

    def _next(self) -> Trade:
        self._ended += 1
        at, one = BEGIN + timedelta(days=self._ended / A_DAY), Decimal(1)
        made = self._chance.choice((Decimal("12.5"), Decimal(-10)))
        return Trade(
            f"C{self._chance.randrange(SYMBOLS)}/USDT:USDT", "long", one, one, one, at, at, made, made / 100,
            "take_profit" if made > 0 else "stop_loss",
        )  # fmt: skip

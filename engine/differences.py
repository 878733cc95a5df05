"""What a comparison of our book with the exchange has found."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from domain.trade import ZERO

if TYPE_CHECKING:
    from domain.order import PositionReport
    from engine.position import Position

NAKED_KEPT = 10_000


@dataclass(slots=True)
class Differences:
    """What was found; ``naked_s`` are the seconds that positions stood without a stop, one figure per position."""

    rounds: int = 0
    foreign: list[str] = field(default_factory=list)
    ghosts: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)
    naked: dict[str, float] = field(default_factory=dict)
    naked_s: deque[float] = field(default_factory=lambda: deque(maxlen=NAKED_KEPT))
    adopted: int = 0
    rebuilt: int = 0

    def naked_seconds(self) -> dict[str, float]:
        """Return how many positions stood without a stop for a while, and for how long, in seconds."""
        held = sorted(self.naked_s)
        p99, longest = (round(held[int((len(held) - 1) * share)], 3) if held else 0.0 for share in (0.99, 1.0))
        return {"positions": len(held), "p99": p99, "max": longest}


def unlike(held: Position | None, there: PositionReport | None) -> bool:
    """Return whether what is shown of a symbol is not what is known: quantity, leverage, or that there is a stop."""
    known = held.opening.side.sign * held.qty if held is not None else ZERO
    if there is None or held is None or not known:
        return known != (there.qty if there is not None else ZERO)
    return there.qty != known or not there.stop or there.leverage not in {ZERO, held.leverage}

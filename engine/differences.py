"""What a comparison of our book with the exchange has found."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

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

"""One line of the table: what was measured beside what, taken in turns, and what it should reach."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True, slots=True)
class Measured:
    """A case beside its reference.

    Attributes:
        name: what ``make bench ONLY=`` calls it.
        what: what is done, and what it is compared with, in words.
        unit: of ours and of the reference.
        ours: median of our way.
        reference: median of the other way.
        ratios: ours divided by the reference, once per round.
        limit: what their median should not exceed, or, with ``at_least``, reach; in the case of ``absolute``, ours.
        at_least: whether more is better.
        absolute: whether ours is judged by itself, and the ratio only shown.
        also: whether everything else that is wanted holds; ``details`` says what.
        details: further figures, in words.
    """

    name: str
    what: str
    unit: str
    ours: float
    reference: float
    ratios: tuple[float, ...]
    limit: float
    at_least: bool = False
    also: bool = True
    details: str = ""
    absolute: bool = False

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios."""
        return statistics.median(self.ratios)

    @property
    def target(self) -> str:
        """What the ratio should be, in words."""
        if self.absolute:
            return f"ours <= {self.limit:g}"
        return f"{'>=' if self.at_least else '<='} {self.limit:g}"

    @property
    def met(self) -> bool:
        """Whether that and everything else holds."""
        judged = self.ours if self.absolute else self.ratio
        return self.also and (judged >= self.limit if self.at_least else judged <= self.limit)


def compared(
    name: str, what: str, unit: str, pairs: Sequence[tuple[float, float]], limit: float, *, at_least: bool = False,
    also: bool = True, details: str = "", absolute: bool = False,
) -> Measured:  # fmt: skip
    """Return the line of (ours, reference) pairs, one of each round, in ``unit``."""
    ours, reference = (statistics.median(values) for values in zip(*pairs, strict=True))
    ratios = tuple(one / other for one, other in pairs)
    return Measured(name, what, unit, ours, reference, ratios, limit, at_least, also, details, absolute)


def in_turns(
    ours: Callable[[int], object], reference: Callable[[int], object], rounds: int, scale: float = 1000.0
) -> list[tuple[float, float]]:
    """Return what both took in each round, in seconds times ``scale``; each is told the round's number.

    They take turns at being first, so that neither always finds the caches warm. A round before the first is thrown
    away: connections are made, plans are learnt.
    """
    pairs = []
    for number in range(rounds + 1):
        if number % 2:
            theirs, own = took(reference, number), took(ours, number)
        else:
            own, theirs = took(ours, number), took(reference, number)
        if number:
            pairs.append((own * scale, theirs * scale))
    return pairs


def took(work: Callable[..., object], *arguments: object) -> float:
    """Return how many seconds a call takes."""
    began = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - began

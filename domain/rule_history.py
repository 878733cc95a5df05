"""Trading rules of one symbol over time."""

from __future__ import annotations

from bisect import bisect_right
from functools import reduce
from typing import TYPE_CHECKING

from domain.instrument import Instrument

if TYPE_CHECKING:
    from collections.abc import Sequence


class RuleHistory:
    """Which rules were in force when; the first count for all that was before.

    Args:
        starts: from when on each of them is in force (UTC ms), ascending.
        rules: the rules.
    """

    def __init__(self, starts: Sequence[int], rules: Sequence[Instrument]) -> None:
        kept = [place for place, one in enumerate(rules) if not place or one != rules[place - 1]]
        self.starts, self.rules = [starts[place] for place in kept], [rules[place] for place in kept]

    def at(self, time: int) -> Instrument:
        """Return the rules in force at a time."""
        return self.rules[max(0, bisect_right(self.starts, time) - 1)]

    def since(self, start: int, time: int) -> Instrument:
        """Return the rules for what was opened at ``start`` and is still open: never coarser than they were since.

        What is held would not fit into coarser steps, nor its stop on coarser ticks.
        """
        if len(self.rules) == 1:
            return self.rules[0]
        first, last = (max(0, bisect_right(self.starts, at) - 1) for at in (start, time))
        return reduce(Instrument.finer, self.rules[first : last + 1])

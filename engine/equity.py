"""Whether the equity that the exchange tells can be the account's: every size of an entry is made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

log = structlog.get_logger(__name__)

BELIEVED_AFTER_S = 600.0
"""What is told for so long is true: somebody has paid in, or taken out."""


class EquityDoubt:
    """Doubts an equity that is more than ``step`` times, or less than that part of, the last one, and one of nothing.

    ``now`` is a monotonic clock in seconds.
    """

    def __init__(self, step: Callable[[], Decimal], now: Callable[[], float]) -> None:
        self._step, self._now = step, now
        self._doubted: Decimal | None = None
        self._since = 0.0

    def weigh(self, told: Decimal, known: Decimal) -> str:
        """Return why an equity is not believed after the ``known`` one, empty when it is."""
        if known <= 0 or self._near(told, known):
            if self._doubted is not None:
                log.info("the equity is believed again", equity=str(told))
            self._doubted = None
            return ""
        if self._doubted is None or not self._near(told, self._doubted):
            self._doubted, self._since = told, self._now()
            log.error("equity doubted: no entries until it is as before, or stays", told=str(told), known=str(known))
        if self._now() - self._since >= BELIEVED_AFTER_S:
            log.warning("equity believed: it has been told for long enough", told=str(told), known=str(known))
            self._doubted = None
            return ""
        return f"equity of {told:f} after {known:f} is doubted: it is asked for again, and believed once it stays"

    def _near(self, told: Decimal, known: Decimal) -> bool:
        if told <= 0 or known <= 0:
            return told == known
        return known / self._step() <= told <= known * self._step()

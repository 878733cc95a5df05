"""Whether the equity that the exchange tells can be the account's: every size of an entry is made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

    from engine.risk import RiskLimits

log = structlog.get_logger(__name__)

BELIEVED_AFTER_S = 600.0
"""What is told for so long is true: somebody has paid in, or taken out."""


class EquityDoubt:
    """Doubts an equity that is many times the last one, or a small part of it, and one of nothing.

    ``limits`` says how many times; what is more than its ``max_equity`` is never believed, be it the first that is told
    and for however long. ``now`` is a monotonic clock in seconds.
    """

    def __init__(self, limits: Callable[[], RiskLimits], now: Callable[[], float]) -> None:
        self._limits, self._now = limits, now
        self._doubted: Decimal | None = None
        self._since = 0.0

    def weigh(self, told: Decimal, known: Decimal) -> str:
        """Return why an equity is not believed after the ``known`` one (0 for none), empty when it is."""
        most = self._limits().max_equity
        if 0 < most < told or not told.is_finite():
            return f"equity of {told:f} is more than risk.max_equity ({most:f}): it is asked for again, never believed"
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
        step = self._limits().max_equity_step
        return known / step <= told <= known * step

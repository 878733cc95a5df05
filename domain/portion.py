"""How much of a position is to be closed."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import NamedTuple

from domain.errors import BadData

WHOLE = Decimal(100)


class Portion(NamedTuple):
    """A part of what is open: a quantity, or where that is None so many percent."""

    percent: Decimal = WHOLE
    qty: Decimal | None = None

    @classmethod
    def parse(cls, text: str) -> Portion | None:
        """Return what ``50%`` means, None for all of it. Raises BadData."""
        found = re.fullmatch(r"(\d{1,3}(?:\.\d{1,8})?)%", text, re.ASCII)
        percent = Decimal(found[1]) if found else Decimal(0)
        if not 0 < percent <= WHOLE:
            raise BadData(f"{text[:40]!r}: give the part that is to be closed in percent, such as 50%")
        return None if percent == WHOLE else cls(percent)

    def of(self, qty: Decimal) -> Decimal:
        """Return that part of a quantity."""
        return qty * self.percent / 100 if self.qty is None else self.qty

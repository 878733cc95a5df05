"""Orders of ours, each from its intent to its proven end."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from domain.order import OrderState
from domain.trade import ZERO


class OwnOrder(msgspec.Struct):
    """One order of ours, as far as it is known.

    An order has ended once its executions add up to its quantity, or once the exchange has reported its end. It is
    ``settled`` when, besides, every execution is known that the exchange counted: nothing can come of it any more.

    Attributes:
        leg: e for an entry, p for a partial target, t for a part that its strategy takes off, r for a part that the
            operator closes, x for an exit.
        filled: sum of its known executions.
        reported: what the exchange had counted as filled when it reported the end.
        state: how it ended, as reported; None when that was not reported.
    """

    order_id: str
    symbol: str
    leg: str
    qty: Decimal
    reduce_only: bool
    market: bool = True
    filled: Decimal = ZERO
    reported: Decimal = ZERO
    state: OrderState | None = None

    @property
    def working(self) -> bool:
        """Whether it may still fill."""
        return self.state is None and self.filled < self.qty

    @property
    def settled(self) -> bool:
        """Whether it has ended and all of its executions are known."""
        return self.filled >= self.qty or (self.state is not None and self.filled >= self.reported)

    def cut(self, filled: Decimal) -> bool:
        """Return whether so much is all that there was for it to close: the exchange then counts it as filled."""
        return self.reduce_only and self.market and filled < self.qty

    @property
    def rest(self) -> Decimal:
        """What may still fill."""
        return self.qty - self.filled if self.working else ZERO

    def end(self, state: OrderState, filled: Decimal) -> None:
        """Take the report of its end; the first one stands, a later one may only raise what was counted as filled."""
        self.state = self.state or state
        self.reported = max(self.reported, filled)

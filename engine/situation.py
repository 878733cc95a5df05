"""What the trader knows of its surroundings."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from domain.records import SwitchState
from domain.trade import ZERO


@dataclass(slots=True)
class Situation:
    """What the outside has told the trader last.

    ``available`` is what new positions could tie up when the exchange was asked last, None before that; the margin of
    our own positions and orders that it knew of by then was ``counted``.
    ``foreign`` are values of positions that are not ours, by symbol, ``foreign_margin`` is what they tie up.
    ``counted_pnl`` is the UTC day (days since 1970) when ``equity`` was told, and what that day had made by then.
    ``equity_doubt`` says why the equity that is told by now is not believed; ``equity`` is the last that was, and
    ``remembered`` what the last day of an earlier life began with.
    ``second_sender`` says that another instance, which the fence cannot see, sends orders too, empty when none does.
    ``barred`` says why the exchange takes no entry of ours at all; ``doubtful`` and ``refusing`` why none is made in a
    symbol: something there was not understood, or the exchange would refuse it. ``outside`` says the same of symbols
    that are followed and that the pairlists leave out, ``former`` why these are the pairlists' words of a while ago.
    """

    equity: Decimal = ZERO
    counted_pnl: tuple[int, Decimal] = (-1, ZERO)
    equity_doubt: str = ""
    remembered: Decimal = ZERO
    available: Decimal | None = None
    counted: Decimal = ZERO
    durable: bool = True
    superseded: bool = False
    second_sender: str = ""
    barred: str = ""
    doubtful: dict[str, str] = field(default_factory=dict)
    refusing: dict[str, str] = field(default_factory=dict)
    outside: dict[str, str] = field(default_factory=dict)
    former: str = ""
    switch: SwitchState = SwitchState.RUNNING
    stale: frozenset[str] = frozenset()
    foreign: dict[str, Decimal] = field(default_factory=dict)
    foreign_margin: Decimal = ZERO
    prices: dict[str, Decimal] = field(default_factory=dict)
    market_time: int = 0
    _turned: bool = False

    def refusal(self, symbol: str) -> tuple[str, str] | None:
        """Return gate and reason when no entry may be made in a symbol, whoever asks for one."""
        if symbol in self.refusing:
            return "exchange_refuses", self.refusing[symbol]
        if symbol in self.doubtful:
            return "not_understood", self.doubtful[symbol]
        if symbol in self.outside:
            return "universe", self.outside[symbol]
        return None

    def turn(self, state: SwitchState) -> None:
        """Turn the switch: from now on no record of an earlier life turns it back."""
        self.switch, self._turned = state, True

    def recall_switch(self, state: SwitchState) -> None:
        """Take what an earlier life left the switch at, unless somebody has turned it during this start."""
        if not self._turned:
            self.switch = state

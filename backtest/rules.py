"""The trading rules of a backtest as they were in force at each moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from domain.instrument import Instrument
    from domain.rule_history import RuleHistory


class RulesInForce:
    """Keeps ``instruments``, which trader and exchange share, at the rules of the moment.

    Attributes:
        instruments: the rules by symbol, those of the beginning at first.
    """

    def __init__(self, histories: Mapping[str, RuleHistory], start: int) -> None:
        self.instruments: dict[str, Instrument] = {name: held.at(start) for name, held in histories.items()}
        self._changing = {name: held for name, held in histories.items() if len(held.rules) > 1}

    def changes(self, symbol: str) -> bool:
        """Return whether a symbol's rules are not the same all the time."""
        return symbol in self._changing

    def move(self, symbol: str, time: int, opened: int) -> None:
        """Put the rules of a time in force; what has been open since ``opened`` (UTC ms) goes on fitting them."""
        self.instruments[symbol] = self._changing[symbol].since(min(opened, time), time)

"""The runtime, as those see it that find out what is to be done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.records import Fill, Receipt, Record, Touched
    from engine.commands import Command
    from engine.position import Position


class Shell(Protocol):
    """What the reconciler needs of the runtime."""

    def market_time(self) -> int:
        """Return the market time."""
        ...

    async def append(self, record: Record) -> Receipt:
        """Write a record down."""
        ...

    async def dispatch(self, commands: Sequence[Command]) -> None:
        """Carry commands out."""
        ...

    async def catch_up(self) -> None:
        """Ask for executions and for the ends of orders, and take them."""
        ...

    async def take(self, fills: list[Fill]) -> None:
        """Take executions, and return once they have been taken."""
        ...

    def nudge(self) -> None:
        """Have the book compared with the exchange now."""
        ...

    async def touched(self, touch: Touched) -> None:
        """Write down what a hand did to a position, and tell it."""
        ...

    def exit_again(self, held: Position) -> None:
        """Have an exit that came to nothing sent again, unless that is under way."""
        ...

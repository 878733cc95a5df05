"""What a command is, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from domain.errors import BadData

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from telegram_bot.port import Desk


class Button(NamedTuple):
    """Something to press: what it says, and the command line that it stands for."""

    label: str
    line: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back: HTML, maybe a picture (PNG), buttons by rows; ``refresh`` when it can be asked for again."""

    text: str
    buttons: Sequence[Sequence[Button]] = ()
    picture: bytes | None = None
    refresh: bool = False


@dataclass(frozen=True, slots=True)
class Ask:
    """A command as it was asked: its arguments, and by whom, for the books."""

    desk: Desk
    arguments: tuple[str, ...] = ()
    reason: str = "telegram"

    def number(self, place: int, usual: int | None, most: int, what: str) -> int | None:
        """Return an argument as a whole number from 1 to ``most``, or what is usual when it was left out.

        Raises:
            BadData: when it is something else.
        """
        if len(self.arguments) <= place:
            return usual
        text = self.arguments[place]
        if not text.isascii() or not text.isdecimal() or len(text) > len(str(most)) or not 1 <= int(text) <= most:
            raise BadData(f"{text[:40]!r}: give {what} as a whole number from 1 to {most}")
        return int(text)

    def only(self, count: int) -> None:
        """Raise BadData when there are more arguments than that."""
        if len(self.arguments) > count:
            raise BadData(f"{' '.join(self.arguments[count:])[:60]!r}: that is more than this command takes")


@dataclass(frozen=True, slots=True)
class Change:
    """Something that raises the risk: what it would do, in words, and the doing, which answers."""

    about: str
    do: Callable[[], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Command:
    """One command of the menu.

    Attributes:
        name: what is typed after the slash.
        group: where help lists it.
        about: what it does, for the menu.
        run: does it; a ``Change`` has to be confirmed first.
        usage: its arguments, as help shows them.
        lowers: whether it can only lower the risk: never asked for a code, never held back, never too late.
        aliases: other names.
    """

    name: str
    group: str
    about: str
    run: Callable[[Ask], Awaitable[Answer | Change]]
    usage: str = ""
    lowers: bool = False
    aliases: tuple[str, ...] = field(default=())


def rows_of(buttons: Sequence[Button], wide: int = 2) -> list[list[Button]]:
    """Return buttons in rows of so many."""
    return [list(buttons[i : i + wide]) for i in range(0, len(buttons), wide)]

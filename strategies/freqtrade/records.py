"""freqtrade's books, which are not kept here: names to write types with; whoever asks them something is refused."""

from __future__ import annotations

from typing import Any, NoReturn

from domain.errors import BadData


class Unsupported(BadData):
    """A strategy uses something of freqtrade that is not offered; the text names it."""


def refuse(name: str, why: str) -> NoReturn:
    """Raise Unsupported for a name."""
    raise Unsupported(f"{name} is not offered to freqtrade strategies: {why}")


class Unkept(type):
    """Refuses every question to a class whose objects are not kept."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        refuse(f"{cls.__name__}.{name}", "a strategy decides on bars alone, and knows of no trades")


class Trade(metaclass=Unkept):
    """A trade, to write types with."""


class LocalTrade(Trade):
    """The same."""


class Order(metaclass=Unkept):
    """An order, to write types with."""


class PairLocks(metaclass=Unkept):
    """Locks of pairs; ``risk.protections`` does that here."""


class CustomDataWrapper(metaclass=Unkept):
    """What strategies keep beside trades."""

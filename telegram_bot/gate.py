"""Who is obeyed, and how often."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from domain.token_bucket import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Collection

STRANGERS_MAX = 1_000
BURST, A_SECOND = 10, 1.0


class Gate:
    """Lets only known people in known chats through; all others are counted, and reported once each.

    ``chats`` is looked at anew each time: groups move.
    """

    def __init__(self, chats: Collection[int], users: Collection[int], reported: Collection[int] = ()) -> None:
        self._chats, self._users = chats, frozenset(users)
        self.strangers: OrderedDict[int, int] = OrderedDict.fromkeys(reported, 0)
        self.turned_away = 0

    def admits(self, user: int | None, chat: int | None) -> bool:
        """Say whether somebody may ask in a chat: both have to be known."""
        return user in self._users and chat in self._chats

    def turn_away(self, user: int | None) -> bool:
        """Count a stranger; say whether this is the first time."""
        self.turned_away += 1
        key = user if user is not None else 0
        first = key not in self.strangers and len(self.strangers) < STRANGERS_MAX
        if key in self.strangers or first:
            self.strangers[key] = self.strangers.get(key, 0) + 1
        return first


class Flood:
    """Allows each person so many commands at once, and then one a second."""

    def __init__(self) -> None:
        self._left: dict[int, TokenBucket] = {}

    def allows(self, user: int, now: float) -> bool:
        """Take one command off a person's allowance at host time ``now`` (seconds); False when there is none left."""
        return self._left.setdefault(user, TokenBucket(BURST, BURST / A_SECOND)).allows(now)

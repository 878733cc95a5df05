"""Groups that became supergroups: Telegram gives those another id, and whoever had rights in the old one keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Moves:
    """Where the chats that are answered are now.

    ``chats`` are ids as they were configured, ``moved`` where chats have gone in earlier lives. A chat that is no
    longer configured has taken its rights along, wherever it went.

    Attributes:
        known: every id that is answered, old ones too: what was written there before may still arrive.
    """

    def __init__(self, chats: Iterable[int], moved: Mapping[int, int]) -> None:
        self._now = {chat: moved.get(chat, chat) for chat in chats}
        self.known = {*self._now, *self._now.values()}

    @property
    def present(self) -> list[int]:
        """The ids that messages go to, each once."""
        return list(dict.fromkeys(self._now.values()))

    def now(self, chat: int) -> int:
        """Return the id that a chat has now."""
        return self._now.get(chat, chat)

    def follow(self, old: int, new: int) -> bool:
        """Take note that a chat has another id now; say whether that is new, and a chat that is answered.

        Only groups move (their ids are negative), and only Telegram tells of it.
        """
        if not (old < 0 and new < 0) or old not in self.known or self.now(old) == new:
            return False
        self._now |= {chat: new for chat, present in self._now.items() if present == old}
        self._now[old] = new
        self.known.add(new)
        return True

"""What the chat remembers over restarts: which week was told, which strangers were reported, which groups moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import structlog

from domain.errors import RevenantError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = structlog.get_logger(__name__)


class _Kept(msgspec.Struct):
    week: str = ""
    strangers: list[int] = []
    moved: dict[int, int] = {}


class Memory:
    """Keeps a few values in a file that ``save`` writes; without the file it begins anew."""

    def __init__(self, content: bytes | None, save: Callable[[bytes], Awaitable[None]]) -> None:
        self._save = save
        try:
            self._kept = msgspec.json.decode(content, type=_Kept) if content else _Kept()
        except msgspec.MsgspecError as error:
            log.warning("what the chat remembered cannot be read: it begins anew", reason=str(error))
            self._kept = _Kept()

    @property
    def week(self) -> str:
        """The Monday of the week whose summary was told last."""
        return self._kept.week

    @property
    def strangers(self) -> list[int]:
        """The ids of strangers that were reported."""
        return list(self._kept.strangers)

    @property
    def moved(self) -> dict[int, int]:
        """Groups that became supergroups: the new id of each old one."""
        return dict(self._kept.moved)

    async def note_moved(self, old: int, new: int) -> None:
        """Remember where a group went."""
        self._kept.moved |= {chat: new for chat, now in self._kept.moved.items() if now == old} | {old: new}
        await self._write()

    async def note_week(self, week: str) -> None:
        """Remember a week."""
        self._kept.week = week
        await self._write()

    async def note_stranger(self, user: int) -> None:
        """Remember a stranger."""
        self._kept.strangers.append(user)
        await self._write()

    async def _write(self) -> None:
        try:
            await self._save(msgspec.json.encode(self._kept))
        except (RevenantError, OSError) as error:
            log.warning("what the chat remembers was not saved", reason=str(error))

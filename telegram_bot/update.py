"""What Telegram tells, as far as it matters here: updates taken apart without trust."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

TEXT_MAX = 1_000
COMMAND = re.compile(r"/([A-Za-z0-9_]{1,32})(?:@([A-Za-z0-9_]{1,64}))?(?:\s+(.*))?", re.DOTALL)


class User(msgspec.Struct, frozen=True):
    """Who wrote or pressed."""

    id: int
    is_bot: bool = False
    username: str | None = None
    first_name: str = ""


class Chat(msgspec.Struct, frozen=True):
    """Where it was written."""

    id: int
    type: str = ""


class Message(msgspec.Struct, frozen=True, rename={"sender": "from"}):
    """A message; what has a ``forward_origin`` was first said elsewhere."""

    message_id: int
    chat: Chat
    date: int = 0
    sender: User | None = None
    text: str | None = None
    message_thread_id: int | None = None
    migrate_to_chat_id: int | None = None
    migrate_from_chat_id: int | None = None
    forward_origin: Any = None
    forward_date: Any = None
    via_bot: Any = None


class Press(msgspec.Struct, frozen=True, rename={"sender": "from"}):
    """A button that was pressed."""

    id: str
    sender: User
    message: Message | None = None
    data: str | None = None


class Update(msgspec.Struct, frozen=True):
    """One thing that happened."""

    update_id: int
    message: Message | None = None
    edited_message: Message | None = None
    channel_post: Message | None = None
    edited_channel_post: Message | None = None
    callback_query: Press | None = None


class Kind(StrEnum):
    """What somebody did."""

    WROTE = "wrote"
    PRESSED = "pressed"
    EDITED = "edited"
    FORWARDED = "forwarded"
    POSTED = "posted"
    MOVED = "moved"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Deed:
    """What somebody did, where, and when (UTC seconds, 0 when that is not told).

    ``text`` is what was written, or what the pressed button stands for; ``message`` the message written or pressed on.
    Of a group that became a supergroup, ``chat`` is the old id and ``now`` the new one.
    """

    kind: Kind
    user: User | None
    chat: int | None
    private: bool = False
    text: str = ""
    date: int = 0
    message: int = 0
    thread: int | None = None
    press: str = ""
    now: int = 0


def deed(raw: Any) -> Deed | None:
    """Return what an update tells that somebody did, None when it cannot be made sense of."""
    try:
        update = msgspec.convert(raw, Update)
    except (msgspec.ValidationError, RecursionError):
        return None
    if update.callback_query is not None:
        press = update.callback_query
        where = press.message
        return Deed(
            Kind.PRESSED, press.sender, where.chat.id if where else None, _private(where),
            (press.data or "")[:TEXT_MAX], message=where.message_id if where else 0,
            thread=where.message_thread_id if where else None, press=press.id,
        )  # fmt: skip
    edited, posted = update.edited_message, update.channel_post or update.edited_channel_post
    held = update.message or edited or posted
    if held is None:
        return Deed(Kind.OTHER, None, None)
    if update.message is not None and (held.migrate_to_chat_id or held.migrate_from_chat_id):
        here = held.chat.id
        return Deed(Kind.MOVED, None, held.migrate_from_chat_id or here, now=held.migrate_to_chat_id or here)
    elsewhere = held.forward_origin is not None or held.forward_date is not None or held.via_bot is not None
    kind = Kind.EDITED if edited else Kind.POSTED if posted else Kind.FORWARDED if elsewhere else Kind.WROTE
    return Deed(
        kind, held.sender, held.chat.id, _private(held), (held.text or "")[:TEXT_MAX], held.date, held.message_id,
        held.message_thread_id,
    )  # fmt: skip


def command_of(text: str, own_name: str) -> tuple[str, tuple[str, ...]] | None:
    """Return name and arguments of a command, None when a text is none, or is for another bot."""
    found = COMMAND.fullmatch(text.strip())
    if found is None or (found[2] and found[2].lower() != own_name.lower()):
        return None
    return found[1].lower(), tuple((found[3] or "").split())


def _private(message: Message | None) -> bool:
    return message is not None and message.chat.type == "private"

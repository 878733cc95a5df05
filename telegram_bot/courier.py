"""Brings messages to a chat: every call bounded in time, markup that Telegram refuses sent as plain text."""

from __future__ import annotations

import asyncio
import html
import re
from typing import TYPE_CHECKING, Any

import structlog
from telegram import InlineKeyboardButton, InlineKeyboardMarkup, InputFile
from telegram.constants import ParseMode
from telegram.error import BadRequest, ChatMigrated, Forbidden, InvalidToken, TelegramError

from domain.errors import Rejected, Unavailable
from telegram_bot import texts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from telegram.ext import ExtBot

    from telegram_bot.answer import Answer, Button
    from telegram_bot.moves import Moves

log = structlog.get_logger(__name__)

SEND_S = 30.0
DATA_MAX = 64
CAPTION_MAX = 1_000
RUN, SHOW, YES, NO = ">", "~", "!", "x"
"""First letters of what a button carries: run a line, show a page of its answer here, confirm, cancel."""


class Courier:
    """Sends and changes messages.

    ``moves`` knows where chats are now; ``moved`` is told when Telegram says that one has another id.
    Calls raise Unavailable when it may help to try again, Rejected when it will not.
    """

    def __init__(self, bot: ExtBot[Any], moves: Moves, moved: Callable[[int, int], Awaitable[None]]) -> None:
        self._bot, self._moves, self._moved = bot, moves, moved

    async def say(self, chat: int, text: str, *, silent: bool = False, thread: int | None = None) -> None:
        """Send a text as it is."""
        await self._sent(chat, text, None, silent=silent, thread=thread)

    async def answer(self, chat: int, line: str, answer: Answer, thread: int | None = None) -> None:
        """Send an answer to a command line, its first page."""
        if answer.picture is not None:
            picture, caption = answer.picture, answer.text[:CAPTION_MAX]
            await self._to(chat, lambda here: self._bot.send_photo(
                here, InputFile(picture, "chart.png", attach=False), caption=caption, parse_mode=ParseMode.HTML,
                reply_markup=_keyboard(_rows(answer.buttons)), message_thread_id=thread,
            ))  # fmt: skip
            return
        text, buttons = page(answer, line, 0)
        await self._sent(chat, text, _keyboard(buttons), thread=thread)

    async def change(self, chat: int, message: int, line: str, answer: Answer, number: int) -> None:
        """Put a page of an answer in place of a message."""
        text, buttons = page(answer, line, number)
        await self._edit(chat, message, text, _keyboard(buttons))

    async def settle(self, chat: int, message: int, text: str) -> None:
        """Put a text without buttons in place of a message."""
        await self._edit(chat, message, text, None)

    async def heard(self, press: str, text: str = "") -> None:
        """Tell Telegram that a button press has been taken, so that the button stops waiting."""
        await self._bounded(lambda: self._bot.answer_callback_query(press, text=text[:200] or None))

    async def _sent(
        self, chat: int, text: str, keyboard: InlineKeyboardMarkup | None, *, silent: bool = False,
        thread: int | None = None,
    ) -> None:  # fmt: skip
        async def send(body: str, mode: ParseMode | None) -> None:
            await self._to(chat, lambda here: self._bot.send_message(
                here, body, parse_mode=mode, reply_markup=keyboard, disable_notification=silent,
                message_thread_id=thread,
            ))  # fmt: skip

        try:
            await send(text, ParseMode.HTML)
        except Rejected as error:
            if "parse" not in str(error):
                raise
            log.warning("telegram refused the markup of a message: sent as plain text", reason=str(error))
            await send(_plain(text), None)

    async def _edit(self, chat: int, message: int, text: str, keyboard: InlineKeyboardMarkup | None) -> None:
        try:
            await self._to(chat, lambda here: self._bot.edit_message_text(
                text, chat_id=here, message_id=message, parse_mode=ParseMode.HTML, reply_markup=keyboard
            ))  # fmt: skip
        except Rejected as error:
            # nothing has changed since it was shown, or it is too old, or a picture: then it is left as it is
            log.debug("message left as it is", reason=str(error))

    async def _to(self, chat: int, call: Callable[[int], Awaitable[object]]) -> None:
        """Do something in a chat, wherever it is now."""

        async def follow() -> None:
            here = self._moves.now(chat)
            try:
                await call(here)
            except ChatMigrated as error:
                await self._moved(here, error.new_chat_id)
                await call(self._moves.now(chat))

        await self._bounded(follow)

    async def _bounded(self, call: Callable[[], Awaitable[object]]) -> None:
        try:
            async with asyncio.timeout(SEND_S):
                await call()
        except TimeoutError:
            raise Unavailable(f"telegram: no answer within {SEND_S:.0f} s") from None
        except (BadRequest, ChatMigrated, Forbidden, InvalidToken) as error:
            raise Rejected(f"telegram: {error}") from None
        except TelegramError as error:
            raise Unavailable(f"telegram: {error}") from None


def page(answer: Answer, line: str, number: int) -> tuple[str, list[Sequence[tuple[str, str]]]]:
    """Return a page of an answer, and its buttons as (label, what they carry)."""
    held = texts.pages(answer.text)
    place = min(max(0, number), len(held) - 1)
    rows: list[Sequence[tuple[str, str]]] = list(_rows(answer.buttons)) if place == 0 else []
    turning = []
    if len(held) > 1:
        turning = [("◀", f"{SHOW}{place - 1} {line}")] if place else []
        turning += [(f"{place + 1}/{len(held)} ▶", f"{SHOW}{place + 1} {line}")] if place + 1 < len(held) else []
    if answer.refresh:
        turning.append(("🔄", f"{SHOW}{place} {line}"))
    return held[place], [*rows, turning] if turning else rows


def _rows(buttons: Sequence[Sequence[Button]]) -> list[list[tuple[str, str]]]:
    return [[(one.label, _data(one.line)) for one in row] for row in buttons]


def _data(line: str) -> str:
    return line if line[:1] in {YES, NO} else f"{RUN}{line}"


def _keyboard(rows: Sequence[Sequence[tuple[str, str]]]) -> InlineKeyboardMarkup | None:
    # what Telegram would not carry is left out
    keys = [
        [InlineKeyboardButton(label, callback_data=data) for label, data in row if len(data.encode()) <= DATA_MAX]
        for row in rows
    ]
    keys = [row for row in keys if row]
    return InlineKeyboardMarkup(keys) if keys else None


def _plain(text: str) -> str:
    return html.unescape(re.sub(r"</?[a-z]+>", "", text))

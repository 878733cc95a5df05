"""A Bot API server on loopback that behaves as Telegram's does: long polling, offsets, its errors and its limits."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import threading
import time
from collections import defaultdict
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

from aiohttp import web
from telegram import Chat, Message, User

from telegram_bot.gate import Flood
from tests.bot import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "123456:TEST-token_which_must_never_be_seen-0"
OWNER, CHAT = 4242, 4242
ALLOWED_TAGS = {"b", "i", "pre", "code", "u", "s", "a"}


class _Markup(HTMLParser):
    """Refuses what Telegram refuses in HTML, and gives the text without it."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.wrong = ""
        self.text = ""

    def handle_starttag(self, tag, attrs):
        if tag not in ALLOWED_TAGS:
            self.wrong = f'unsupported start tag "{tag}"'
        self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong = f'unexpected end tag "{tag}"'

    def handle_data(self, data):
        self.text += data


class TelegramServer:
    """What people wrote, what the bot sent, and how the server misbehaves.

    Attributes:
        fail: (method or "*", response, how often) answered instead; -1 for always.
        down: whether connections are cut.
    """

    def __init__(self) -> None:
        self.port = 0
        self.sent: list[dict[str, Any]] = []
        self.calls: dict[str, int] = defaultdict(int)
        self.commands: list[dict[str, str]] = []
        self.fail: list[list[Any]] = []
        self.down = False
        self.delay_s = 0.0
        self.known_chats = {CHAT, -100}
        self.moved: dict[int, int] = {}
        self._updates: list[dict[str, Any]] = []
        self._number, self._message = 1000, 0
        self._texts: dict[tuple[int, int], tuple[str, str]] = {}
        self._pace = Flood()
        self._poll: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # -- what people do

    def put(self, **update: Any) -> int:
        """Hand an update to the bot; return its number."""
        self._number += 1
        self._updates.append({"update_id": self._number, **update})
        return self._number

    def write(self, text: str, user: int = OWNER, chat: int = CHAT, date: float | None = None, **more: Any) -> int:
        """Write a message to the bot."""
        self._message += 1
        kind = "private" if chat > 0 else "supergroup"
        body = {
            "message_id": self._message, "date": int(time.time() if date is None else date), "text": text,
            "from": {"id": user, "is_bot": False, "first_name": "Tester", "username": f"user{user}"},
            "chat": {"id": chat, "type": kind, "first_name": "Tester"}, **more,
        }  # fmt: skip
        return self.put(message=body)

    def move(self, old: int, new: int, *, told: bool = True) -> None:
        """Have a group become a supergroup, and say so with the service messages that Telegram sends; ``told`` or not."""
        self.known_chats = self.known_chats - {old} | {new}
        self.moved[old] = new
        if told:
            owner, now = User(OWNER, "Tester", is_bot=False), datetime.now(UTC)
            there = Message(1, now, Chat(new, "supergroup", "Traders"), from_user=owner, migrate_from_chat_id=old)
            here = Message(901, now, Chat(old, "group", "Traders"), from_user=owner, migrate_to_chat_id=new)
            for one in (there, here):
                self.put(message=one.to_dict())

    def press(self, data: str, message: int = 1, user: int = OWNER, chat: int = CHAT) -> int:
        """Press a button."""
        body = {
            "id": str(self._number + 7), "chat_instance": "1", "data": data,
            "from": {"id": user, "is_bot": False, "first_name": "Tester"},
            "message": {"message_id": message, "date": int(time.time()), "chat": {"id": chat, "type": "private"}, "text": "x"},
        }  # fmt: skip
        return self.put(callback_query=body)

    # -- what the bot sent

    def texts(self, chat: int = CHAT) -> list[str]:
        return [one["plain"] for one in list(self.sent) if one["chat_id"] == chat]

    def wait(self, check: Any, what: str, seconds: float = 30.0) -> dict[str, Any]:
        """Wait for a message for which ``check`` holds (a text that it contains, or a function); return it."""
        deadline = time.monotonic() + seconds * PATIENCE
        wanted = check if callable(check) else lambda one: check in one["plain"]
        while time.monotonic() < deadline:
            for one in list(self.sent):
                if wanted(one):
                    return one
            time.sleep(0.02)
        raise AssertionError(
            f"waited {seconds:.0f} s for {what}; there is {[one['plain'][:300] for one in self.sent[-8:]]}"
        )

    def ask(self, text: str, check: Any = lambda _: True, seconds: float = 30.0, **who: Any) -> dict[str, Any]:
        """Write a command and return the answer to it; half as fast as the bot takes commands from a person."""
        user = who.get("user", OWNER)
        until(lambda: self._pace.allows(user, time.monotonic() / 2), f"the bot to take {text}")
        self.forget()
        self.write(text, **who)
        return self.wait(check, f"an answer to {text}", seconds)

    def forget(self) -> None:
        self.sent.clear()

    # -- serving

    def application(self) -> web.Application:
        app = web.Application(client_max_size=20 << 20)
        app.router.add_route("*", "/bot{token}/{method}", self._handle)
        return app

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        self.calls[method] += 1
        if self.down:
            request.transport.close()
            raise web.HTTPServiceUnavailable
        if request.match_info["token"] != TOKEN:
            return _error(401, "Unauthorized")
        if self.delay_s and method != "getUpdates":
            await asyncio.sleep(self.delay_s)
        for rule in self.fail:
            if rule[0] in {"*", method} and rule[2]:
                rule[2] -= 1
                return rule[1]()
        body = {**request.query, **(await request.post())}
        answer = getattr(self, "_" + re.sub(r"([A-Z])", r"_\1", method).lower(), None)
        if answer is None:
            return _error(404, "Not Found: method not found")
        return await answer(body)

    async def _get_me(self, _: dict[str, Any]) -> web.Response:
        return _ok({"id": 123456, "is_bot": True, "first_name": "Revenant", "username": "revenant_test_bot"})

    async def _delete_webhook(self, _: dict[str, Any]) -> web.Response:
        return _ok(True)

    async def _set_my_commands(self, body: dict[str, Any]) -> web.Response:
        self.commands = json.loads(body["commands"])
        wrong = [
            one
            for one in self.commands
            if not re.fullmatch(r"[a-z0-9_]{1,32}", one["command"]) or not 1 <= len(one["description"]) <= 256
        ]
        return (
            _error(400, f"Bad Request: BOT_COMMAND_INVALID {wrong}") if wrong or len(self.commands) > 100 else _ok(True)
        )

    async def _get_updates(self, body: dict[str, Any]) -> web.Response:
        if self._poll is not None:
            # Telegram ends the older of two polls
            self._poll.set()
        mine = self._poll = asyncio.Event()
        offset = int(body.get("offset", 0))
        self._updates = [one for one in self._updates if one["update_id"] >= offset]
        deadline = time.monotonic() + int(body.get("timeout", 0))
        while not self._updates and time.monotonic() < deadline and not self.down:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.02):
                    await mine.wait()
            if mine.is_set():
                return _error(
                    409,
                    "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running",
                )
        self._poll = None
        return _ok(self._updates[:100])

    async def _send_message(self, body: dict[str, Any]) -> web.Response:
        return self._kept(body, body.get("text", ""), 4096)

    async def _send_photo(self, body: dict[str, Any]) -> web.Response:
        photo = body["photo"].file.read()
        return self._kept(body, body.get("caption", ""), 1024, photo=photo)

    async def _edit_message_text(self, body: dict[str, Any]) -> web.Response:
        key = int(body["chat_id"]), int(body["message_id"])
        now = body.get("text", ""), body.get("reply_markup", "")
        if self._texts.get(key) == now:
            return _error(400, "Bad Request: message is not modified")
        return self._kept(body, body.get("text", ""), 4096, edited=int(body["message_id"]))

    async def _answer_callback_query(self, body: dict[str, Any]) -> web.Response:
        return _ok(bool(body["callback_query_id"]))

    def _kept(self, body: dict[str, Any], text: str, most: int, photo: bytes = b"", edited: int = 0) -> web.Response:
        chat, markup = int(body["chat_id"]), _Markup()
        if chat in self.moved:
            text = "Bad Request: group chat was upgraded to a supergroup chat"
            return _error(400, text, parameters={"migrate_to_chat_id": self.moved[chat]})
        if chat not in self.known_chats:
            return _error(400, "Bad Request: chat not found")
        if body.get("parse_mode") == "HTML":
            markup.feed(text)
            markup.close()
            if markup.wrong or markup.open:
                return _error(400, f"Bad Request: can't parse entities: {markup.wrong or 'tags left open'}")
        plain = markup.text if body.get("parse_mode") == "HTML" else text
        if not plain.strip() and not photo:
            return _error(400, "Bad Request: message text is empty")
        if len(plain) > most:
            return _error(400, "Bad Request: message is too long")
        rows = json.loads(body.get("reply_markup") or "{}").get("inline_keyboard", [])
        buttons = [key for row in rows for key in row]
        if any(not 1 <= len(key["callback_data"].encode()) <= 64 for key in buttons):
            return _error(400, "Bad Request: BUTTON_DATA_INVALID")
        if not edited:
            self._message += 1
        number = edited or self._message
        self._texts[chat, number] = text, body.get("reply_markup", "")
        self.sent.append({
            "chat_id": chat, "text": text, "plain": plain, "silent": body.get("disable_notification") == "true",
            "buttons": buttons, "photo": photo, "edited": edited, "message_id": number, "at": time.monotonic(),
            "thread": body.get("message_thread_id"),
        })  # fmt: skip
        return _ok(
            {"message_id": number, "date": int(time.time()), "chat": {"id": chat, "type": "private"}, "text": plain}
        )


def _ok(result: Any) -> web.Response:
    return web.json_response({"ok": True, "result": result})


def _error(code: int, text: str, **more: Any) -> web.Response:
    return web.json_response({"ok": False, "error_code": code, "description": text, **more}, status=code)


def too_many(seconds: int) -> web.Response:
    return _error(429, f"Too Many Requests: retry after {seconds}", parameters={"retry_after": seconds})


def bad_gateway() -> web.Response:
    return web.Response(status=502, text="<html>Bad Gateway</html>")


def forbidden() -> web.Response:
    return _error(403, "Forbidden: bot was blocked by the user")


@contextlib.contextmanager
def telegram(server: TelegramServer | None = None) -> Iterator[TelegramServer]:
    """Serve until the block is left, in a thread of its own."""
    held, started = server or TelegramServer(), threading.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> web.AppRunner:
        runner = web.AppRunner(held.application(), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", held.port).start()
        held.port = runner.addresses[0][1]
        return runner

    def run() -> None:
        asyncio.set_event_loop(loop)
        runner = loop.run_until_complete(serve())
        started.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield held
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)

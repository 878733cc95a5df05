"""The bot in the chat: listens, lets known people through, has their commands done, answers."""

from __future__ import annotations

import asyncio
import difflib
import json
import random
import re
import time
import warnings
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import structlog
from telegram import BotCommand
from telegram.error import Conflict, Forbidden, InvalidToken, RetryAfter, TelegramError
from telegram.ext import AIORateLimiter, ExtBot
from telegram.warnings import PTBDeprecationWarning

from domain.backoff import Backoff
from domain.errors import ConfigError, Rejected, RevenantError, Unavailable
from domain.notice import Notice
from telegram_bot import menu, texts
from telegram_bot.answer import Answer, Ask, Button, Change, Command
from telegram_bot.confirmation import Confirmations, Pending
from telegram_bot.courier import NO, RUN, SHOW, YES, Courier
from telegram_bot.gate import Flood, Gate
from telegram_bot.line import WAIT_S_MAX, Line
from telegram_bot.moves import Moves
from telegram_bot.notices import Notices
from telegram_bot.update import Deed, Kind, command_of, deed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from telegram_bot.memory import Memory
    from telegram_bot.port import Desk

log = structlog.get_logger(__name__)

TOKEN = re.compile(r"\d+:[A-Za-z0-9_-]{20,}")
POLL_S, ANSWER_S = 20, 10.0
RETRY = Backoff(1.0, 30.0)
PAUSES_S = (1.0, 3.0)
"""Between the attempts at delivering an answer."""
WAITING_MAX = 50
"""Commands that wait to be done; above that further ones are let go, but never those that lower the risk."""
URGENT_MAX = 1_000
"""Commands that lower the risk and wait: so many of them say the same."""
COMMAND_S = 120.0
OLD_S = 300
"""Age in seconds above which a command counts as one that came while the bot was away."""
CODE_DIGITS, PAGE_DIGITS = 6, 3
UPDATES = ("message", "edited_message", "callback_query")


@dataclass(frozen=True, slots=True)
class Terms:
    """Where Telegram is and who is known there; see the settings of the same names."""

    token: str
    base_url: str
    chats: Collection[int]
    users: Collection[int]
    totp_secret: str
    confirm_s: float
    queue_max: int
    group_s: float


@dataclass(frozen=True, slots=True)
class Order:
    """A command to be done: whose, where, as it was written; ``page`` and ``message`` to show it anew in place."""

    command: Command
    line: str
    arguments: tuple[str, ...]
    user: int
    chat: int
    thread: int | None = None
    message: int = 0
    page: int = 0
    late_s: float = 0.0


def connection(token: str, base_url: str) -> tuple[ExtBot[Any], Line]:
    """Return a client of the Bot API, and its own line for long polls."""
    # the library warns that times to wait will be told differently one day: both are understood
    warnings.filterwarnings("ignore", category=PTBDeprecationWarning)
    request = Line(connection_pool_size=8, connect_timeout=5, read_timeout=ANSWER_S, write_timeout=20, pool_timeout=5)
    polling = Line(connection_pool_size=1, connect_timeout=5, read_timeout=POLL_S + ANSWER_S, pool_timeout=5)
    limiter = AIORateLimiter(
        overall_max_rate=30, overall_time_period=1, group_max_rate=20, group_time_period=60, max_retries=3
    )
    bot: ExtBot[Any] = ExtBot(token, base_url=f"{base_url}/bot", base_file_url=f"{base_url}/file/bot", request=request,
                              get_updates_request=polling, rate_limiter=limiter)  # fmt: skip
    return bot, polling


async def name_of(token: str, base_url: str) -> str:
    """Ask Telegram whose token this is; return the bot's name.

    Raises:
        Rejected: when the token is none.
        Unavailable: when Telegram does not answer.
    """
    if not TOKEN.fullmatch(token):
        raise Rejected("TELEGRAM_BOT_TOKEN is no token: take it from BotFather as it is")
    bot, _ = connection(token, base_url)
    try:
        async with asyncio.timeout(ANSWER_S), bot:
            return str(bot.username)
    except (InvalidToken, Forbidden):
        raise Rejected("telegram refuses the token: take it from BotFather as it is") from None
    except (TelegramError, TimeoutError) as error:
        raise Unavailable(f"telegram does not answer: {error or 'too late'}") from None


class TelegramBot:
    """One bot for one token.

    ``audit`` keeps what was asked and what came of it; ``memory`` what is remembered over restarts.
    """

    def __init__(
        self, terms: Terms, desk: Desk, memory: Memory, audit: Callable[[dict[str, Any]], Awaitable[None]]
    ) -> None:
        self._terms, self._desk, self._memory, self._audit = terms, desk, memory, audit
        if not TOKEN.fullmatch(terms.token):
            raise ConfigError("TELEGRAM_BOT_TOKEN: is no token; take it from BotFather as it is")
        self._bot, self._line = connection(terms.token, terms.base_url)
        self._moves = Moves(terms.chats, memory.moved)
        self.courier = Courier(self._bot, self._moves, self._follow)
        chats = self._moves.present
        self.notices = Notices(self.courier, chats, lambda: desk.loudness, terms.queue_max, terms.group_s)
        self.gate = Gate(self._moves.known, terms.users, memory.strangers)
        self._confirmations = Confirmations(terms.confirm_s, terms.totp_secret)
        self._flood, self._commands = Flood(), menu.by_name()
        self._orders: asyncio.Queue[Order | Deed] = asyncio.Queue(WAITING_MAX)
        self._urgent: asyncio.Queue[Order] = asyncio.Queue(URGENT_MAX)
        self._jitter = random.Random()  # noqa: S311  spreads attempts, guards nothing
        self._name, self._conflict, self._scolded = "", False, -60.0
        self.counts: dict[str, int] = {"updates": 0, "garbage": 0, "commands": 0, "failed": 0, "dropped": 0}
        self.state = "connecting"

    async def run(self) -> None:
        """Serve until cancelled; returns when the token is refused, since asking again would not help."""
        try:
            await self._connect()
            async with asyncio.TaskGroup() as group:
                for work in (self._poll, self._do_orders, self._do_urgent, self.notices.run):
                    group.create_task(work())
        except* (InvalidToken, Forbidden):
            # the error itself has the token in it
            self.state = "refused"
            log.error("telegram refuses the token: no chat, trading goes on",
                      way_out="set TELEGRAM_BOT_TOKEN right, then start the bot again")  # fmt: skip
        finally:
            await self._bot.shutdown()

    def report(self) -> dict[str, Any]:
        """Return how the chat is: state, counts, strangers, notices that wait."""
        return {
            "state": self.state, **self.counts, "strangers": len(self.gate.strangers),
            "turned_away": self.gate.turned_away, "notices_waiting": self.notices.waiting,
            "failing": self.notices.failing,
        }  # fmt: skip

    async def _connect(self) -> None:
        """Learn our own name and hand in the menu; again and again until Telegram answers."""
        failures = 0
        while True:
            try:
                await self._bot.initialize()
                self._name = self._bot.username
                await self._bot.delete_webhook()
                await self._bot.set_my_commands(
                    [BotCommand(one.name, one.about) for one in (*menu.COMMANDS, menu.HELP)]
                )
            except (InvalidToken, Forbidden):
                raise
            except TelegramError as error:
                failures += 1
                if failures == 1:
                    log.warning("telegram does not answer: trading goes on, the chat is tried again", reason=str(error))
                await self._pause(failures)
                continue
            self.state = "ok"
            log.info(
                "telegram listens", bot=f"@{self._name}", chats=len(self._terms.chats), users=len(self._terms.users)
            )
            return

    async def _poll(self) -> None:
        offset, failures = None, 0
        while True:
            try:
                found = await self._updates(offset)
            except (InvalidToken, Forbidden):
                raise
            except TelegramError as error:
                failures += 1
                self._note_failure(error, failures)
                if isinstance(error, RetryAfter):
                    await asyncio.sleep(_told_to_wait(error))
                await self._pause(failures)
                continue
            if failures:
                log.info("telegram answers again", failures=failures)
            failures, self._conflict, self.state = 0, False, "ok"
            for raw in found:
                number = raw.get("update_id") if isinstance(raw, dict) else None
                if isinstance(number, int):
                    offset = max(offset or 0, number + 1)
                await self.take(raw)
                # garbage waits for nothing: thousands of pieces must not hold up the rest of the program
                await asyncio.sleep(0)

    async def _updates(self, offset: int | None) -> list[Any]:
        """Wait for updates and return them as Telegram sent them: one that makes no sense must not hold up the rest."""
        asked = {"timeout": str(POLL_S), "allowed_updates": json.dumps(UPDATES)}
        asked |= {"offset": str(offset)} if offset else {}
        address = f"{self._terms.base_url}/bot{self._terms.token}/getUpdates?{urlencode(asked)}"
        found = await self._line.post(address, read_timeout=POLL_S + ANSWER_S)
        if not isinstance(found, list):
            raise TelegramError("an answer without updates")
        return found

    def _note_failure(self, error: TelegramError, failures: int) -> None:
        if not isinstance(error, Conflict):
            self.state = "away"
            if failures == 1:
                log.warning("telegram does not answer: trading goes on", reason=str(error))
            return
        self.state = "conflict"
        if not self._conflict:
            self._conflict = True
            log.error("another program listens with the same token: commands may go there instead of here",
                      way_out="end the other one, or give each its own token")  # fmt: skip
            self.notices.put(Notice.TELEGRAM, "⚠️ Another program listens with my token, so your commands may go there "
                             "instead of here. End it, or give each its own token.")  # fmt: skip

    async def _pause(self, failures: int) -> None:
        await asyncio.sleep(RETRY.wait_s(failures + 1, self._jitter.uniform))

    async def take(self, raw: Any) -> None:
        """Take one update as Telegram sent it; whatever it is, nothing but a known person's command has an effect."""
        self.counts["updates"] += 1
        done = deed(raw)
        if done is None:
            self.counts["garbage"] += 1
            return
        if done.kind is Kind.OTHER:
            return
        if done.kind is Kind.MOVED:
            await self._follow(done.chat or 0, done.now)
            return
        user = done.user.id if done.user else None
        if user is None or done.chat is None or not self.gate.admits(user, done.chat):
            await self._turn_away(done)
            return
        if done.kind in {Kind.WROTE, Kind.PRESSED}:
            await self._listen(done, user, done.chat)
        elif done.kind is Kind.FORWARDED and done.text.startswith("/"):
            self._hint(done.chat, "Forwarded commands are not obeyed: write it yourself.", done.thread)

    async def _follow(self, old: int, new: int) -> None:
        """Go along with a group that became a supergroup: it is the same group, under another id."""
        told_already = new in self._moves.present
        if not self._moves.follow(old, new):
            return
        if told_already:
            self.notices.leave(old)
        log.warning("a group became a supergroup: followed to its new id", reason=f"{old} is {new} now",
                    way_out="put the new id into TELEGRAM_CHAT_ID instead of the old one")  # fmt: skip
        self.notices.put(Notice.TELEGRAM, f"👥 The group {old} is a supergroup now. I have followed it to its new id "
                         f"{new}; whom I obeyed there I obey here. Put the new id into TELEGRAM_CHAT_ID.")  # fmt: skip
        await self._memory.note_moved(old, new)
        await self._kept({"event": "chat moved", "chat": old, "now": new})

    async def _turn_away(self, done: Deed) -> None:
        who = done.user
        first = self.gate.turn_away(who.id if who else None)
        if not first:
            return
        name = f"@{who.username}" if who and who.username else who.first_name if who else "somebody unnamed"
        log.warning("a stranger wrote to the bot: no answer was given", user=who.id if who else None, chat=done.chat,
                    name=name[:64], way_out="telegram.chat_ids and user_ids say who is answered")  # fmt: skip
        self.notices.put(Notice.STRANGER, f"🚷 A stranger wrote to me and got no answer: {texts.escape(name[:64])}, id "
                         f"{who.id if who else 'unknown'}, chat {done.chat}. Told once.")  # fmt: skip
        await self._memory.note_stranger(who.id if who else 0)
        await self._kept({"event": "stranger", "user": who.id if who else None, "chat": done.chat, "name": name[:64]})

    async def _listen(self, done: Deed, user: int, chat: int) -> None:
        """Sort out what a known person wants: a command, a page, a confirmation."""
        if done.text[:1] in {YES, NO} if done.press else self._is_code(done.text, user, chat):
            self._put(done)
            return
        text, page, in_place = _pressed(done.text) if done.press else (done.text, 0, False)
        found = command_of(text, self._name)
        if found is None:
            if done.private and not done.press and text and not text.startswith("/"):
                self._hint(chat, "I understand commands; /help lists them.", done.thread)
            return
        name, arguments = found
        command = self._commands.get(name)
        if command is None:
            close = difflib.get_close_matches(name, list(self._commands), 1)
            hint = f" Did you mean /{close[0]}?" if close else ""
            self._hint(chat, f"There is no command /{texts.escape(name)}.{hint} /help lists them all.", done.thread)
            return
        late = max(0.0, time.time() - done.date) if done.date and done.kind is Kind.WROTE else 0.0
        order = Order(command, f"/{' '.join((name, *arguments))}", arguments, user, chat, done.thread,
                      done.message if in_place else 0, page, late)  # fmt: skip
        if done.press:
            # told at once, so that the button stops waiting; what comes of it is told apart
            self._put(done)
        if not command.lowers:
            self._put(order)
        elif not self._urgent.full():
            self._urgent.put_nowait(order)

    def _is_code(self, text: str, user: int, chat: int) -> bool:
        squeezed = text.replace(" ", "")
        return (
            len(squeezed) == CODE_DIGITS and squeezed.isascii() and squeezed.isdecimal()
            and self._confirmations.waits(user, chat, time.monotonic())
        )  # fmt: skip

    def _put(self, what: Order | Deed) -> None:
        user = what.user if isinstance(what, Order) else what.user.id if what.user else 0
        counted = isinstance(what, Order) or not what.press
        if (counted and not self._flood.allows(user, time.monotonic())) or self._orders.full():
            self.counts["dropped"] += 1
            chat = what.chat
            if time.monotonic() - self._scolded > 10 and chat is not None:  # noqa: PLR2004
                self._scolded = time.monotonic()
                self._hint(chat, "That is too fast for me: one command a second. /stop and /panic always work.")
            return
        self._orders.put_nowait(what)

    def _hint(self, chat: int, text: str, thread: int | None = None) -> None:
        """Say something in passing: through the queue, so that nobody waits for it."""
        hint = Command("hint", "", "", _saying(text))
        if not self._orders.full():
            self._orders.put_nowait(Order(hint, "", (), 0, chat, thread))

    async def _do_orders(self) -> None:
        while True:
            what = await self._orders.get()
            if isinstance(what, Order):
                await self._do(what)
            else:
                await self._settle(what)
            self._orders.task_done()

    async def _do_urgent(self) -> None:
        while True:
            await self._do(await self._urgent.get())
            self._urgent.task_done()

    async def _do(self, order: Order) -> None:
        """Do a command and answer; every failure ends here, as an answer."""
        answer = await self._answered(order)
        for pause in (*PAUSES_S, None):
            try:
                if order.message and answer.picture is None:
                    await self.courier.change(order.chat, order.message, order.line, answer, order.page)
                else:
                    await self.courier.answer(order.chat, order.line, answer, order.thread)
            except Unavailable as error:
                if pause is not None:
                    await asyncio.sleep(pause)
                    continue
                log.warning("an answer was not delivered", command=order.line[:60], reason=str(error))
            except Rejected as error:
                log.warning("an answer was refused", command=order.line[:60], reason=str(error))
            return

    async def _answered(self, order: Order) -> Answer:
        command = order.command
        if not command.lowers and order.late_s > OLD_S:
            await self._book(order, "too old")
            return Answer(f"{texts.escape(order.line)} was sent {texts.lasted(order.late_s)} ago, while I was away (or "
                          "this machine's clock is wrong). Send it again if you still want it.")  # fmt: skip
        ask = Ask(self._desk, order.arguments, f"telegram {order.user}")
        outcome, answer = await self._tried(order, lambda: command.run(ask))
        if isinstance(answer, Change):
            outcome, answer = "asked to confirm", self._ask_back(order, answer)
        elif command.lowers and order.late_s > OLD_S:
            answer = Answer(f"{answer.text}\n(You sent this {texts.lasted(order.late_s)} ago.)", answer.buttons)
        lost = await self._book(order, outcome) if order.line else ""
        if lost and command.lowers:
            answer = replace(answer, text=f"{answer.text}\n⚠️ Not in the audit log: {texts.escape(lost)}")
        return answer

    async def _tried(self, order: Order, work: Callable[[], Awaitable[Answer | Change]]) -> tuple[str, Answer | Change]:
        """Return what came of a command: in a word, and as an answer."""
        try:
            async with asyncio.timeout(None if order.command.lowers else COMMAND_S):
                return "done", await work()
        except TimeoutError:
            return "took too long", Answer(f"That took longer than {COMMAND_S:.0f} s; look at /health.")
        except (RevenantError, ConfigError) as error:
            return f"refused: {error}"[:300], Answer(f"⚠️ {texts.escape(error)}")
        except Exception as error:
            self.counts["failed"] += 1
            log.exception("a command failed", command=order.line[:60])
            said = f"{type(error).__name__}: {error}"[:200]
            return f"failed: {said}", Answer(f"⚠️ That went wrong here: {texts.escape(said)}. The log says more.")

    def _ask_back(self, order: Order, change: Change) -> Answer:
        held = self._confirmations.ask(order.user, order.chat, order.line, change, time.monotonic())
        head = f"❓ {texts.bold(self._desk.mode)} · {texts.escape(change.about)}"
        no, seconds = Button("✖ No", f"{NO}{held.nonce}"), f"{self._confirmations.seconds:.0f} s"
        if self._confirmations.by_code:
            return Answer(f"{head}\nSend the code of your authenticator app within {seconds} to do it.", [[no]])
        return Answer(f"{head}\nConfirm within {seconds}.", [[Button("✅ Yes, do it", f"{YES}{held.nonce}"), no]])

    async def _settle(self, done: Deed) -> None:
        """Take the answer to a question: a pressed button, or a code."""
        assert done.user is not None
        assert done.chat is not None
        user, chat, mark = done.user.id, done.chat, done.text[:1]
        try:
            if done.press:
                await self.courier.heard(done.press)
            if done.press and mark not in {YES, NO}:
                return
            if mark == NO:
                known = self._confirmations.cancel(user, chat, done.text[1:])
                await self.courier.settle(
                    chat, done.message, "✖ Nothing is done." if known else "This is over already."
                )
                return
            if mark == YES:
                found = self._confirmations.press(user, chat, done.text[1:], time.monotonic())
            else:
                code = done.text.replace(" ", "")
                found = self._confirmations.code(user, chat, code, time.monotonic(), time.time())
            if isinstance(found, str):
                await self._kept({"event": "not confirmed", "user": user, "chat": chat, "why": found})
                await self.courier.say(chat, texts.escape(found), thread=done.thread)
                return
            await self._confirmed(found, done)
        except (Unavailable, Rejected) as error:
            log.warning("an answer was not delivered", reason=str(error))

    async def _confirmed(self, held: Pending, done: Deed) -> None:
        name = held.line[1:].partition(" ")[0]
        order = Order(self._commands[name], held.line, (), held.user, held.chat, done.thread)
        # what raises the risk is on paper before it is done, or is not done
        lost = await self._book(order, "confirmed")
        if lost:
            said = f"⚠️ Nothing is done: the audit log does not take it ({texts.escape(lost)})."
            answer: Answer | Change = Answer(said)
        else:
            outcome, answer = await self._tried(order, held.change.do)
            await self._book(order, outcome)
        assert isinstance(answer, Answer)
        if done.press:
            await self.courier.settle(held.chat, done.message, answer.text)
        else:
            await self.courier.answer(held.chat, held.line, answer, done.thread)

    async def _book(self, order: Order, outcome: str) -> str:
        self.counts["commands"] += 1
        log.info("telegram command", command=order.line[:120], user=order.user, outcome=outcome)
        return await self._kept({"event": "command", "user": order.user, "chat": order.chat, "command": order.line,
                                 "outcome": outcome})  # fmt: skip

    async def _kept(self, deed: dict[str, Any]) -> str:
        """Write into the audit; return why it was not written, nothing when it was."""
        try:
            await self._audit(deed)
        except Unavailable as error:
            return str(error)
        return ""


def _pressed(data: str) -> tuple[str, int, bool]:
    """Return the line that a button stands for, the page to show, and whether in place of the message it is on."""
    mark, line = data[:1], data[1:]
    if mark == SHOW:
        number, _, line = line.partition(" ")
        shown = int(number) if number.isascii() and number.isdecimal() and len(number) <= PAGE_DIGITS else 0
        return line, shown, True
    return (line if mark == RUN else ""), 0, False


def _told_to_wait(error: RetryAfter) -> float:
    told = error.retry_after
    return min(WAIT_S_MAX, told.total_seconds() if isinstance(told, timedelta) else float(told))


def _saying(text: str) -> Callable[[Ask], Awaitable[Answer]]:
    async def say(_: Ask) -> Answer:
        return Answer(text)

    return say

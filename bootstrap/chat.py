"""Builds the chat: nothing without a token, and never in trading's way."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import structlog

from domain.errors import ConfigError, RevenantError, Unavailable
from domain.notice import Notice
from engine.threads import Tier
from persistence.deeds import Deeds
from persistence.files import AtomicFile
from telegram_bot.memory import Memory
from telegram_bot.news import News
from telegram_bot.startup import greeting
from telegram_bot.watch import Watch

if TYPE_CHECKING:
    from bootstrap.desk import Desk
    from engine.reports import Reporter
    from engine.tasks import Tasks
    from settings import Settings
    from telegram_bot.bot import TelegramBot

log = structlog.get_logger(__name__)

WRITE_S = 3.0
GOODBYE_S = 0.7


class Chat:
    """The bot in Telegram, with all that tells it what happens."""

    def __init__(self, bot: TelegramBot, watch: Watch, news: News, desk: Desk, tier: Tier) -> None:
        self._bot, self._watch, self._news, self._desk, self._tier = bot, watch, news, desk, tier

    def start(self, tasks: Tasks, reporter: Reporter) -> None:
        """Begin to listen and to be told."""
        reporter.listeners.append(self._told)
        tasks.start("telegram", self._bot.run, vital=False)

    def watch(self, tasks: Tasks) -> None:
        """Begin to look for what nobody tells; the bot has to have recovered."""
        tasks.start("telegram watch", self._watch.run, vital=False)

    def report(self) -> dict[str, Any]:
        """Return how the chat is."""
        return self._bot.report()

    async def close(self, why: str) -> None:
        """Say goodbye, as far as a moment allows."""
        self._bot.notices.put(Notice.SHUTDOWN, f"💤 {self._desk.mode} · {why}; open positions keep their stops.")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_S):
                await self._bot.notices.flush(GOODBYE_S)
        self._tier.close()

    def _told(self, kind: str, what: object) -> None:
        if kind == "recovered":
            self._bot.notices.put(Notice.STARTUP, greeting(self._desk.status()))
        else:
            self._news.told(kind, what)


def chat(settings: Settings, desk: Desk) -> Chat | None:
    """Return the chat; None without a token, or with one that cannot be one."""
    held = settings.telegram
    token = held.token.get_secret_value()
    if not token:
        log.info("no chat: TELEGRAM_BOT_TOKEN is not set")
        return None
    if not held.chat_ids:
        log.warning("telegram: nobody is known yet; write to the bot, then put the id that is told here into "
                    "TELEGRAM_CHAT_ID")  # fmt: skip
    tier = Tier("chat", WRITE_S)
    deeds, file = Deeds(settings.data_dir / "telegram-audit.jsonl"), AtomicFile(settings.data_dir / "telegram.json")

    async def audit(deed: dict[str, Any]) -> None:
        try:
            await tier.call(deeds.add, deed)
        except Unavailable as error:
            log.error("a command is not in the audit log", reason=str(error), deed=deed)
            raise

    async def save(content: bytes) -> None:
        await tier.call(file.write, content)

    from telegram_bot.bot import TelegramBot, Terms  # noqa: PLC0415  who has no token need not load the library

    memory = Memory(file.read(), save)
    terms = Terms(
        token, held.base_url, held.chat_ids, held.users, held.totp_secret.get_secret_value(), held.confirm_s,
        held.queue_max, held.group_s,
    )  # fmt: skip
    try:
        bot = TelegramBot(terms, desk, memory, audit)
    except (ConfigError, RevenantError) as error:
        log.error("no chat; trading goes on", reason=str(error))
        tier.close()
        return None
    watch = Watch(desk, bot.notices.put, memory, held.weekly_hour)
    return Chat(bot, watch, News(bot.notices.put, lambda: desk.mode), desk, tier)

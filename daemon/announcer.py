"""Puts what happens into words and hands it to all who are told: the chat, webhooks, mail."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from daemon.chat import chat
from domain.notice import Loudness, Notice
from engine.threads import Tier
from notices.announcement import Announcement, values_of
from notices.mail import ANSWER_S, Mail, Server
from notices.outlet import Outlet
from notices.webhook import Webhook
from persistence.files import AtomicFile
from telegram_bot.memory import Memory
from telegram_bot.news import News
from telegram_bot.startup import greeting
from telegram_bot.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.desk import Desk
    from engine.reports import Reporter
    from engine.tasks import Tasks
    from settings import Settings
    from telegram_bot.bot import TelegramBot

WRITE_S = 3.0
GOODBYE_S = 0.7
"""How long an end waits for the last notices to be sent."""


class Announcer:
    """Tells ``chat``, if there is one, and ``outlets`` of everything that ``desk`` and the engine know."""

    def __init__(
        self, desk: Desk, chat: TelegramBot | None, outlets: Sequence[Outlet], memory: Memory, tiers: Sequence[Tier]
    ) -> None:
        self._desk, self._chat, self._outlets, self._tiers = desk, chat, outlets, tiers
        self._news = News(self._put, lambda: desk.mode)
        self._watch = Watch(desk, self._put, memory, desk.settings.telegram.weekly_hour)

    def start(self, tasks: Tasks, reporter: Reporter) -> None:
        """Begin to be told, and to tell."""
        reporter.listeners.append(self._told)
        if self._chat is not None:
            tasks.start("telegram", self._chat.run, vital=False)
        for outlet in self._outlets:
            tasks.start(f"notices {outlet.name}", outlet.run, vital=False)

    def watch(self, tasks: Tasks) -> None:
        """Begin to look for what nobody tells; the bot has to have recovered."""
        tasks.start("telegram watch", self._watch.run, vital=False)

    def report(self) -> dict[str, Any]:
        """Return how those who are told are doing: the chat, and each other recipient by name."""
        return {
            "telegram": self._chat.report() if self._chat is not None else {},
            "recipients": {outlet.name: outlet.report() for outlet in self._outlets},
        }

    async def close(self, why: str) -> None:
        """Say goodbye, as far as a moment allows."""
        self._put(Notice.SHUTDOWN, f"💤 {self._desk.mode} · {why}; open positions keep their stops.")
        leaving = [outlet.flush(GOODBYE_S) for outlet in self._outlets]
        if self._chat is not None:
            leaving.append(self._chat.notices.flush(GOODBYE_S))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_S):
                await asyncio.gather(*leaving)
        for tier in self._tiers:
            tier.close()

    def _told(self, kind: str, what: object) -> None:
        if kind == "recovered":
            self._put(Notice.STARTUP, greeting(self._desk.status()))
        else:
            self._news.told(kind, what)

    def _put(self, kind: Notice, text: str, about: object = None) -> None:
        if self._chat is not None:
            self._chat.notices.put(kind, text)
        for outlet in self._outlets:
            loudness = outlet.loudness(kind)
            if loudness is not Loudness.OFF:
                outlet.put(
                    Announcement(
                        kind, text, loudness is Loudness.SILENT, datetime.now(UTC), self._desk.mode, values_of(about)
                    )
                )


def announcer(settings: Settings, desk: Desk) -> Announcer | None:
    """Return who tells people what happens; None when the configuration names nobody who is told."""
    file, tier = AtomicFile(settings.data_dir / "telegram.json"), Tier("chat", WRITE_S)

    async def save(content: bytes) -> None:
        await tier.call(file.write, content)

    memory = Memory(file.read(), save)
    bot, (elsewhere, threads) = chat(settings, desk, memory, tier), outlets(settings)
    if bot is None and not elsewhere:
        tier.close()
        return None
    return Announcer(desk, bot, elsewhere, memory, [tier, *threads])


def outlets(settings: Settings) -> tuple[list[Outlet], list[Tier]]:
    """Return the recipients that the configuration names beside the chat, and the threads that they work on."""
    found = [
        Outlet(
            one.name,
            Webhook(
                one.url.get_secret_value(), one.style, one.template,
                {name: value.get_secret_value() for name, value in one.headers.items()},
            ),
            one.loudness, one.queue_max, one.group_s,
        )
        for one in settings.webhooks
    ]  # fmt: skip
    mail = settings.email
    if not mail.host:
        return found, []
    tier = Tier("mail", ANSWER_S)
    server = Server(mail.host, mail.port, mail.security, mail.user, mail.password.get_secret_value())
    found.append(
        Outlet("email", Mail(server, mail.sender, mail.recipients, tier), mail.loudness, mail.queue_max, mail.group_s)
    )
    return found, [tier]

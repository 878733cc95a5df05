"""Builds the chat: nothing without a token, and never in trading's way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from domain.errors import ConfigError, RevenantError, Unavailable
from persistence.deeds import Deeds

if TYPE_CHECKING:
    from app.desk import Desk
    from engine.threads import Tier
    from settings import Settings
    from telegram_bot.bot import TelegramBot
    from telegram_bot.memory import Memory

log = structlog.get_logger(__name__)


def chat(settings: Settings, desk: Desk, memory: Memory, tier: Tier) -> TelegramBot | None:
    """Return the bot in Telegram; None without a token, or with one that cannot be one.

    ``tier`` is the thread that files are written on.
    """
    held = settings.telegram
    token = held.token.get_secret_value()
    if not token:
        log.info("no chat: TELEGRAM_BOT_TOKEN is not set")
        return None
    if not held.chat_ids:
        log.warning("telegram: nobody is known yet; write to the bot, then put the id that is told here into "
                    "TELEGRAM_CHAT_ID")  # fmt: skip
    deeds = Deeds(settings.data_dir / "telegram-audit.jsonl")

    async def audit(deed: dict[str, Any]) -> None:
        try:
            await tier.call(deeds.add, deed)
        except Unavailable as error:
            log.error("a command is not in the audit log", reason=str(error), deed=deed)
            raise

    from telegram_bot.bot import TelegramBot, Terms  # noqa: PLC0415  who has no token need not load the library

    terms = Terms(
        token, held.base_url, held.chat_ids, held.users, held.totp_secret.get_secret_value(), held.confirm_s,
        held.queue_max, held.group_s,
    )  # fmt: skip
    try:
        return TelegramBot(terms, desk, memory, audit)
    except (ConfigError, RevenantError) as error:
        log.error("no chat; trading goes on", reason=str(error))
        return None

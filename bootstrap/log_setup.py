"""The log, set up as the settings say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import settings as settings_module
from dashboard import logs

if TYPE_CHECKING:
    from settings import Settings


def configure_logging(settings: Settings) -> logs.Recent:
    """Set logging up as the settings say; return what holds its newest lines."""
    return logs.configure(settings.log_format, settings.log_level, settings.mode, secrets(settings))


def secrets(settings: Settings) -> list[str]:
    """Return every text that must never be shown."""
    texts = settings_module.secret_texts(settings)
    addresses = (settings.database_url, settings.redis_url)
    passwords = [
        one.get_secret_value().partition("://")[2].rpartition("@")[0].partition(":")[2] for one in addresses
    ]  # fmt: skip
    return [text for text in (*texts, *passwords) if text]

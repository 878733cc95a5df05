"""The settings of the chat: every key, what it means, what it may be."""

from __future__ import annotations

import re
from typing import Any

from pydantic import Field, SecretStr, field_validator, model_validator

from domain.notice import USUAL, Loudness, Notice
from sections import Section, listed


class Loudnesses(Section):
    """Base of those who are told of events; ``notices`` says of each kind how: on, silent or off."""

    notices: dict[Notice, Loudness] = Field(default_factory=dict)

    @property
    def loudness(self) -> dict[Notice, Loudness]:
        """How each kind of event is told."""
        return {kind: self.notices.get(kind, usual) for kind, usual in USUAL.items()}

    @field_validator("notices", mode="before")
    @classmethod
    def _words(cls, value: Any) -> Any:
        # YAML reads a bare on and off as true and false
        words = {True: "on", False: "off"}
        if not isinstance(value, dict):
            return value
        return {k: words.get(v, v) if isinstance(v, bool) else v for k, v in value.items()}


class Telegram(Loudnesses):
    """The bot in a chat (docs/telegram.md).

    Attributes:
        token: what BotFather gave; without it nothing of Telegram runs.
        chat_ids: chats that are answered and told of events.
        user_ids: people who are obeyed; left out, those of the private chats, whose id is the person's.
        base_url: the Bot API server, with or without `/bot` at its end.
        totp_secret: secret of an authenticator app (base32); with it, commands that raise the risk ask for its code.
        confirm_s: how long a confirmation is waited for.
        queue_max: notices kept for each chat while Telegram is away; above that the oldest is let go and counted.
        group_s: how long notices are gathered before they are sent as one message.
        weekly_hour: hour (UTC) of Monday after which the summary of the last week is sent.
        notices: of each kind of event, whether it is told: on, silent (without a sound) or off.
    """

    token: SecretStr = SecretStr("")
    chat_ids: tuple[int, ...] = ()
    user_ids: tuple[int, ...] = ()
    base_url: str = "https://api.telegram.org"
    totp_secret: SecretStr = SecretStr("")
    confirm_s: float = Field(60.0, ge=5, le=600)
    queue_max: int = Field(500, ge=10, le=10_000)
    group_s: float = Field(1.0, ge=0.05, le=60)
    weekly_hour: int = Field(8, ge=0, le=23)

    @property
    def users(self) -> frozenset[int]:
        """Who is obeyed."""
        return frozenset(self.user_ids or (one for one in self.chat_ids if one > 0))

    _listed = field_validator("chat_ids", "user_ids", mode="before")(listed)

    @field_validator("base_url")
    @classmethod
    def _an_address(cls, value: str) -> str:
        if not re.fullmatch(r"https?://[^\s/]+.*", value):
            raise ValueError("give an address such as https://api.telegram.org")
        # some write the address as the documentation of the Bot API has it, up to the token
        return value.rstrip("/").removesuffix("/bot")

    @field_validator("totp_secret")
    @classmethod
    def _base32(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value().replace(" ", "").upper()
        if text and not re.fullmatch(r"[A-Z2-7]{16,}=*", text):
            raise ValueError("give 16 or more characters of base32 (A to Z, 2 to 7), as authenticator apps show them")
        return SecretStr(text)

    @model_validator(mode="after")
    def _people_of_groups(self) -> Telegram:
        if any(one < 0 for one in self.chat_ids) and not self.user_ids:
            raise ValueError("user_ids: a chat with a negative id is a group; list the people in it who are obeyed")
        return self

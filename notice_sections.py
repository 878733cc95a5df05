"""The settings of who is told elsewhere than in the chat: every key, what it means, what it may be."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from chat_section import Loudnesses
from domain.notice import VALUES

ADDRESS = re.compile(r"[^@\s,<>]+@[^@\s,<>]+")
NAMED = re.compile(r"\{(\w+)\}")


class Webhook(Loudnesses):
    """An address that notices are posted to (docs/notices.md).

    Attributes:
        name: what the log, the status and errors call it.
        url: the address; it is a secret, as such addresses are passwords at the same time.
        style: ``discord`` or ``slack`` for theirs; ``json`` or ``form`` for any other.
        template: for ``json`` and ``form``: the body, with {names} in it; empty for every value by its name.
        headers: headers to send along, secret too.
        queue_max: notices kept while the address does not answer; above that the oldest is dropped and counted.
        group_s: how long notices are gathered before they are sent.
        notices: of each kind of event, whether it is told: on, silent (without a sound, where the service can) or off.
    """

    name: str = Field(pattern=r"^[a-z0-9_-]{1,32}$")
    url: SecretStr
    style: Literal["json", "form", "discord", "slack"] = "json"
    template: dict[str, Any] = Field(default_factory=dict)
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    queue_max: int = Field(500, ge=10, le=10_000)
    group_s: float = Field(1.0, ge=0, le=3600)

    @field_validator("url")
    @classmethod
    def _an_address(cls, value: SecretStr) -> SecretStr:
        if not re.fullmatch(r"https?://[^\s/]+\S*", value.get_secret_value()):
            raise ValueError("give an address that begins with https:// or http://")
        return value

    @field_validator("template")
    @classmethod
    def _known_names(cls, value: dict[str, Any]) -> dict[str, Any]:
        unknown = sorted({name for text in _texts(value) for name in NAMED.findall(text)} - set(VALUES))
        if unknown:
            raise ValueError(f"{{{unknown[0]}}} is no value of a notice; there are {', '.join(VALUES)}")
        return value

    @model_validator(mode="after")
    def _fits_its_style(self) -> Webhook:
        if self.template and self.style not in {"json", "form"}:
            raise ValueError(f"template: {self.style} has a body of its own; a template is for json and form")
        if self.style == "form" and not all(isinstance(one, str) for one in self.template.values()):
            raise ValueError("template: the values of a form are texts")
        return self


class Email(Loudnesses):
    """Notices by e-mail (docs/notices.md).

    Attributes:
        host: the mail server that takes messages in; without it none is sent.
        port: usually 465 with ``tls``, 587 with ``starttls``.
        security: ``tls`` from the first byte, ``starttls``, or ``none`` (only for a server on this machine).
        user: who signs in there; empty for nobody.
        password: the password, or an app password.
        sender: address that messages come from.
        recipients: addresses that are told.
        queue_max: notices kept while the server is away; above that the oldest is dropped and counted.
        group_s: how long notices are gathered into one message.
        notices: of each kind of event, whether it is told: on, silent (as on) or off.
    """

    host: str = ""
    port: int = Field(587, ge=1, le=65_535)
    security: Literal["tls", "starttls", "none"] = "starttls"
    user: str = ""
    password: SecretStr = SecretStr("")
    sender: str = ""
    recipients: tuple[str, ...] = ()
    queue_max: int = Field(1_000, ge=10, le=10_000)
    group_s: float = Field(60.0, ge=0, le=86_400)

    @model_validator(mode="after")
    def _whole(self) -> Email:
        if not self.host:
            return self
        for one in (self.sender, *self.recipients):
            if not ADDRESS.fullmatch(one):
                raise ValueError(f"sender and recipients: {one!r} is not an address such as me@example.org")
        if not self.recipients:
            raise ValueError("recipients: list who is told")
        if self.security == "none" and self.host not in {"localhost", "127.0.0.1", "::1"}:
            raise ValueError("security: none is for a server on this machine; use tls or starttls")
        return self


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for one in inner for text in _texts(one)]

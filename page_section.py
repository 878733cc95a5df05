"""The settings of the page: every key, what it means, what it may be."""

from __future__ import annotations

import contextlib
import ipaddress
import re
from typing import Any

from pydantic import Field, SecretStr, field_validator, model_validator

from sections import Section

BOTS_MAX = 50
PASSWORD_LEAST = 12


class OtherBot(Section):
    """Another bot, asked by this one's page and shown beside it.

    Attributes:
        name: what it is called there.
        url: the address of its page.
        token: its viewer password, which only lets this one look.
    """

    name: str = Field(min_length=1, max_length=40)
    url: str = Field(max_length=200)
    token: SecretStr = SecretStr("")

    @field_validator("url")
    @classmethod
    def _an_address(cls, value: str) -> str:
        if not re.fullmatch(r"https?://[^/\s@?#]+(/[^\s@?#]*)?", value):
            raise ValueError("give the address of its page, as in https://bot.example, without a password in it")
        return value.rstrip("/")


class Dashboard(Section):
    """The page, the API, metrics and health over HTTP (docs/dashboard.md).

    Attributes:
        host: address that is listened on; any but this machine's own needs a password.
        port: the port; 0 takes any free one, and is written to dashboard.json.
        password: signs people in; without one all on this machine may look, and act by a ``manage.py dashboard`` link.
        viewer_password: what lets people, Prometheus and Grafana look, and do nothing.
        session_h: hours after which who signed in has to sign in again.
        requests_per_s: requests that one address may make in a second, over ten of them.
        cors_origins: origins of other pages that may use freqtrade's API, such as FreqUI's http://localhost:3000.
        bots: other bots that the page shows beside this one.
        proxies: addresses of reverse proxies whose word on where a request comes from is taken, "*" for any.
    """

    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65_535)
    password: SecretStr = SecretStr("")
    viewer_password: SecretStr = SecretStr("")
    session_h: float = Field(12.0, gt=0, le=720)
    requests_per_s: float = Field(50.0, ge=1, le=10_000)
    proxies: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    bots: tuple[OtherBot, ...] = Field((), max_length=BOTS_MAX)

    @property
    def local(self) -> bool:
        """Whether nobody but this machine can reach it."""
        with contextlib.suppress(ValueError):
            return ipaddress.ip_address(self.host).is_loopback
        return self.host == "localhost"

    @field_validator("password", "viewer_password", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) else value

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            if not re.fullmatch(r"https?://[^/*\s@]+", one):
                raise ValueError(f"{one!r} is no origin: scheme, host and port, as in http://localhost:3000")
        return value

    @model_validator(mode="after")
    def _guarded(self) -> Dashboard:
        if not self.local and not self.password.get_secret_value():
            raise ValueError(f"password: host {self.host} can be reached by others; set DASHBOARD_PASSWORD")
        if any(0 < len(one.get_secret_value()) < PASSWORD_LEAST for one in (self.password, self.viewer_password)):
            raise ValueError(f"password: give it {PASSWORD_LEAST} characters or more, viewer_password too")
        return self

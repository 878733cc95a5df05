"""Asks the running bot over HTTP; None when none is there to answer."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from rich.console import Console

from bootstrap.place import Place, holder, place_of
from domain.errors import ConfigError, Unavailable

if TYPE_CHECKING:
    from settings import Settings

ASK_S, ORDER_S = 15.0, 30.0
"""How long a busy bot may take to answer a question, and to do what it is told."""


def acting(settings: Settings, what: str) -> Place:
    """Say on stderr where a command acts before it does, and return it. Raises Rejected as place_of does."""
    place = place_of(settings)
    Console(stderr=True, soft_wrap=True).print(f"{what}: {place}", highlight=False)
    return place


def ask(settings: Settings, path: str = "/status", **query: str | None) -> dict[str, Any] | None:
    """Return what the bot of a folder answers; a refusal has the key ``error``.

    Raises Unavailable when it did not answer in time.
    """
    asked = urlencode({name: value for name, value in query.items() if value})
    return _sent(settings, f"{path}?{asked}" if asked else path, None, ASK_S)


def order(settings: Settings, path: str, seconds: float = ORDER_S, **body: object) -> dict[str, Any] | None:
    """Have the bot of a folder do something, and return what it answers; a refusal has the key ``error``.

    Raises ConfigError when it did not answer in time; it may do it all the same.
    """
    return _sent(settings, path, json.dumps({"confirm": True, **body}).encode(), seconds)


def address(settings: Settings) -> str | None:
    """Return where the bot of a folder serves its page, None when it says nowhere."""
    note = _note(settings)
    return None if note is None else f"http://{_host(note)}:{note['port']}"


def _sent(settings: Settings, path: str, body: bytes | None, seconds: float) -> dict[str, Any] | None:
    note = _note(settings)
    if note is None:
        return None
    request = urllib.request.Request(
        f"http://{_host(note)}:{note['port']}/api/v1{path}", body,
        {"Authorization": f"Bearer {note['token']}", "Content-Type": "application/json"},
    )  # fmt: skip
    try:
        with urllib.request.urlopen(request, timeout=seconds) as answer:  # noqa: S310
            told: dict[str, Any] = json.load(answer)
    except urllib.error.HTTPError as error:
        return {"error": _words(error)}
    except (OSError, ValueError) as error:
        if not isinstance(getattr(error, "reason", error), TimeoutError):
            return None
    else:
        return told
    # a bot that is busy is there: whoever took it for absent would trade, settle or report beside it
    process = holder(settings.data_dir) or "unknown"
    silent = f"process {process} holds {settings.data_dir} and does not answer within {seconds:g} s"
    way_out = f"if it never answers, end it (kill -9 {process}), then again: stops and targets stay at the exchange"
    if body is None:
        raise Unavailable(f"{silent}; ask again; {way_out}")
    raise ConfigError(f"{path[1:]}: {silent}; it may still do it, see manage.py status; {way_out}")


def _note(settings: Settings) -> dict[str, Any] | None:
    try:
        note: dict[str, Any] = json.loads(settings.note.read_text())
    except (OSError, ValueError):
        return None
    return note if {"host", "port", "token"} <= note.keys() else None


def _host(note: dict[str, Any]) -> str:
    # whoever listens everywhere listens here too
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(note["host"], note["host"])  # noqa: S104  compared, not listened on
    return f"[{host}]" if ":" in host else host


def _words(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["detail"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {error.code}"

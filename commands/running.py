"""Asks the running bot over the socket in its data folder; None when none is there to answer.

The port that the page shares with everybody is not used: what floods, locks or proxies it denies the owner nothing.
"""

from __future__ import annotations

import contextlib
import http.client
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from rich.console import Console

from bootstrap.place import Place, holder, place_of
from daemon.control_socket import connect
from domain.errors import ConfigError, Unavailable

if TYPE_CHECKING:
    from pathlib import Path

    from settings import Settings

ASK_S, ORDER_S = 15.0, 30.0
"""How long a busy bot may take to answer a question, and to do what it is told."""
NEEDED = {
    "/status": ("ready", "open", "pending", "tiers", "ledger", "candles_waiting", "unsettled"),
    "/models": ("strategies",), "/symbols": ("symbols",),
    "/switch": ("switch",), "/forceexit": ("outcomes",), "/panic": ("outcomes",), "/reconcile": ("ghosts",),
    "/link": ("key",),
}  # fmt: skip
"""What commands read of an answer: one without it is an error, whatever else it says."""


class OwnConnection(http.client.HTTPConnection):
    """HTTP over the bot's socket: no proxy is asked, no secret is sent."""

    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path, self._seconds = path, seconds

    def connect(self) -> None:
        """Connect. Raises OSError."""
        self.sock = connect(self._path, self._seconds)


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
    # what is not asked for is not sent: the bot may be of an older version
    sent = {name: value for name, value in body.items() if value is not None}
    return _sent(settings, path, json.dumps({"confirm": True, **sent}).encode(), seconds)


def address(settings: Settings) -> str | None:
    """Return where the bot of a folder serves its page, None when it says nowhere."""
    note = _note(settings)
    return None if note is None else f"http://{_host(note)}:{note['port']}"


def _sent(settings: Settings, path: str, body: bytes | None, seconds: float) -> dict[str, Any] | None:
    connection = OwnConnection(settings.control, seconds)
    try:
        connection.request(
            "GET" if body is None else "POST", f"/api/v1{path}", body, {"Content-Type": "application/json"}
        )
        answer = connection.getresponse()
        return _understood(path, answer.status, answer.read())
    except (TimeoutError, BlockingIOError):
        # a bot that is busy is there: whoever took it for absent would trade, settle or report beside it
        raise _busy(settings, path, seconds, acts=body is not None) from None
    except PermissionError as error:
        raise ConfigError(
            f"{settings.control}: only the user who runs the bot may steer it; call this as that user"
        ) from error
    except (OSError, http.client.HTTPException):
        _refuse_if_older(settings)
        return None
    finally:
        connection.close()


def _understood(path: str, status: int, content: bytes) -> dict[str, Any]:
    try:
        body = json.loads(content)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        return {"error": f"the bot's answer is not understood (HTTP {status})"}
    if status >= http.HTTPStatus.BAD_REQUEST:
        return {"error": str(body.get("detail", f"HTTP {status}"))}
    missing = [name for name in NEEDED.get(path.partition("?")[0], ()) if name not in body]
    if missing:
        return {"error": f"the bot's answer lacks {', '.join(missing)}: it is of another version than this command"}
    return body


def _busy(settings: Settings, path: str, seconds: float, *, acts: bool) -> ConfigError | Unavailable:
    process = holder(settings.data_dir) or "unknown"
    silent = f"process {process} holds {settings.data_dir} and does not answer within {seconds:g} s"
    way_out = f"if it never answers, end it (kill -9 {process}), then again: stops and targets stay at the exchange"
    if not acts:
        return Unavailable(f"{silent}; ask again; {way_out}")
    return ConfigError(f"{path[1:]}: {silent}; it may still do it, see manage.py status; {way_out}")


def _refuse_if_older(settings: Settings) -> None:
    """Raise ConfigError when a bot runs whose socket is not there: it has none yet, or somebody removed it."""
    note, process = _note(settings), holder(settings.data_dir)
    if process is not None and note is not None and str(note.get("process")) == process:
        with contextlib.suppress(OSError):
            settings.control.lstat()
            return
        raise ConfigError(
            f"process {process} runs the bot of {settings.data_dir} without {settings.control.name}: it is of an older "
            f"version, or the file was removed; act on its page at {address(settings)}, or end it (kill {process}) and "
            "start it again: stops and targets stay at the exchange"
        )


def _note(settings: Settings) -> dict[str, Any] | None:
    try:
        note = json.loads(settings.note.read_text())
    except (OSError, ValueError):
        return None
    return note if isinstance(note, dict) and {"host", "port"} <= note.keys() else None


def _host(note: dict[str, Any]) -> str:
    # whoever listens everywhere listens here too
    named = str(note["host"])
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(named, named)  # noqa: S104  compared, not listened on
    return f"[{host}]" if ":" in host else host

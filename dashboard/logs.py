"""How the bot logs: readable lines on a terminal, JSON elsewhere, never a secret."""

from __future__ import annotations

import logging
import sys
import time
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping, Sequence

    from structlog.typing import EventDict, Processor

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


SECRET_LEAST = 6
RECENT_MAX = 1_000
UNSAID = frozenset({"timestamp", "level", "event", "mode", "exc_info", "exception", "stack_info"})


FOLDED_S, FOLDED_AFTER = 10.0, 2
NOISY = frozenset({"hole filled"})
"""Events that come once for each symbol when all of them missed the same moment; warnings may do so as well."""

EARLIEST_MS, LATEST_MS = 1_000_000_000_000, 10_000_000_000_000


class Folds:
    """Says which lines a person need not read: the same again and again, in a short time. They are counted instead."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._seen: dict[str, tuple[float, int]] = {}

    def folded(self, event: EventDict) -> bool:
        """Return whether a line is left out; one that is shown tells how many like it were not (``more_like_it``)."""
        if event.get("level") != "warning" and event["event"] not in NOISY:
            return False
        now, name = self._now(), str(event["event"])
        since, count = self._seen.get(name, (now, 0))
        if now - since > FOLDED_S:
            if count > FOLDED_AFTER:
                event["more_like_it"] = count - FOLDED_AFTER
            since, count = now, 0
        self._seen[name] = since, count + 1
        return count >= FOLDED_AFTER


class Recent:
    """The newest lines of the log, as plain text without secrets."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=RECENT_MAX)

    def lines(self, count: int) -> list[str]:
        """Return the newest so many lines, oldest first."""
        return list(self._lines)[-count:]

    def add(self, line: str) -> None:
        """Take a line."""
        self._lines.append(line)


def configure(style: str, level: str, mode: str, secrets: Sequence[str]) -> Recent:
    """Set logging up once for the process; return what will hold its newest lines.

    Args:
        style: ``text``, ``json``, or ``auto`` for text on a terminal and JSON elsewhere.
        level: the least level shown.
        mode: what every line is marked with, such as SYNTHETIC.
        secrets: texts that must never appear; in values they are shown as ``***``. What is shorter than six characters
            is none, and names of values are not looked at: masking them would only spoil every line.
    """
    text = style == "text" or (style == "auto" and sys.stderr.isatty())
    masked = _masking(secrets)

    def mark(_: Any, __: str, event: EventDict) -> MutableMapping[str, Any]:
        event["mode"] = mode.upper()
        return event

    renderer: Any = structlog.dev.ConsoleRenderer(pad_event_to=24) if text else structlog.processors.JSONRenderer()

    recent, folds = Recent(), Folds()

    def render(logger: Any, name: str, event: EventDict) -> str:
        shown = _bare(_for_people(event) if text else event, masked)
        recent.add(_plain(_bare(event, masked)))
        line = str(renderer(logger, name, shown))
        # a terminal's renderer writes a traceback itself, after all else
        return str(masked(line)) if event.get("exc_info") else line

    def fold(_: Any, __: str, event: EventDict) -> EventDict:
        if text and folds.folded(event):
            recent.add(_plain(_bare(event, masked)))
            raise structlog.DropEvent
        return event

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if text else "iso", utc=True),
        mark,
    ]
    tail: list[Processor] = [] if text else [structlog.processors.format_exc_info]
    structlog.configure(
        processors=[*shared, fold, *tail, render],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *tail, render],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for noisy in ("httpx", "httpcore", "telegram", "aiohttp.access", "ccxt", "matplotlib"):
        # these log whole addresses, with tokens in them
        logging.getLogger(noisy).setLevel(logging.WARNING)
    return recent


def _bare(event: EventDict, masked: Callable[[Any], Any]) -> EventDict:
    """Return the same without secrets; of a traceback only what renders it can tell."""
    return {key: value if key == "exc_info" else masked(value) for key, value in event.items()}


def _masking(secrets: Sequence[str]) -> Callable[[Any], Any]:
    # longest first, so that a secret inside another one leaves no rest
    hidden = sorted((secret for secret in secrets if len(secret) >= SECRET_LEAST), key=len, reverse=True)

    def masked(value: Any) -> Any:
        """Return a value without secrets; names in a table are left alone."""
        if isinstance(value, str):
            for secret in hidden:
                value = value.replace(secret, "***")
            return value
        if isinstance(value, Mapping):
            return {key: masked(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            found = [masked(one) for one in value]
            # a series stays one
            return value if found == list(value) else found
        # a number too, or an error: what a renderer makes of it is one of these
        told = (str(value), repr(value))
        return masked(told[0]) if any(secret in text for secret in hidden for text in told) else value

    return masked


def _for_people(event: EventDict) -> EventDict:
    """Return the same with times as times, and a series as its symbol and timeframe."""
    return {name: _as_shown(value) for name, value in event.items()}


def _as_shown(value: Any) -> Any:
    if type(value) is int and EARLIEST_MS <= value < LATEST_MS:
        return f"{datetime.fromtimestamp(value / 1000, UTC):%Y-%m-%dT%H:%M:%S}"
    if isinstance(value, tuple) and value and all(isinstance(part, str) for part in value):
        return " ".join(value)
    return value


def _plain(event: EventDict) -> str:
    time = str(event.get("timestamp", "")).rpartition("T")[2][:8]
    said = " ".join(f"{name}={value}" for name, value in event.items() if name not in UNSAID and name[0] != "_")
    return f"{time} {event.get('level', ''):<8} {event.get('event', '')} {said}".rstrip()

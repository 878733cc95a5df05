"""Where a command acts: whose bot lives in a folder, and which process it is."""

from __future__ import annotations

import contextlib
import fcntl
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from domain.errors import ConfigError, Rejected
from domain.ids import Identity
from domain.lean import lazily

if TYPE_CHECKING:
    from pathlib import Path

    from bootstrap import records
    from settings import Settings
else:
    records = lazily("bootstrap.records")

NONE_RUNS = "none runs"
LISTED = 5


@dataclass(frozen=True, slots=True)
class Place:
    """A folder that a bot has lived in: whose it is, and the process that holds it (None when none does)."""

    who: Identity
    folder: Path
    process: str | None

    def __str__(self) -> str:
        process = f"process {self.process}" if self.process else f"process: {NONE_RUNS}"
        return (
            f"{self.who.mode.upper()} on {self.who.source}, account {self.who.account}, folder {self.folder}, {process}"
        )

    def as_row(self) -> dict[str, str]:
        """Return it for a report."""
        return {"mode": self.who.mode, "source": self.who.source, "account": self.who.account,
                "folder": str(self.folder), "process": self.process or NONE_RUNS}  # fmt: skip


def place_of(settings: Settings) -> Place:
    """Return where the settings lead to; nothing is made there.

    Raises:
        Rejected: when no bot of their source and mode has ever lived there. Whoever acts on money and finds nothing
            has the wrong folder: an answer such as "nothing is open" would be about nobody's account.
    """
    folder, process = settings.data_dir.resolve(), holder(settings.data_dir)
    running = _noted(settings, process) if process else None
    if running is not None:
        return Place(running, folder, process)
    who = records.known_owner(settings)
    if process is None and not records.lived(settings, who):
        raise Rejected(
            f"no bot has ever lived in {folder} as {who.mode.upper()} on {who.source}: nothing was done. "
            f"{_others(folder)}Call this where your bot runs, or name its settings with -c FILE (data_dir says which "
            "folder, DATA_SOURCE and trading.mode which bot in it)"
        )
    return Place(who, folder, process)


def holder(folder: Path) -> str | None:
    """Return the process that holds a data folder, None when none does; the folder need not be there."""
    with contextlib.suppress(OSError), (folder / "bot.lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return lock.read().strip() or "unknown"
    return None


def refuse_if_held(settings: Settings, why: str) -> None:
    """Raise ConfigError when a bot that does not answer holds the folder; the text says which process that is."""
    pid = holder(settings.data_dir)
    if pid is not None:
        raise ConfigError(
            f"{why}: process {pid} holds {settings.data_dir} and does not answer; end it (kill -9 {pid}), then again"
        )


def _noted(settings: Settings, process: str) -> Identity | None:
    """Return whose bot a running process has noted itself to be, None when the note is another's or not there."""
    try:
        note: dict[str, Any] = json.loads(settings.note.read_text())
        return Identity(note["source"], note["mode"], note["account"]) if str(note["process"]) == process else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _others(folder: Path) -> str:
    with contextlib.suppress(OSError):
        named = sorted(path.name for path in (folder / "journal").iterdir() if path.is_dir())[:LISTED]
        return f"There is {', '.join(named)}. " if named else ""
    return ""

"""Evaluations of strategies: one file for each in the data folder, so that two writers cannot lose one another's."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import msgspec

from domain.errors import of_system
from domain.proof import Evaluation
from persistence.files import AtomicFile, durable_folder, refused

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = "evaluations"
BYTES_MAX = 1 << 20
"""No evaluation is larger; a file that is has another's content."""
_NAME = re.compile(r"[^A-Za-z0-9_]")


class Evaluations:
    """The evaluations that a data folder holds. Synchronous."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir / FOLDER

    def keep(self, found: Evaluation) -> Path:
        """Keep an evaluation in place of the same one made earlier; return its file, on disk when this returns.

        Raises:
            ConfigError, Unavailable: when the folder cannot be written.
        """
        path = self._folder / _file_name(found)
        try:
            durable_folder(self._folder)
            AtomicFile(path).write(msgspec.json.format(msgspec.json.encode(found), indent=2))
        except OSError as error:
            raise refused(f"{path}: cannot be written", path, error, "look at its disk") from error
        return path

    def load(self) -> tuple[list[Evaluation], list[str]]:
        """Return what is kept, the newest first, and of each file that is no evaluation which it is and why."""
        found, faults = [], []
        try:
            paths = sorted(self._folder.glob("*.json"))
        except OSError as error:
            return [], [str(of_system(f"{self._folder}: cannot be read", error, "look at its disk"))]
        for path in paths:
            try:
                found.append(_read(path))
            except (OSError, ValueError) as error:
                faults.append(f"{path}: is no evaluation ({error}); move it away, and do its backtest again")
        return sorted(found, key=lambda one: (-one.made_at, one.strategy)), faults


def _read(path: Path) -> Evaluation:
    size = path.stat().st_size
    if size > BYTES_MAX:
        raise ValueError(f"it has {size} bytes")
    found = msgspec.json.decode(path.read_bytes(), type=Evaluation)
    if path.name != _file_name(found):
        raise ValueError("its content belongs under another name: it was changed by hand, or copied")
    return found


def _file_name(found: Evaluation) -> str:
    """Return a name that changes with everything but when the evaluation was made."""
    content = msgspec.json.encode(msgspec.structs.replace(found, made_at=0))
    return f"{_NAME.sub('_', found.strategy)}-{hashlib.sha256(content).hexdigest()[:16]}.json"

"""Lessons of the past, as ``ml bootstrap`` leaves them for later trainings: one file per strategy."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from domain.errors import BadData
from domain.lesson import Lessons
from persistence.files import AtomicFile

if TYPE_CHECKING:
    from pathlib import Path

COLUMNS = ("vectors", "r", "executed", "signal_time", "exit_time")


class PastLessons:
    """The file of one strategy; ``version`` is the table of features that its vectors must be of."""

    def __init__(self, path: Path, version: str) -> None:
        self._file, self._version = AtomicFile(path), version

    def save(self, lessons: Lessons) -> None:
        """Put lessons in the place of those that are there. Raises OSError."""
        self._file.path.parent.mkdir(parents=True, exist_ok=True)
        out = io.BytesIO()
        np.savez_compressed(
            out, version=np.array(self._version), **{name: getattr(lessons, name) for name in COLUMNS}
        )  # fmt: skip
        self._file.write(out.getvalue())

    def load(self) -> Lessons | None:
        """Return the lessons, all of them of the past; None when there are none.

        Raises:
            BadData: when they cannot be read, or are of other features.
        """
        content = self._file.read()
        if content is None:
            return None
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                version = str(arrays["version"])
                kept = Lessons(**{name: arrays[name] for name in COLUMNS})
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise BadData(f"{self._file}: unreadable ({error}); run ml bootstrap again") from error
        if version != self._version:
            raise BadData(f"{self._file}: of features {version}, not {self._version}; run ml bootstrap again")
        return replace(kept, past=np.ones(len(kept), dtype=bool))
